//! HTTP/1.1 over a listener, with limits and a drain.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::IntoResponse;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::listener::Listener;
use crate::peer::Peer;

/// The largest request body, in bytes. Etcd keeps a Kubernetes object below 1.5 MiB; a pod with its ConfigMaps and
/// Secrets is a few of these.
pub const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// A client that has not finished the headers of its next request by then is let go. As this is also how long a
/// connection may be idle, it is longer than clients keep one (Go's: 120 s): none must be closed under a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(150);

/// How many connections are served at once; more wait in the backlog. Log followers hold one each.
const CONNECTIONS: usize = 16_384;

/// Serves `router` on `listener` until `shutdown`; then finishes what is in hand for at most `drain`.
///
/// Every request carries its [`Peer`] as an extension. On loopback TCP another user's request gets 403.
/// Handlers take bodies as bytes; above [`BODY_LIMIT`] they get 413.
pub async fn serve(listener: Listener, router: Router, shutdown: CancellationToken, drain: Duration) {
    let router = router.layer(DefaultBodyLimit::max(BODY_LIMIT));
    let graceful = GracefulShutdown::new();
    let slots = std::sync::Arc::new(Semaphore::new(CONNECTIONS));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
            () = shutdown.cancelled() => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let router = router.clone();
        let service = hyper::service::service_fn(move |request| answer(router.clone(), peer, request));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that goes away in the middle is its own business.
            if let Err(error) = connection.await {
                tracing::debug!(err = %error, "connection ended");
            }
            drop(slot);
        });
    }
    // New clients are refused from here on, and the socket's file is gone.
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = drain.as_secs(), "requests were still running after the drain time; closing them");
    }
}

async fn answer(router: Router, peer: Peer, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if !peer.may_pass() {
        let sentence = "this port serves only its own user on this machine; use the private Unix socket\n";
        return Ok((StatusCode::FORBIDDEN, sentence).into_response());
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    router.oneshot(request).await
}
