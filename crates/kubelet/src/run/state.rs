//! What this program says of itself: its own hop is up, and behind it is what the pings tell.

use interlink_daemon::HopHandle;
use interlink_wire::{HopState, HopStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Keeps the state up to date until `shutdown`.
pub(super) async fn follow(handle: HopHandle, mut health: watch::Receiver<Health>, shutdown: CancellationToken) {
    loop {
        let now = health.borrow_and_update().clone();
        handle.set_behind(behind(&now));
        handle.detail("chain", now.sentence());
        interlink_daemon::notify::status(&now.sentence());
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = health.changed() => if changed.is_err() { return },
        }
    }
}

/// The hops behind this one, nearest first.
fn behind(health: &Health) -> Vec<HopState> {
    if !health.reachable {
        return vec![health.chain.clone()];
    }
    let api = HopState {
        hop: "api".into(),
        state: HopStatus::Up,
        since: health.chain.since.filter(|_| health.is_up()),
        cause: String::new(),
        remedy: String::new(),
    };
    let further = health.pong.response.hops.iter().filter(|hop| hop.hop != "api").cloned();
    std::iter::once(api).chain(further).collect()
}
