//! Beside the cluster: tunnel, API server, virtual kubelet.

use super::Task;
use crate::install::keep::Program;
use crate::install::step::Plan;
use crate::install::step::directory::Directory;
use crate::install::step::file::File;
use crate::install::step::firewall::{Opening, Pass};
use crate::install::step::key::Key;
use crate::install::step::kubernetes::{self, Login};
use crate::install::step::leftover::Leftover;
use crate::install::step::node::Node;
use crate::install::step::service::Service;
use crate::install::templates::{self, set};
use crate::install::wishes::{Role, Via, Wishes};

const ROLE: Role = Role::Local;

pub(super) fn plan(task: Task<'_>) -> Plan {
    let Task { wishes, facts, place } = task;
    let prefix = &place.local;
    let own = place.account(&task.name());
    let mut plan = task.foundation(ROLE);
    for (folder, mode) in [("logs", 0o750), (".ssh", 0o700), (".kube", 0o700)] {
        plan.push(Box::new(Directory::new(prefix.join(folder), mode, own.clone())));
    }
    for dir in [&place.runtime, &place.state] {
        plan.push(Box::new(Leftover(dir.clone())));
    }
    plan.push(Box::new(Key { path: prefix.join(".ssh/id_ed25519"), owner: own.clone() }));
    if let Some(keys) = &facts.host_keys {
        let mut file = File::text(prefix.join(".ssh/host_key"), keys, 0o644, place.root());
        file.keeps_edits = false;
        plan.push(Box::new(file));
    }

    let mut programs = vec![];
    for name in ["ssh-tunnel", "interlink", "virtual-kubelet", "interlinkctl"] {
        programs.push(task.program(ROLE, name, name));
    }
    let configs = [
        task.config(ROLE, "tunnel.env", place.text(&tunnel_env(wishes))),
        task.config(ROLE, "InterLinkConfig.yaml", place.text(templates::API_CONFIG)),
        task.config(ROLE, "VirtualKubeletConfig.yaml", place.text(&kubelet_config(wishes))),
    ];
    let environment = kubelet_env(wishes).map(|text| task.config(ROLE, "virtual-kubelet.env", text));
    let units = [
        task.unit("interlink-tunnel.service", templates::TUNNEL_UNIT),
        task.unit("interlink-api.service", templates::API_UNIT),
        task.unit("interlink-virtual-kubelet.service", templates::KUBELET_UNIT),
    ];
    let mut services: Vec<Service> = ["interlink-tunnel", "interlink-api", "interlink-virtual-kubelet"]
        .iter()
        .zip(units.iter().zip(&programs).zip(&configs))
        .map(|(name, ((unit, program), config))| Service {
            unit: format!("{name}.service"),
            files: [unit, program, config].map(|file| file.path.clone()).into(),
            manager: place.manager(),
        })
        .collect();
    services[0].files.extend([".ssh/id_ed25519", ".ssh/host_key"].map(|file| prefix.join(file)));
    services[2].files.push(prefix.join(".kube/config"));
    let script = File::text(
        prefix.join("bin/tunneled-health-check.sh"),
        place.text(templates::HEALTH_SCRIPT),
        0o755,
        place.root(),
    );
    let mut units = Vec::from(units);
    units.push(task.unit("interlink-tunneled-health-check.service", templates::HEALTH_UNIT));
    units.push(task.unit("interlink-tunneled-health-check.timer", templates::HEALTH_TIMER));
    services.push(Service {
        unit: "interlink-tunneled-health-check.timer".into(),
        files: [&units[4], &units[3], &script].map(|file| file.path.clone()).into(),
        manager: place.manager(),
    });
    services[2].files.extend(environment.as_ref().map(|file| file.path.clone()));

    let kept = kept(task);
    for file in programs.into_iter().chain([script]).chain(configs).chain(environment).chain(task.logrotate()) {
        plan.push(Box::new(file));
    }
    for opening in firewall(task) {
        plan.push(Box::new(opening));
    }
    if let Some(operators) = &facts.operators_kubeconfig {
        for object in kubernetes::objects(operators, wishes.nodename()) {
            plan.push(Box::new(object));
        }
        let path = prefix.join(".kube/config");
        plan.push(Box::new(Login { operators: operators.clone(), node: wishes.nodename().into(), path, owner: own }));
        plan.push(Box::new(Node { kubeconfig: operators.clone(), name: wishes.nodename().into() }));
    }
    plan.extend(task.services(ROLE, units, services, kept));
    plan
}

