//! `/getLogs`: checked, then streamed chunk by chunk. A client that leaves ends the plugin's side, too.

pub mod check;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::{Stream, StreamExt};
use http::{Method, StatusCode};
use interlink_transport::CallError;
use interlink_wire::{Envelope, LogStruct, path};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Refusal};
use crate::caller::Caller;
use crate::server::{App, Payload};

/// A follower may wait long for the first byte: some plugins send no headers before there is output.
const FOLLOW_LIMIT: Duration = Duration::from_secs(3600);

/// Handles the path.
///
/// # Errors
/// [`Refusal`].
pub async fn handle(State(app): State<Arc<App>>, caller: Caller, Payload(body): Payload) -> Result<Response, Refusal> {
    let request = LogStruct::decode(&body).map_err(|e| Refusal::bad_request(format!("invalid request body: {e}")))?;
    check::check(&request).map_err(|e| Refusal::bad_request(e.to_string()))?;
    let follow = request.opts.follow;
    let limit = if follow { FOLLOW_LIMIT } else { app.plugin.patience_of(&caller) };
    let body = serde_json::to_vec(&request).map(Bytes::from).map_err(|e| Refusal::bad_request(e.to_string()))?;
    let ask = |method| app.plugin.stream(method, path::GET_LOGS, &caller, body.clone(), limit);
    let mut asked = ask(Method::GET).await;
    if asked.as_ref().is_ok_and(|(answer, _)| answer.status == StatusCode::METHOD_NOT_ALLOWED) {
        asked = ask(Method::POST).await;
    }
    let (answer, slot) = asked.map_err(|unanswered| unanswered.trouble.refusal())?;
    if !answer.status.is_success() {
        return Err(app.plugin.refusal_of(answer).await);
    }
    let passing = Passing {
        chunks: Box::pin(answer.into_stream()),
        silence: (!follow).then_some(limit),
        shutdown: app.shutdown.clone(),
        _slot: slot,
    };
    Ok(answer::text(StatusCode::OK, Body::from_stream(passing.into_stream())))
}

/// Logs on their way through. Dropping it closes the connection to the plugin.
struct Passing {
    chunks: Pin<Box<dyn Stream<Item = Result<Bytes, CallError>> + Send>>,
    /// How long there may be no byte; `None` for followers.
    silence: Option<Duration>,
    shutdown: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

/// Why logs break off. The client sees a broken answer, never a short one that looks whole.
#[derive(Debug, thiserror::Error)]
enum BrokenOff {
    #[error(transparent)]
    Plugin(#[from] CallError),
    #[error("the plugin fell silent in the middle of the logs")]
    Silent,
    #[error("the API server is shutting down")]
    Shutdown,
}

impl Passing {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, BrokenOff>> + Send {
        futures_util::stream::unfold(Some(self), |passing| async {
            let mut passing = passing?;
            match passing.next().await {
                Some(Ok(chunk)) => Some((Ok(chunk), Some(passing))),
                Some(Err(error)) => {
                    tracing::debug!(err = %error, "logs broke off");
                    Some((Err(error), None))
                }
                None => None,
            }
        })
    }

    async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        let silence = self.silence;
        let quiet = async move {
            match silence {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            chunk = self.chunks.next() => chunk.map(|chunk| chunk.map_err(BrokenOff::from)),
            () = quiet => Some(Err(BrokenOff::Silent)),
            // Logs that are not followed end by themselves, within the drain time.
            () = self.shutdown.cancelled(), if silence.is_none() => Some(Err(BrokenOff::Shutdown)),
        }
    }
}
