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

use crate::config::{Direction, Remote, Settings};
use crate::session::fault::SOCKET_OPTIONS;
use crate::session::link::Link;
use crate::session::live::FarEnd;

/// The hop behind a forward.
const BEHIND: &str = "remote";
/// The hop behind a tunnel in reverse.
const BEHIND_REVERSE: &str = "local";

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
                let listens = match settings.forward.direction {
                    Direction::Forward => String::new(),
                    Direction::Reverse => format!(", which listens on {}", settings.forward.remote),
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
            let service = settings.forward.leads_to();
            match known {
                FarEnd::Unknown => {}
                FarEnd::Answers => tracing::info!("the service at {service} answers"),
                FarEnd::Refuses => tracing::warn!("{}", refused(settings).0),
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
    let (state, (cause, remedy)) = match known {
        FarEnd::Unknown => return None,
        FarEnd::Answers => (HopStatus::Up, Default::default()),
        FarEnd::Refuses => (HopStatus::Down, refused(settings)),
    };
    let hop = match settings.forward.direction {
        Direction::Forward => BEHIND,
        Direction::Reverse => BEHIND_REVERSE,
    };
    Some(HopState { hop: hop.to_owned(), state, since: Some(Timestamp::now()), cause, remedy })
}

/// Cause and remedy. sshd answers alike for a socket that is absent and for one that it forbids; only its log knows.
fn refused(settings: &Settings) -> (String, String) {
    let host = &settings.server.host;
    if settings.forward.direction == Direction::Reverse {
        return (
            format!("nothing listens at {} on this machine", settings.forward.local),
            "start the service, or correct -lsock".to_owned(),
        );
    }
    match &settings.forward.remote {
        remote @ Remote::Port(port) => (
            format!("nothing listens at {remote} on {host}"),
            format!("start the service there, or correct -rport if it listens on another port than {port}"),
        ),
        Remote::Socket(path) => (
            format!("{path} on {host} can't be connected to: nothing listens there, or the server forbids it"),
            format!("start the service there, or correct -rsock; {SOCKET_OPTIONS}"),
        ),
        Remote::Command(command) => (
            format!("`{command}` on {host} can't reach the service's socket"),
            "start the service there, or correct the socket that the command dials (--socket)".to_owned(),
        ),
    }
}
