//! Who reaches a plugin that listens on a TCP port. Nothing is sent: the kernel tells who listens where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
