//! Who is at the other end of a connection on this machine.

use std::net::SocketAddr;

use crate::stream::Stream;

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its user, where the kernel tells: always over a Unix socket, over TCP for this machine's own connections.
    pub uid: Option<u32>,
    /// Whether it came over TCP from this machine's loopback.
    pub loopback: bool,
}

impl Peer {
    /// Looks up the peer of an accepted connection.
    #[must_use]
    pub fn of(stream: &Stream) -> Self {
        match stream {
            Stream::Unix(stream) => Self { uid: stream.peer_cred().ok().map(|c| c.uid()), loopback: false },
            Stream::Tcp(stream) => match (stream.peer_addr(), stream.local_addr()) {
                (Ok(peer), Ok(local)) if peer.ip().to_canonical().is_loopback() => {
                    Self { uid: loopback_uid(peer, local), loopback: true }
                }
                _ => Self { uid: None, loopback: false },
            },
        }
    }

    /// Whether a listener without a token may serve it: not another user of this machine.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let ours = nix::unistd::geteuid().as_raw();
        match self.uid {
            Some(uid) => uid == 0 || uid == ours,
            None => !self.loopback,
        }
    }
}

/// The owner of the loopback socket whose local address is `peer` and whose remote address is `local`, from the
/// kernel's connection table (proc(5), `/proc/net/tcp`).
fn loopback_uid(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    tables.iter().filter_map(|table| std::fs::read_to_string(table).ok()).find_map(|text| {
        text.lines().skip(1).find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let here = table_address(fields.next()?)?;
            let there = table_address(fields.next()?)?;
            // After the two addresses: state, queues, timer, retransmits, uid.
            let uid = fields.nth(4)?.parse().ok()?;
            (here == canonical(peer) && there == canonical(local)).then_some(uid)
        })
    })
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `0100007F:1F90`: the address in words of the machine's byte order, the port as a number.
fn table_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len() / 8)
        .map(|i| u32::from_str_radix(address.get(i * 8..i * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    let ip = match words?.as_slice() {
        [v4] => std::net::IpAddr::from(*v4),
        v6 => std::net::IpAddr::from(<[u8; 16]>::try_from(v6.concat()).ok()?),
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn the_kernels_table_is_read() {
        assert_eq!(table_address("0100007F:1F90"), Some("127.0.0.1:8080".parse().unwrap()));
        assert_eq!(table_address("00000000000000000000000001000000:0050"), Some("[::1]:80".parse().unwrap()));
        assert_eq!(table_address("junk"), None);
    }

    #[tokio::test]
    async fn a_loopback_peer_has_our_uid() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let peer = Peer::of(&Stream::Tcp(accepted));
        assert_eq!(peer, Peer { uid: Some(nix::unistd::geteuid().as_raw()), loopback: true });
        assert!(peer.may_pass());
        assert!(!Peer { uid: Some(4_000_000), loopback: true }.may_pass());
        assert!(!Peer { uid: None, loopback: true }.may_pass());
    }
}
