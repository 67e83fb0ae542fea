//! Two namespaces and what is between them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::relay::{self, From, Shared};
use super::{Namespace, tun};

/// The interface at either end.
const INTERFACE: &str = "wan0";

/// How a link behaves, in each direction. The default delivers at once whatever comes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Conditions {
    /// How long a packet is under way: half of the round trip.
    pub delay: Duration,
    /// Bytes a second, headers included; `None`: as fast as it can.
    pub rate: Option<f64>,
    /// Every packet is lost without a word.
    pub cut: bool,
}

/// Two namespaces, joined. Dropped, the link is gone; the namespaces live on while somebody is inside.
#[derive(Debug)]
pub struct Link {
    near: Namespace,
    far: Namespace,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Link {
    /// The address of the near end.
    pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// The address of the far end.
    pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    /// Makes both namespaces and joins them.
    ///
    /// # Panics
    /// When the test is not root's, or the kernel has no TUN interfaces.
    pub fn new(conditions: Conditions) -> Self {
        let (near, far) = (Namespace::new(), Namespace::new());
        let [a, b] = [(&near, Self::NEAR), (&far, Self::FAR)].map(|(namespace, address)| {
            let file = namespace.within(|| tun::open(INTERFACE)).expect("the kernel has /dev/net/tun");
            namespace.ip(&["addr", "add", &format!("{address}/30"), "dev", INTERFACE]);
            namespace.ip(&["link", "set", INTERFACE, "mtu", "1500", "txqueuelen", "5000", "up"]);
            Arc::new(file)
        });
        let shared = Arc::new(Shared::new(conditions));
        let out = relay::start(Arc::clone(&a), Arc::clone(&b), From::Near, &shared);
        let back = relay::start(b, a, From::Far, &shared);
        Self { near, far, shared, threads: out.into_iter().chain(back).collect() }
    }

    /// The namespace at [`Link::NEAR`].
    pub fn near(&self) -> &Namespace {
        &self.near
    }

    /// The namespace at [`Link::FAR`].
    pub fn far(&self) -> &Namespace {
        &self.far
    }

    /// Changes how the link behaves; packets under way arrive as they would have.
    pub fn set(&self, conditions: Conditions) {
        self.shared.set(conditions);
    }

    /// Loses every packet without a word (`true`), or no longer.
    pub fn cut(&self, cut: bool) {
        self.set(Conditions { cut, ..self.shared.conditions() });
    }

    /// Loses every packet of the TCP connections that are open now; new ones are not touched. So behaves a firewall
    /// or an address translator that has forgotten them.
    pub fn forget_connections(&self) {
        self.shared.forget();
    }

    /// Takes the near interface down, which its machine notices.
    pub fn down(&self) {
        self.near.ip(&["link", "set", INTERFACE, "down"]);
    }

    /// Takes the near interface up again.
    pub fn up(&self) {
        self.near.ip(&["link", "set", INTERFACE, "up"]);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.end();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
