//! One direction of a link: packets leave when their time has come.
//!
//! ```text
//!   interface ──▶ reader: cut? room? ──queue of (due, packet)──▶ writer: sleeps until due ──▶ interface
//! ```

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use super::Conditions;

/// Larger than any packet of the interfaces.
const PACKET: usize = 2048;
/// Packets under way in one direction: 100 MB.
const UNDER_WAY: usize = 65_536;
/// How long packets may wait for their turn at a limited rate; those that would wait longer are dropped, as a router does.
const QUEUE: Duration = Duration::from_millis(100);
/// How often a quiet reader looks whether it is to end, in milliseconds.
const LOOK: u8 = 100;

/// What both directions of a link share.
#[derive(Debug)]
pub(super) struct Shared {
    conditions: Mutex<Conditions>,
    flows: Mutex<Flows>,
    /// Whether any flow is forgotten.
    forgetful: AtomicBool,
    ended: AtomicBool,
}

/// TCP connections by the port of their near end.
#[derive(Debug, Default)]
struct Flows {
    seen: HashSet<u16>,
    forgotten: HashSet<u16>,
}

/// Which end of a TCP connection sends in this direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Near,
    Far,
}

impl Shared {
    pub(super) fn new(conditions: Conditions) -> Self {
        Self {
            conditions: Mutex::new(conditions),
            flows: Mutex::default(),
            forgetful: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    pub(super) fn conditions(&self) -> Conditions {
        *lock(&self.conditions)
    }

    pub(super) fn set(&self, conditions: Conditions) {
        *lock(&self.conditions) = conditions;
    }

    /// From now on drops the packets of all connections that there are.
    pub(super) fn forget(&self) {
        let mut flows = lock(&self.flows);
        let seen = std::mem::take(&mut flows.seen);
        flows.forgotten.extend(seen);
        self.forgetful.store(true, Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    fn passes(&self, packet: &[u8], from: From) -> bool {
        if self.conditions().cut {
            return false;
        }
        let Some((port, opens)) = near_port(packet, from) else { return true };
        if opens {
            let mut flows = lock(&self.flows);
            flows.forgotten.remove(&port);
            flows.seen.insert(port);
            return true;
        }
        !self.forgetful.load(Ordering::Relaxed) || !lock(&self.flows).forgotten.contains(&port)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The near end's port of an IPv4 TCP packet, and whether the packet is the near end's first.
fn near_port(packet: &[u8], from: From) -> Option<(u16, bool)> {
    let (&first, &protocol) = (packet.first()?, packet.get(9)?);
    if first >> 4 != 4 || protocol != 6 {
        return None;
    }
    let tcp = packet.get(usize::from(first & 0xf) * 4..)?;
    let at = match from {
        From::Near => 0,
        From::Far => 2,
    };
    let port = u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]);
    // SYN without ACK
    Some((port, from == From::Near && tcp.get(13)? & 0x12 == 0x02))
}

/// Starts a direction; it ends soon after [`Shared::end`].
pub(super) fn start(input: Arc<File>, output: Arc<File>, from: From, shared: &Arc<Shared>) -> [JoinHandle<()>; 2] {
    let (queue, due) = sync_channel(UNDER_WAY);
    let shared = Arc::clone(shared);
    [thread::spawn(move || read(&input, &queue, from, &shared)), thread::spawn(move || write(&output, &due))]
}

struct Packet {
    due: Instant,
    bytes: Box<[u8]>,
}

fn read(mut input: &File, queue: &SyncSender<Packet>, from: From, shared: &Shared) {
    let mut buffer = [0; PACKET];
    let mut idle_from = Instant::now();
    while !shared.ended.load(Ordering::SeqCst) {
        let length = match input.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(input.as_fd(), PollFlags::POLLIN)], LOOK);
                continue;
            }
            // an interface that is down
            Err(_) => {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        if !shared.passes(&buffer[..length], from) {
            continue;
        }
        let (conditions, now) = (shared.conditions(), Instant::now());
        let mut sent = now;
        if let Some(rate) = conditions.rate {
            let starts = idle_from.max(now);
            if starts - now > QUEUE {
                continue;
            }
            #[allow(clippy::cast_precision_loss, reason = "the length of a packet")]
            let takes = Duration::from_secs_f64(length as f64 / rate);
            idle_from = starts + takes;
            sent = idle_from;
        }
        // a full queue drops it, as a router does
        let _ = queue.try_send(Packet { due: sent + conditions.delay, bytes: buffer[..length].into() });
    }
}

fn write(mut output: &File, queue: &Receiver<Packet>) {
    for packet in queue {
        let wait = packet.due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        // an interface that is down takes nothing
        let _ = output.write(&packet.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, ports: [u16; 2], flags: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[20..22].copy_from_slice(&ports[0].to_be_bytes());
        packet[22..24].copy_from_slice(&ports[1].to_be_bytes());
        packet[33] = flags;
        packet
    }

    #[test]
    fn a_forgotten_connection_is_known_from_both_sides_and_a_new_one_passes() {
        let shared = Shared::new(Conditions::default());
        let (syn, ack) = (0x02, 0x10);
        let old = [packet(6, [4000, 22], syn), packet(6, [4000, 22], ack), packet(6, [22, 4000], ack)];
        assert!(shared.passes(&old[0], From::Near));
        shared.forget();
        assert!(!shared.passes(&old[1], From::Near) && !shared.passes(&old[2], From::Far));
        assert!(shared.passes(&packet(6, [4001, 22], syn), From::Near));
        assert!(shared.passes(&packet(6, [4001, 22], ack), From::Near));
        // a port may come again
        assert!(shared.passes(&old[0], From::Near) && shared.passes(&old[1], From::Near));
    }

    #[test]
    fn what_is_no_tcp_has_no_port() {
        for (what, bytes) in [("UDP", packet(17, [1, 2], 0)), ("IPv6", vec![0x60; 40]), ("short", vec![0x45; 21])] {
            assert_eq!(near_port(&bytes, From::Near), None, "{what}");
        }
    }

    #[test]
    fn a_cut_link_passes_nothing() {
        let shared = Shared::new(Conditions { cut: true, ..Conditions::default() });
        assert!(!shared.passes(&packet(6, [4000, 22], 2), From::Near));
    }
}
