//! What is told to operators and to the programs in front: one log line a change, `systemctl status`, and the JSON of
//! the state socket.
//!
//! The program's own hop is the link to the server. The service behind it is a hop of its own: whether it answers is no
//! fault of the tunnel.

use interlink_daemon::HopHandle;
use interlink_wire::{HopState, HopStatus};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::session::link::Link;
use crate::session::live::FarEnd;

/// The hop behind the tunnel.
const BEHIND: &str = "remote";

/// Tells every change of `link` until `stop`.
pub async fn tell(settings: &Settings, handle: &HopHandle, mut link: watch::Receiver<Link>, stop: &CancellationToken) {
    let mut connections: u64 = 0;
    loop {
        let now = link.borrow_and_update().clone();
        let far_end = match &now {
            Link::Connecting => None,
            Link::Up(live) => {
                connections += 1;
                handle.detail("connections", connections);
                handle.detail("reconnects", connections - 1);
                handle.detail("peer", live.peer.to_string());
                handle.detail("retryAt", serde_json::Value::Null);
                handle.up(&format!("connected to {} ({})", settings.server, live.peer.ip()));
                Some(live.far_end())
            }
            Link::Down { fault, retry_at, .. } => {
                handle.detail("retryAt", retry_at.to_string());
                handle.set_behind(Vec::new());
                handle.down(&fault.cause, &fault.remedy);
                None
            }
        };
        // A clone of the state would keep the session alive.
        drop(now);
        tokio::select! {
            changed = link.changed() => if changed.is_err() { return },
            () = follow(settings, handle, far_end) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Tells what becomes known of the far end while a session is up. Never returns.
async fn follow(settings: &Settings, handle: &HopHandle, far_end: Option<watch::Receiver<FarEnd>>) {
    if let Some(mut far_end) = far_end {
        loop {
            let known = *far_end.borrow_and_update();
            let remote = &settings.forward.remote;
            match known {
                FarEnd::Unknown => {}
                FarEnd::Answers => tracing::info!("the service at {remote} answers"),
                FarEnd::Refuses => tracing::warn!("nothing listens at {remote} on {}", settings.server.host),
            }
            handle.set_behind(behind(settings, known).into_iter().collect());
            if far_end.changed().await.is_err() {
                break;
            }
        }
    }
    std::future::pending::<()>().await;
}

fn behind(settings: &Settings, known: FarEnd) -> Option<HopState> {
    let remote = &settings.forward.remote;
    let (state, cause, remedy) = match known {
        FarEnd::Unknown => return None,
        FarEnd::Answers => (HopStatus::Up, String::new(), String::new()),
        FarEnd::Refuses => (
            HopStatus::Down,
            format!("nothing listens at {remote} on {}", settings.server.host),
            format!("start the service there, or correct -rport or -rsock if it listens elsewhere than at {remote}"),
        ),
    };
    Some(HopState { hop: BEHIND.to_owned(), state, since: Some(Timestamp::now()), cause, remedy })
}
