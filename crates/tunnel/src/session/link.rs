//! The state of the link to the server, as everybody else sees it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;

use super::fault::Fault;
use super::live::Live;

/// Up, down, or not tried yet.
#[derive(Debug, Clone)]
pub enum Link {
    /// The first attempt is under way.
    Connecting,
    /// A session is logged in and may forward.
    Up(Arc<Live>),
    /// There is none; attempts go on.
    Down {
        /// Since when.
        since: Timestamp,
        /// Why, by the last attempt.
        fault: Fault,
        /// When the next attempt begins.
        retry_at: Timestamp,
    },
}

/// Waits until the link is up, at most `patience`.
pub async fn wait_for_up(link: &mut watch::Receiver<Link>, patience: Duration) -> Option<Arc<Live>> {
    let up = link.wait_for(|l| matches!(l, Link::Up(_)));
    match timeout(patience, up).await {
        Ok(Ok(link)) => match &*link {
            Link::Up(live) => Some(Arc::clone(live)),
            Link::Connecting | Link::Down { .. } => None,
        },
        // Out of patience, or the tunnel is stopping.
        Ok(Err(_)) | Err(_) => None,
    }
}
