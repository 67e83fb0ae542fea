//! Local connections, each carried over a channel of its own.
//!
//! | module | what |
//! |---|---|
//! | [`mod@splice`] | bytes both ways until both directions ended |
//! | [`backlog`] | what the server sent and the client has not taken yet |
//! | [`reverse`] | the other way round: connections that the server accepts |
//!
//! A connection that comes while the tunnel is down waits for a while, then is closed. Whatever happens to one
//! connection, the others don't notice.

pub mod backlog;
pub mod reverse;
pub mod splice;

use std::time::Duration;

use interlink_transport::{Listener, Stream, mux};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Remote;
use crate::session::conduit::Conduit;
use crate::session::link::{Link, wait_for_up};
use crate::session::live::OpenError;
use splice::{End, splice};

/// Patience of a forward.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// With a tunnel that is down.
    pub outage: Duration,
    /// With a server that doesn't answer the request for a channel.
    pub open: Duration,
}

/// Accepts connections until `stop`, then closes the listener. The connections live on in `tasks`, until `cut`.
pub async fn accept(
    listener: Listener,
    remote: Remote,
    link: watch::Receiver<Link>,
    patience: Patience,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    cut: &CancellationToken,
) {
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        if !peer.may_pass() {
            tracing::warn!(uid = peer.uid, "turned away a connection of another user of this machine");
            continue;
        }
        let (remote, link, cut) = (remote.clone(), link.clone(), cut.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = carry(stream, &remote, link, patience) => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// One connection from its beginning to its end.
async fn carry(stream: Stream, remote: &Remote, mut link: watch::Receiver<Link>, patience: Patience) {
    let deadline = Instant::now() + patience.outage;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(live) = wait_for_up(&mut link, left).await else {
            tracing::debug!("closed a connection: the tunnel did not come up in time");
            return;
        };
        match live.open(remote, patience.open).await {
            Ok(conduit) => {
                // The session ends with its last user; a connection must not keep a dead one.
                drop(live);
                match conduit {
                    Conduit::Channel(channel) => report(splice(stream, channel).await),
                    Conduit::Mux(far) => {
                        let end = mux::carry(stream, far).await;
                        tracing::debug!(?end, "a connection ended");
                    }
                }
                return;
            }
            // Nothing was sent: the next session serves it as well.
            Err(OpenError::Lost) if Instant::now() < deadline => {
                let gone = async {
                    let _ = link.wait_for(|l| !matches!(l, Link::Up(up) if std::sync::Arc::ptr_eq(up, &live))).await;
                };
                let _ = timeout(deadline.saturating_duration_since(Instant::now()), gone).await;
            }
            Err(err) => {
                tracing::debug!(?err, "closed a connection: the server did not open a channel for it");
                return;
            }
        }
    }
}

/// Says how a connection ended, where that is worth a word.
fn report(end: End) {
    match end {
        End::Finished => {}
        End::Stalled => tracing::warn!(
            "closed a connection whose client did not read for {:?} while {} MiB waited for it",
            backlog::STALL,
            backlog::LIMIT >> 20
        ),
        end => tracing::debug!(?end, "a connection broke"),
    }
}
