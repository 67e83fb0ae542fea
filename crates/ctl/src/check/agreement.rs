//! The programs' addresses against one another: whoever dials must dial where the next one listens. Pure.

use interlink_transport::Endpoint;

use super::step::{Id, Step};

/// An address, and where it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The address.
    pub at: Endpoint,
    /// In words: a key of a file, or a running program.
    pub by: &'static str,
}

/// Who dials and who listens where.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// Where the virtual kubelet looks for the API server: file, then running program.
    pub kubelet_dials: Vec<Said>,
    /// Where the API server listens.
    pub api_listens: Vec<Said>,
    /// Where the API server looks for the plugin.
    pub api_dials: Vec<Said>,
    /// Where a forward tunnel listens on this machine.
    pub tunnel_listens: Option<Said>,
    /// Whether the host of `api_dials` resolves; true for sockets.
    pub resolves: bool,
}

/// Compares them.
#[must_use]
pub fn judge(addresses: &Addresses) -> Vec<Step> {
    let mut steps = Vec::new();
    let faulty = |hop: &str, cause: String, remedy: String| Step::failed(Id::Agreement, hop, cause, remedy);
    for (hop, pair) in
        [("virtual-kubelet", &addresses.kubelet_dials), ("api", &addresses.api_listens), ("api", &addresses.api_dials)]
    {
        if let [file, running] = pair.as_slice()
            && !same(&file.at, &running.at)
        {
            steps.push(Step::warned(
                Id::Agreement,
                hop,
                format!("{} is {}, but {} has {}", file.by, file.at, running.by, running.at),
                format!("restart {} if the file is right, else correct the file", program(hop)),
            ));
        }
    }
    let (kubelet, listens) = (addresses.kubelet_dials.last(), addresses.api_listens.last());
    if let (Some(kubelet), Some(listens)) = (kubelet, listens)
        && !meets(&kubelet.at, &listens.at)
    {
        steps.push(faulty(
            "virtual-kubelet",
            format!(
                "virtual-kubelet dials {} (InterlinkURL), but interlink listens on {} (InterlinkAddress)",
                kubelet.at, listens.at
            ),
            format!("set InterlinkURL: \"{}\" in the virtual kubelet's file and restart it", listens.at),
        ));
    }
    let (dials, tunnel) = (addresses.api_dials.last(), &addresses.tunnel_listens);
    if let (Some(listens), Some(tunnel)) = (listens, tunnel)
        && same(&listens.at, &tunnel.at)
    {
        steps.push(faulty(
            "tunnel",
            format!("interlink (InterlinkAddress) and ssh-tunnel (-lsock) are both to listen on {}, but a socket has one owner", tunnel.at),
            interlink_api::config::two_lines(),
        ));
    } else if let Some(dials) = dials {
        match (&dials.at, tunnel) {
            (Endpoint::Tcp { host, .. }, _) if !addresses.resolves => steps.push(faulty(
                "api",
                format!("the host {host:?} of SidecarURL does not resolve, and an http:// SidecarURL bypasses the tunnel"),
                format!("set SidecarURL: \"{}\", where ssh-tunnel listens, and restart interlink", suggestion(tunnel.as_ref())),
            )),
            (_, Some(tunnel)) if meets(&dials.at, &tunnel.at) => {}
            (Endpoint::Tcp { .. }, Some(tunnel)) => steps.push(Step::warned(
                Id::Agreement,
                "api",
                format!("SidecarURL {} bypasses ssh-tunnel, which listens on {}", dials.at, tunnel.at),
                format!("set SidecarURL: \"{}\" and restart interlink, or stop ssh-tunnel if the plugin is meant to be reached directly", tunnel.at),
            )),
            (Endpoint::Unix(_), Some(tunnel)) => steps.push(faulty(
                "api",
                format!("interlink dials {} (SidecarURL), but ssh-tunnel listens on {} (-lsock)", dials.at, tunnel.at),
                format!("set SidecarURL: \"{}\" and restart interlink, or give ssh-tunnel that path as -lsock", tunnel.at),
            )),
            (_, None) => {}
        }
    }
    if steps.is_empty() {
        let known = [kubelet.is_some() && listens.is_some(), dials.is_some() && tunnel.is_some()];
        steps.push(match known {
            [true, true] => {
                Step::good(Id::Agreement, "chain", "virtual-kubelet, interlink and ssh-tunnel fit together")
            }
            [true, false] => Step::good(Id::Agreement, "chain", "virtual-kubelet and interlink fit together"),
            [false, true] => Step::good(Id::Agreement, "chain", "interlink and ssh-tunnel fit together"),
            [false, false] => Step::skipped(Id::Agreement, "chain", "too little is known to compare addresses"),
        });
    }
    steps
}

fn program(hop: &str) -> &str {
    if hop == "api" { "interlink" } else { hop }
}

fn suggestion(tunnel: Option<&Said>) -> String {
    tunnel.map_or_else(|| "unix:///run/interlink/plugin.sock".to_owned(), |tunnel| tunnel.at.to_string())
}

