//! Connections that the server accepts, each carried to the service on this side.

use std::time::Duration;

use interlink_transport::{Endpoint, Stream};
use russh::ChannelOpenFailure;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::report;
use super::splice::splice;
use crate::session::Incoming;
use crate::session::link::Link;
use crate::session::live::FarEnd;

/// Takes over connections until `stop`. They live on in `tasks`, until `cut`.
pub async fn accept(
    mut incoming: mpsc::Receiver<Incoming>,
    service: &Endpoint,
    limit: Duration,
    link: watch::Receiver<Link>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    cut: &CancellationToken,
) {
    loop {
        let next = tokio::select! {
            next = incoming.recv() => next,
            () = stop.cancelled() => return,
        };
        let Some(next) = next else { return };
        let (service, link, cut) = (service.clone(), link.clone(), cut.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = carry(next, &service, limit, &link) => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// Dials first: the client at the server is told at once when nobody is here.
async fn carry(next: Incoming, service: &Endpoint, limit: Duration, link: &watch::Receiver<Link>) {
    let dialled = timeout(limit, Stream::connect(service)).await;
    let stream = match dialled {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => {
            tracing::debug!(%err, "{service} can't be connected to: turned a connection away");
            note(link, FarEnd::Refuses);
            return next.reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
        Err(_) => {
            tracing::debug!("{service} does not answer within {limit:?}: turned a connection away");
            return next.reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
    };
    note(link, FarEnd::Answers);
    next.reply.accept().await;
    report(splice(stream, next.channel).await);
}

fn note(link: &watch::Receiver<Link>, seen: FarEnd) {
    if let Link::Up(live) = &*link.borrow() {
        live.note(seen);
    }
}
