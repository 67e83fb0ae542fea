//! Ports on loopback that belong to one test process.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;

/// Below the range that the kernel gives to outgoing connections, so that none of them takes a port between
/// the moment it is chosen and the moment a daemon binds it.
const RANGE: std::ops::Range<u16> = 15_000..30_000;

/// One abstract socket per port handed out: a claim that other test processes see and that ends with this one.
static CLAIMS: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());

/// A TCP port that nothing on this machine's loopback listens on and that no other call, in this or another
/// test process, returns while this process lives.
///
/// # Panics
/// When every port of the range is taken.
pub fn free_port() -> u16 {
    let mut claims = CLAIMS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // test processes start at different places, so that they rarely look at each other's claims
    let start = (std::process::id() as usize * 97 + claims.len()) % RANGE.len();
    for port in RANGE.cycle_from(start) {
        if let Some(claim) = claim(port) {
            claims.push(claim);
            return port;
        }
    }
    panic!("no free port on loopback in {RANGE:?}");
}

fn claim(port: u16) -> Option<UnixDatagram> {
    let name = SocketAddr::from_abstract_name(format!("interlink-testkit-port-{port}")).ok()?;
    let claim = UnixDatagram::bind_addr(&name).ok()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some(claim)
}

trait CycleFrom {
    fn cycle_from(&self, start: usize) -> impl Iterator<Item = u16>;
}

impl CycleFrom for std::ops::Range<u16> {
    fn cycle_from(&self, start: usize) -> impl Iterator<Item = u16> {
        self.clone().skip(start).chain(self.clone().take(start))
    }
}
