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
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
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

/// How long, after the shutdown, a client that has just been taken in may take to say what it wants.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Serves `router` on `listener` until `shutdown`; then finishes what is in hand for at most `drain`.
///
/// Every request carries its [`Peer`] as an extension. On loopback TCP another user's request gets 403.
/// Handlers take bodies as bytes; above [`BODY_LIMIT`] they get 413.
pub async fn serve(listener: Listener, router: Router, shutdown: CancellationToken, drain: Duration) {
    let router = router.layer(DefaultBodyLimit::max(BODY_LIMIT));
    let connections = TaskTracker::new();
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
        let (shutdown, asked) = (shutdown.clone(), CancellationToken::new());
        let first = asked.clone();
        let service = hyper::service::service_fn(move |request| {
            asked.cancel();
            answer(router.clone(), peer, request)
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = time_to_end(&shutdown, &first) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            // A client that goes away in the middle is its own business.
            if let Err(error) = ended {
                tracing::debug!(err = %error, "connection ended");
            }
            drop(slot);
        });
    }
    // New clients are refused from here on, and the socket's file is gone.
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(seconds = drain.as_secs(), "requests were still running after the drain time; closing them");
    }
}

/// After the shutdown hyper hangs up on a client of which it has read nothing, though its request may be on its way.
async fn time_to_end(shutdown: &CancellationToken, asked: &CancellationToken) {
    shutdown.cancelled().await;
    // Whoever has not asked by then does not want anything yet.
    let _ = tokio::time::timeout(FIRST_REQUEST, asked.cancelled()).await;
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
