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

use crate::config::{Direction, Forward, Settings};
use crate::session::fault::Fault;
use crate::session::link::Link;
use crate::session::live::FarEnd;

/// The hop behind a forward.
const BEHIND: &str = "remote";
/// The hop behind a tunnel in reverse.
const BEHIND_REVERSE: &str = "local";

/// Tells every change of `link` until `stop`.
pub async fn tell(
    settings: &Settings,
    forward: &Forward,
    handle: &HopHandle,
    mut link: watch::Receiver<Link>,
    stop: &CancellationToken,
) {
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
                let listens = match forward.direction {
                    Direction::Forward => String::new(),
                    Direction::Reverse => format!(", which listens on {}", forward.remote),
                };
                handle.up(&format!("connected to {} ({}){listens}", settings.server, live.peer.ip()));
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
            () = follow(settings, forward, handle, far_end) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Tells what becomes known of the far end while a session is up. Never returns.
async fn follow(settings: &Settings, forward: &Forward, handle: &HopHandle, far_end: Option<watch::Receiver<FarEnd>>) {
    if let Some(mut far_end) = far_end {
        loop {
            let known = *far_end.borrow_and_update();
            let service = forward.leads_to();
            match known {
                FarEnd::Unknown => {}
                FarEnd::Answers => tracing::info!("the service at {service} answers"),
                FarEnd::Refuses => tracing::warn!("{}", Fault::no_service(&settings.server, forward).cause),
            }
            handle.set_behind(behind(settings, forward, known).into_iter().collect());
            if far_end.changed().await.is_err() {
                break;
            }
        }
    }
    std::future::pending::<()>().await;
}

fn behind(settings: &Settings, forward: &Forward, known: FarEnd) -> Option<HopState> {
    let (state, (cause, remedy)) = match known {
        FarEnd::Unknown => return None,
        FarEnd::Answers => (HopStatus::Up, Default::default()),
        FarEnd::Refuses => {
            let fault = Fault::no_service(&settings.server, forward);
            (HopStatus::Down, (fault.cause, fault.remedy))
        }
    };
    let hop = match forward.direction {
        Direction::Forward => BEHIND,
        Direction::Reverse => BEHIND_REVERSE,
    };
    Some(HopState { hop: hop.to_owned(), state, since: Some(Timestamp::now()), cause, remedy })
}
