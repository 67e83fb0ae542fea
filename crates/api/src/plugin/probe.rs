//! Our own pings, so that the state is right also when no kubelet asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use interlink_wire::HopStatus;
use tokio_util::sync::CancellationToken;

use super::Plugin;
use crate::caller::Caller;

/// Between two looks while the plugin is down: an outage's end should be seen soon.
const DOWN: Duration = Duration::from_secs(5);

/// A plugin that is up is left alone as long as a kubelet pings it (every 30 s): a ping costs some of them a process.
const UP: Duration = Duration::from_secs(45);

/// Pings at once, then whenever the state may be out of date, until `shutdown`.
pub async fn run(plugin: Arc<Plugin>, shutdown: CancellationToken) {
    loop {
        let (state, last) = plugin.last_seen();
        let age = last.map_or(Duration::MAX, |last| Instant::now().saturating_duration_since(last));
        let pause = if state == HopStatus::Up { UP } else { DOWN };
        if age >= pause {
            let _ = tokio::select! {
                // Its outcome is noted by the ping itself.
                ping = async { plugin.ping(&Caller::ourselves()).await } => ping,
                () = shutdown.cancelled() => return,
            };
        }
        tokio::select! {
            () = tokio::time::sleep(DOWN) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
