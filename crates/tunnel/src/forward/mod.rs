//! Local connections, each carried over a channel of its own.
//!
//! | module | what |
//! |---|---|
//! | [`route`] | one forward while the tunnel runs |
//! | [`served`] | all forwards, and how they change while the tunnel runs |
//! | [`mod@splice`] | bytes both ways until both directions ended |
//! | `landing` | where reads land before their size is known |
//! | [`backlog`] | what the server sent and the client has not taken yet |
//! | [`reverse`] | the other way round: connections that the server accepts |
//!
//! A connection that comes while the tunnel is down waits for a while, then is closed. Whatever happens to one
//! connection, the others don't notice.

pub mod backlog;
mod landing;
pub mod reverse;
pub mod route;
pub mod served;
pub mod splice;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use interlink_transport::{Listener, Stream, mux};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::io::{InspectReader, InspectWriter};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::session::conduit::Conduit;
use crate::session::link::{Link, wait_for_way};
use crate::session::live::OpenError;
use route::{Route, Traffic};
use splice::{End, splice};

/// Read at once from a client, or from the `ssh` that carries its connection.
const RELAY: usize = 32 << 10;

/// Patience of a forward.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// With a tunnel that is down.
    pub outage: Duration,
    /// With a server that doesn't answer the request for a channel.
    pub open: Duration,
}

/// What carries connections.
#[derive(Debug, Clone)]
pub struct Carrier {
    /// The sessions.
    pub links: watch::Receiver<Vec<Link>>,
    /// How long to wait for what.
    pub patience: Patience,
    /// The connections that are open.
    pub tasks: TaskTracker,
    /// Ends them.
    pub cut: CancellationToken,
}

/// Accepts connections of `route` until `stop`, and gives the listener back. The connections live on.
pub async fn accept(listener: Listener, route: Arc<Route>, carrier: Carrier, stop: CancellationToken) -> Listener {
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stop.cancelled() => return listener,
            accepted = listener.accept() => accepted,
        };
        if !peer.may_pass() {
            tracing::warn!(uid = peer.uid, "turned away a connection of another user of this machine");
            continue;
        }
        let (route, links, patience, cut) =
            (Arc::clone(&route), carrier.links.clone(), carrier.patience, carrier.cut.clone());
        carrier.tasks.spawn(async move {
            tokio::select! {
                () = carry(stream, &route, links, patience) => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// One connection from its beginning to its end.
async fn carry(stream: Stream, route: &Arc<Route>, mut links: watch::Receiver<Vec<Link>>, patience: Patience) {
    let _open = route.traffic.begin();
    let deadline = Instant::now() + patience.outage;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some((live, load)) = wait_for_way(&mut links, &route.forward.name, left).await else {
            tracing::debug!("closed a connection: the tunnel did not come up in time");
            return;
        };
        match live.open(route, patience.open).await {
            Ok(conduit) => {
                // The session ends with its last user; a connection must not keep a dead one.
                drop(live);
                bring(stream, conduit, &route.traffic).await;
                drop(load);
                return;
            }
            // Nothing was sent: the next session serves it as well.
            Err(OpenError::Lost) if Instant::now() < deadline => {
                let left = deadline.saturating_duration_since(Instant::now());
                let there = |link: &Link| link.live().is_some_and(|up| Arc::ptr_eq(up, &live));
                let _ = timeout(left, links.wait_for(|links| !links.iter().any(there))).await;
            }
            Err(err) => {
                tracing::debug!(?err, "closed a connection: the server did not open a channel for it");
                return;
            }
        }
    }
}

/// Carries bytes until both directions ended.
async fn bring(mut stream: Stream, conduit: Conduit, traffic: &Traffic) {
    match conduit {
        Conduit::Channel(channel) => report(splice(stream, channel, traffic).await),
        Conduit::Mux(far) => {
            let end = mux::carry_counted(stream, far, &traffic.to_server, &traffic.from_server).await;
            tracing::debug!(?end, "a connection ended");
        }
        Conduit::Local(far) => {
            let count = |counter: &AtomicU64, bytes: &[u8]| {
                counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            };
            let far = InspectReader::new(far, |bytes| count(&traffic.from_server, bytes));
            let mut far = InspectWriter::new(far, |bytes| count(&traffic.to_server, bytes));
            let end = tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut far, RELAY, RELAY).await;
            tracing::debug!(?end, "a connection ended");
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