/// Reads an endpoint as programs print it; a tunnel in reverse prints something else.
#[must_use]
pub fn endpoint(text: &str) -> Option<Endpoint> {
    Endpoint::parse(text, "").ok()
}

/// Whether who dials `dial` reaches who listens on `listen`.
fn meets(dial: &Endpoint, listen: &Endpoint) -> bool {
    let anywhere = |host: &str| host == "0.0.0.0" || host == "::";
    match (dial, listen) {
        (Endpoint::Tcp { port: dialled, .. }, Endpoint::Tcp { host, port }) if anywhere(host) => dialled == port,
        _ => same(dial, listen),
    }
}

fn same(a: &Endpoint, b: &Endpoint) -> bool {
    let local = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "::1");
    match (a, b) {
        (Endpoint::Tcp { host: a, port: p }, Endpoint::Tcp { host: b, port: q }) => {
            p == q && (a == b || (local(a) && local(b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::Verdict;

    fn said(text: &str) -> Vec<Said> {
        text.split_whitespace()
            .zip(["the file", "the program"])
            .map(|(text, by)| Said { at: endpoint(text).unwrap(), by })
            .collect()
    }

    #[test]
    fn whoever_dials_must_dial_where_the_next_one_listens() {
        // virtual-kubelet dials, interlink listens, interlink dials, ssh-tunnel listens, resolves, the outcome
        let cases = [
            ("unix:///a", "unix:///a", "unix:///p", "unix:///p", true, "✓ fit together"),
            (
                "http://localhost:3000",
                "http://0.0.0.0:3000",
                "unix:///p",
                "",
                true,
                "✓ virtual-kubelet and interlink fit",
            ),
            ("", "", "", "", true, "- too little"),
            (
                "unix:///b",
                "unix:///a",
                "unix:///p",
                "unix:///p",
                true,
                "✗ dials unix:///b (InterlinkURL), but interlink listens on unix:///a",
            ),
            (
                "unix:///a",
                "unix:///a",
                "unix:///q",
                "unix:///p",
                true,
                "✗ dials unix:///q (SidecarURL), but ssh-tunnel listens on unix:///p (-lsock)",
            ),
            ("unix:///a", "unix:///a", "unix:///p", "unix:///a", true, "✗ both to listen on unix:///a"),
            (
                "unix:///a",
                "unix:///a",
                "http://remote-plugin:4000",
                "unix:///p",
                false,
                "✗ \"remote-plugin\" of SidecarURL does not resolve, and an http:// SidecarURL bypasses",
            ),
            (
                "unix:///a",
                "unix:///a",
                "http://10.0.0.1:4000",
                "unix:///p",
                true,
                "! http://10.0.0.1:4000 bypasses ssh-tunnel, which listens on unix:///p",
            ),
            ("unix:///a", "unix:///a", "http://10.0.0.1:4000", "", true, "✓ virtual-kubelet and interlink fit"),
            ("unix:///a", "unix:///a", "http://localhost:4000", "http://127.0.0.1:4000", true, "✓ fit together"),
            (
                "unix:///a",
                "unix:///a unix:///b",
                "unix:///p",
                "unix:///p",
                true,
                "! the file is unix:///a, but the program has unix:///b",
            ),
        ];
        for (kubelet, listens, dials, tunnel, resolves, outcome) in cases {
            let addresses = Addresses {
                kubelet_dials: said(kubelet),
                api_listens: said(listens),
                api_dials: said(dials),
                tunnel_listens: said(tunnel).pop(),
                resolves,
            };
            let steps = judge(&addresses);
            let (mark, part) = outcome.split_once(' ').unwrap();
            let (seen, words) = match &steps[0].verdict {
                Verdict::Good(words) => ("✓", words.clone()),
                Verdict::Skipped(words) => ("-", words.clone()),
                Verdict::Warned(fault) => ("!", fault.cause.clone()),
                Verdict::Failed(fault) => ("✗", fault.cause.clone()),
            };
            assert!(seen == mark && words.contains(part), "{outcome}: {steps:?}");
        }
    }

    #[test]
    fn remedies_name_the_line_to_write() {
        let mut addresses = Addresses {
            kubelet_dials: said("unix:///b"),
            api_listens: said("unix:///a"),
            resolves: true,
            ..Addresses::default()
        };
        assert!(judge(&addresses)[0].fault().unwrap().remedy.contains("InterlinkURL: \"unix:///a\""));
        addresses = Addresses { api_dials: said("http://remote-plugin:4000"), resolves: false, ..Addresses::default() };
        let steps = judge(&addresses);
        let remedy = &steps[0].fault().unwrap().remedy;
        assert!(remedy.contains("SidecarURL: \"unix:///run/interlink/plugin.sock\""), "{remedy}");
    }

    #[test]
    fn a_tunnel_in_reverse_listens_elsewhere() {
        assert_eq!(endpoint("/home/u/api.sock"), None);
        assert_eq!(endpoint("localhost:4000"), None);
    }
}
