//! Who is at the other end of a connection on this machine.

use std::net::SocketAddr;

use crate::stream::Stream;

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its user, where the kernel tells: always over a Unix socket, over TCP for this machine's own connections.
    pub uid: Option<u32>,
    /// Whether it came over TCP from this machine: from or to a loopback address, or from and to the same one.
    pub loopback: bool,
}

impl Peer {
    /// Looks up the peer of an accepted connection.
    #[must_use]
    pub fn of(stream: &Stream) -> Self {
        match stream {
            Stream::Unix(stream) => Self { uid: stream.peer_cred().ok().map(|c| c.uid()), loopback: false },
            Stream::Tcp(stream) => match (stream.peer_addr(), stream.local_addr()) {
                (Ok(peer), Ok(local)) if is_local(peer, local) => {
                    Self { uid: loopback_uid(peer, local), loopback: true }
                }
                (Ok(_), Ok(_)) => Self { uid: None, loopback: false },
                // Gone already, so nobody can say who it was.
                _ => Self { uid: None, loopback: true },
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

/// Whether both ends are on this machine. A local client may bind any of the machine's addresses before it connects to
/// a loopback one, so the peer's address alone does not tell.
fn is_local(peer: SocketAddr, local: SocketAddr) -> bool {
    let (peer, local) = (peer.ip().to_canonical(), local.ip().to_canonical());
    peer.is_loopback() || local.is_loopback() || peer == local
}

/// The owner of the loopback socket whose local address is `peer` and whose remote address is `local`, from the
/// kernel's connection table (proc(5), `/proc/net/tcp`). A socket that its process has closed has no inode there, and the
/// uid 0 whoever it was: `None`.
fn loopback_uid(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    tables.iter().filter_map(|table| std::fs::read_to_string(table).ok()).find_map(|text| {
        text.lines().skip(1).find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let here = table_address(fields.next()?)?;
            let there = table_address(fields.next()?)?;
            // After the two addresses: state, queues, timer, retransmits, uid.
            let uid = fields.nth(4)?.parse().ok()?;
            // After the uid: timeout, inode.
            let closed = fields.nth(1)? == "0";
            (!closed && here == canonical(peer) && there == canonical(local)).then_some(uid)
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

    #[tokio::test]
    async fn a_client_that_has_closed_its_end_is_nobody_and_not_root() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        drop(client);
        let (accepted, _) = listener.accept().await.unwrap();
        let peer = Peer::of(&Stream::Tcp(accepted));
        assert_eq!(peer, Peer { uid: None, loopback: true });
        assert!(!peer.may_pass());
    }

    #[test]
    fn a_client_of_this_machine_is_known_whatever_address_it_bound() {
        let cases = [
            ("127.0.0.1:1", "127.0.0.1:80", true),
            ("192.0.2.2:1", "127.0.0.1:80", true),
            ("[::ffff:192.0.2.2]:1", "[::ffff:127.0.0.1]:80", true),
            ("[2001:db8::2]:1", "[::1]:80", true),
            ("127.0.0.1:1", "192.0.2.2:80", true),
            ("192.0.2.2:1", "192.0.2.2:80", true),
            ("192.0.2.3:1", "192.0.2.2:80", false),
        ];
        for (peer, local, expected) in cases {
            assert_eq!(is_local(peer.parse().unwrap(), local.parse().unwrap()), expected, "{peer} {local}");
        }
    }
}
