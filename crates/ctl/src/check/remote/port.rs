//! Who reaches a plugin that listens on a TCP port. On its machine the kernel tells who listens where; from the other end
//! it is tried whether the port answers past the tunnel. Nothing is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::check::step::{Id, Step};

/// State of a listening socket in proc_net(5).
const LISTEN: &str = "0A";

/// Addresses on which something listens at `port`.
#[must_use]
pub fn listeners(port: u16) -> Vec<IpAddr> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let mut found: Vec<IpAddr> = tables.iter().flat_map(|table| listening(table, port)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn listening(table: &str, port: u16) -> Vec<IpAddr> {
    let read = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        let address = address(local)?;
        (state == LISTEN && address.port() == port).then_some(address.ip())
    };
    table.lines().filter_map(read).collect()
}

/// `0100007F:0FA0`: words of four bytes each in the order of this machine, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len() / 8)
        .map(|word| Some(u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    let bytes = words?.concat();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Judges who listens: only loopback addresses may.
#[must_use]
pub fn judge(port: u16, listeners: &[IpAddr]) -> Step {
    let open: Vec<String> = listeners.iter().filter(|ip| !is_loopback(ip)).map(ToString::to_string).collect();
    if !open.is_empty() {
        return Step::failed(
            Id::PluginPort,
            "plugin",
            format!("the plugin's port {port} is open to other machines (something listens on {})", open.join(", ")),
            format!(
                "bind it to 127.0.0.1, or set Socket: unix:///run/interlink/interlink-plugin.sock; let no firewall open {port}"
            ),
        );
    }
    // There our plugin takes only its own account and root.
    Step::good(Id::PluginPort, "plugin", format!("port {port} is open to this machine alone"))
}

/// How long a port may take to answer: one that a firewall hides never does.
const ANSWERS: Duration = Duration::from_secs(2);

/// Tries the port that a tunnel to `server` (host:port) leads to, past the tunnel. `None` where it leads to none, or the
/// server is this machine's loopback.
pub async fn past_the_tunnel(server: &str, leads_to: &str, limit: Duration) -> Option<Step> {
    let (host, _) = server.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    let (at, port) = leads_to.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|_| ["localhost", "127.0.0.1"].contains(&at))?;
    let limit = limit.min(ANSWERS);
    let found = timeout(limit, lookup_host((host, port))).await.ok()?.ok()?;
    let addresses: Vec<SocketAddr> = found.filter(|address| !is_loopback(&address.ip())).collect();
    let first = addresses.first()?;
    for address in &addresses {
        if let Ok(Ok(_)) = timeout(limit, TcpStream::connect(address)).await {
            return Some(Step::failed(
                Id::PluginPort,
                "plugin",
                format!(
                    "the plugin's port answers at {address} without the tunnel, so whoever reaches {host} can run pods"
                ),
                format!(
                    "bind it to 127.0.0.1 there, or set Socket: unix:///run/interlink/interlink-plugin.sock; let no firewall open {port}"
                ),
            ));
        }
    }
    Some(Step::good(Id::PluginPort, "plugin", format!("{first} does not answer past the tunnel")))
}

fn is_loopback(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let loopback = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = loopback.local_addr().unwrap().port();
        assert_eq!(listeners(port), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        assert!(judge(port, &listeners(port)).fault().is_none());
        let open = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = open.local_addr().unwrap().port();
        let step = judge(port, &listeners(port));
        assert!(step.fault().unwrap().cause.contains("something listens on 0.0.0.0"), "{step:?}");
        let six =
            "   0: 00000000000000000000000001000000:0FA0 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1";
        assert_eq!(listening(six, 4000), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        assert!(listening(six, 4001).is_empty() && listening("nonsense", 1).is_empty());
    }
}
