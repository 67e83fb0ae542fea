//! Our own pings, so that the state is right also when no kubelet asks.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Plugin;
use crate::caller::Caller;

/// Between two looks while nothing comes back: an outage's end should be seen soon.
const SILENT: Duration = Duration::from_secs(5);

/// A plugin that answers, be it with an error, is left alone as long as a kubelet pings it (every 30 s): a ping costs
/// some of them a process on a shared login node.
const ANSWERS: Duration = Duration::from_secs(45);

/// Pings at once, then whenever the state may be out of date, until `shutdown`.
pub async fn run(plugin: Arc<Plugin>, shutdown: CancellationToken) {
    loop {
        let due =
            plugin.last_ping().is_none_or(|last| last.at.elapsed() >= if last.answered { ANSWERS } else { SILENT });
        if due {
            let caller = Caller::ourselves();
            tokio::select! {
                // Its outcome is noted by the ping itself.
                _ = plugin.ping(&caller) => {}
                () = shutdown.cancelled() => return,
            }
        }
        tokio::select! {
            () = tokio::time::sleep(SILENT) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
