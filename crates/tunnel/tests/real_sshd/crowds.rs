//! Many connections: at once, and one after the other. `INTERLINK_SOAK=1` makes 10,000 of the latter.

use std::fs;
use std::sync::Arc;

use interlink_testkit::wait;
use tokio::task::JoinSet;

use crate::rig::{Habit, SOON, Service, Site, Tunnel, ask, soak};

async fn all_at_once(tunnel: &Arc<Tunnel>, count: u32) {
    let mut clients = JoinSet::new();
    for number in 0..count {
        let tunnel = Arc::clone(tunnel);
        clients.spawn(async move { (number.to_string(), tunnel.ask(&number.to_string()).await) });
    }
    while let Some(done) = clients.join_next().await {
        let (sent, received) = done.expect("no client panics");
        assert_eq!(sent, received);
    }
}

/// What a process holds: descriptors, and memory in KiB.
fn held(tunnel: &Tunnel) -> (usize, u64) {
    let proc = format!("/proc/{}", tunnel.daemon.pid());
    let descriptors = fs::read_dir(format!("{proc}/fd")).expect("the tunnel runs").count();
    let status = fs::read_to_string(format!("{proc}/status")).expect("the tunnel runs");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    (descriptors, memory.trim().trim_end_matches(" kB").parse().expect("a number"))
}

#[tokio::test]
async fn a_thousand_connections_at_once_are_all_served() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = Arc::new(site.tunnel(&service.flag).await);
    all_at_once(&tunnel, 1000).await;
    assert_eq!(tunnel.state().await.unwrap().details["reconnects"], 0);
}

#[tokio::test]
async fn thousands_of_connections_one_after_the_other_leave_nothing_behind() {
    /// Side by side, as each one waits for a server that is in no hurry.
    const LANES: usize = 10;
    let each = if soak() { 250 } else { 50 };
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = Arc::new(site.tunnel(&service.flag).await);
    let mut memory = Vec::new();
    let (before, _) = held(&tunnel);
    for round in 0..4 {
        let mut lanes = JoinSet::new();
        for _ in 0..LANES {
            let tunnel = Arc::clone(&tunnel);
            lanes.spawn(async move {
                for number in 0..each {
                    assert_eq!(tunnel.ask("x").await, "x", "connection {number} of round {round}");
                }
            });
        }
        lanes.join_all().await;
        // The last may still be on its way out.
        wait::until("all descriptors to be closed", SOON, async || match held(&tunnel).0 {
            now if now <= before => Ok(()),
            now => Err(format!("{now} instead of {before}")),
        })
        .await;
        memory.push(held(&tunnel).1);
    }
    // The first round makes the allocator's own stock. What a lost connection leaves is kilobytes.
    assert!(memory[3] < memory[0] + 512, "KiB after each round: {memory:?}");
    assert_eq!(ask(tunnel.connect().await, "y").await, "y");
}