/// The same programs without units.
fn kept(task: Task<'_>) -> Vec<Program> {
    let prefix = task.place.local.display().to_string();
    let program = |name: &str, args: &str, environment: &[(&str, String)]| Program {
        name: name.to_owned(),
        command: shlex::split(&format!("{prefix}/bin/{name} {args}")).unwrap_or_default(),
        environment: environment.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
    };
    let runtime = task.place.runtime.display();
    let (host, port) = task.wishes.server().unwrap_or_default();
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let tunnel = format!(
        "-addr {host}:{port} -user {} -keyfile {prefix}/.ssh/id_ed25519 -hostkeyfile {prefix}/.ssh/host_key -lsock {runtime}/plugin.sock {}",
        task.wishes.login(),
        destination(task.wishes.via()),
    );
    let mut kubelet = vec![("KUBECONFIG", format!("{prefix}/.kube/config"))];
    kubelet.extend(task.wishes.kubelet_port.map(|port| ("KUBELET_PORT", port.to_string())));
    kubelet.extend(task.wishes.node_ip.clone().map(|ip| ("POD_IP", ip)));
    vec![
        program("ssh-tunnel", &tunnel, &[]),
        program("interlink", "", &[("INTERLINKCONFIGPATH", format!("{prefix}/config/InterLinkConfig.yaml"))]),
        program(
            "virtual-kubelet",
            &format!("--provider interlink --config {prefix}/config/VirtualKubeletConfig.yaml"),
            &kubelet,
        ),
    ]
}

fn destination(via: Via) -> &'static str {
    match via {
        Via::Rexec => "-rexec \"interlink-plugin dial-stdio\"",
        Via::Rport => "-rport 4000",
        Via::Rsock => "-rsock /run/interlink/interlink-plugin.sock",
    }
}

/// What the tunnel is started with.
fn tunnel_env(wishes: &Wishes) -> String {
    let mut text = templates::TUNNEL_ENV.to_owned();
    if let Some((host, port)) = wishes.server() {
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        text = set(&text, "TUNNEL_ADDR", "=", &format!("{host}:{port}"));
    }
    text = set(&text, "TUNNEL_USER", "=", wishes.login());
    set(&text, "TUNNEL_TO", "=", destination(wishes.via()))
}

fn kubelet_config(wishes: &Wishes) -> String {
    set(templates::KUBELET_CONFIG, "NodeName", ": ", &format!("\"{}\"", wishes.nodename()))
}

/// What differs from what the virtual kubelet finds by itself.
fn kubelet_env(wishes: &Wishes) -> Option<String> {
    let port = wishes.kubelet_port.map(|port| format!("KUBELET_PORT={port}\n"));
    let address = wishes.node_ip.as_ref().map(|ip| format!("POD_IP={ip}\n"));
    let lines = [port, address].into_iter().flatten().collect::<String>();
    (!lines.is_empty()).then(|| {
        format!("# /opt/interlink/config/virtual-kubelet.env: what differs from what virtual-kubelet finds by itself.\n{lines}")
    })
}

/// SSH out, and the API server in to the kubelet's port.
fn firewall(task: Task<'_>) -> Vec<Opening> {
    if task.place.me.is_some() {
        return Vec::new();
    }
    let port = task.wishes.server().map_or(22, |(_, port)| port);
    let opening = |pass, why: &str| Opening { firewall: task.facts.firewall.clone(), pass, why: why.into() };
    vec![
        opening(Pass::Out { port }, "SSH for the tunnel"),
        opening(
            Pass::In { port: task.wishes.kubelet_port(), from: None },
            "the cluster to the virtual kubelet, for logs",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunnel_is_told_where_to_and_how() {
        for (addr, via, lines) in [
            ("hpc", None, ["TUNNEL_ADDR=hpc:22", "TUNNEL_TO=-rexec \"interlink-plugin dial-stdio\""]),
            ("::1", Some(Via::Rport), ["TUNNEL_ADDR=[::1]:22", "TUNNEL_TO=-rport 4000"]),
            (
                "hpc:2222",
                Some(Via::Rsock),
                ["TUNNEL_ADDR=hpc:2222", "TUNNEL_TO=-rsock /run/interlink/interlink-plugin.sock"],
            ),
        ] {
            let wishes = Wishes { addr: Some(addr.into()), via, login: Some("alice".into()), ..Wishes::default() };
            let text = tunnel_env(&wishes);
            for line in lines.iter().chain(&["TUNNEL_USER=alice"]) {
                assert_eq!(text.lines().filter(|found| found == line).count(), 1, "{line}: {text}");
            }
        }
    }

    #[test]
    fn the_kubelet_has_an_environment_only_where_something_differs() {
        assert_eq!(kubelet_env(&Wishes::default()), None);
        let wishes = Wishes { kubelet_port: Some(10260), node_ip: Some("192.0.2.9".into()), ..Wishes::default() };
        assert!(kubelet_env(&wishes).unwrap().ends_with("KUBELET_PORT=10260\nPOD_IP=192.0.2.9\n"));
        let wishes = Wishes { nodename: Some("site-b".into()), ..Wishes::default() };
        assert!(kubelet_config(&wishes).contains("\nNodeName: \"site-b\"\n"));
    }
}
