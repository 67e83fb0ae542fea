//! The network of a pod: an address of its own, and ways out and in that the test lays.
//!
//! Nothing of this machine is changed: both ends of each way are sockets of the test's process, one of them inside.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};

use interlink_testkit::network::Namespace;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

/// A pod's network. Dropped, its ways are closed.
#[derive(Debug)]
pub(crate) struct Network {
    namespace: Namespace,
    address: Ipv4Addr,
    ways: Vec<JoinHandle<()>>,
}

impl Network {
    pub(crate) fn new() -> Self {
        // of the loopback network, all of which answers inside and outside; by the process, so that tests differ
        let [_, a, b, c] = std::process::id().to_be_bytes();
        Self { namespace: Namespace::new(), address: Ipv4Addr::new(127, 64 | (a & 0x3f), b, c), ways: Vec::new() }
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The pod's address.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// What is connected to `from` inside arrives at `to` outside.
    pub(crate) fn outward(&mut self, from: SocketAddrV4, to: SocketAddr) {
        self.namespace.ip(&["address", "replace", &format!("{}/32", from.ip()), "dev", "lo"]);
        let listener = self.namespace.within(|| TcpListener::bind(from)).expect("nobody else is inside");
        self.ways.push(tokio::spawn(relay(listener, move || TcpStream::connect(to))));
    }

    /// What is connected to that port of the pod's address outside arrives inside.
    pub(crate) fn inward(&mut self, port: u16) {
        let outside = SocketAddrV4::new(self.address, port);
        let listener = TcpListener::bind(outside).expect("the address is this process's own");
        let namespace = self.namespace.clone();
        let connect = move || {
            let namespace = namespace.clone();
            let dial = move || namespace.within(|| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
            async move {
                let stream = tokio::task::spawn_blocking(dial).await.map_err(std::io::Error::other)??;
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            }
        };
        self.ways.push(tokio::spawn(relay(listener, connect)));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for way in &self.ways {
            way.abort();
        }
    }
}

/// One who can't be passed on is hung up on, as by a host where nobody listens.
async fn relay<F>(listener: TcpListener, connect: impl Fn() -> F)
where
    F: Future<Output = std::io::Result<TcpStream>> + Send + 'static,
{
    listener.set_nonblocking(true).expect("a socket can be set so");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a task runs in a runtime");
    let mut passing = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        let far = connect();
        passing.spawn(async move {
            if let Ok(mut far) = far.await {
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
        while passing.try_join_next().is_some() {}
    }
}
