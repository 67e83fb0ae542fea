//! Connections that the server accepts, each carried to the service on this side.

use std::sync::Arc;

use interlink_transport::Stream;
use russh::ChannelOpenFailure;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::route::{FarEnd, Route, Routes};
use super::{Carrier, bring};
use crate::config::Direction;
use crate::session::Incoming;

/// Takes over connections until `stop`; what comes later, or was not asked for, is turned away. They live on.
pub async fn accept(
    mut incoming: mpsc::Receiver<Incoming>,
    routes: watch::Receiver<Routes>,
    carrier: Carrier,
    stop: &CancellationToken,
) {
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = incoming.recv() => next,
        };
        let Some(next) = next else { return };
        let asked = routes.borrow().iter().find(|route| leads(route, &next)).map(Arc::clone);
        let Some(route) = asked else {
            tracing::debug!(at = %next.at, "turned away a connection where nobody asked the server to listen");
            next.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            continue;
        };
        let (limit, cut) = (carrier.patience.open, carrier.cut.clone());
        carrier.tasks.spawn(async move {
            tokio::select! {
                () = carry(next, &route, limit) => {}
                () = cut.cancelled() => {}
            }
        });
    }
    // Whoever connected just now learns at once that nobody is here any more.
    incoming.close();
    while let Some(late) = incoming.recv().await {
        late.reject(ChannelOpenFailure::ConnectFailed).await;
    }
}

fn leads(route: &Route, next: &Incoming) -> bool {
    route.forward.direction == Direction::Reverse && route.forward.remote == next.at && !route.removed.is_cancelled()
}

/// Dials first: the client at the server is told at once when nobody is here.
async fn carry(next: Incoming, route: &Route, limit: std::time::Duration) {
    let _open = route.traffic.begin();
    let service = &route.forward.local;
    let dialled = timeout(limit, Stream::connect(service)).await;
    let stream = match dialled {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => {
            tracing::debug!(%err, "{service} can't be connected to: turned a connection away");
            route.note(FarEnd::Refuses);
            return next.reject(ChannelOpenFailure::ConnectFailed).await;
        }
        Err(_) => {
            tracing::debug!("{service} does not answer within {limit:?}: turned a connection away");
            return next.reject(ChannelOpenFailure::ConnectFailed).await;
        }
    };
    route.note(FarEnd::Answers);
    bring(stream, next.accept().await, &route.traffic).await;
}
