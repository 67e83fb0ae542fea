//! `/containerLogs`: from the pod's name to the bytes of its container, as they come.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{StatusCode, header};
use interlink_wire::LogStruct;
use serde_json::Value;

use super::log_query::{LogQuery, Plan};
use super::routes::KubeletApi;
use crate::interlink::{Client, InterlinkError, LogStream};
use crate::pod_table::{KnownPod, Submission};

/// Where the output of containers comes from.
#[async_trait]
pub trait LogSource: Send + Sync {
    /// Opens the output; dropping the stream ends the call.
    ///
    /// # Errors
    /// [`InterlinkError`], before the first byte.
    async fn logs(&self, request: &LogStruct) -> Result<LogStream, InterlinkError>;
}

#[async_trait]
impl LogSource for Client {
    async fn logs(&self, request: &LogStruct) -> Result<LogStream, InterlinkError> {
        Client::logs(self, request).await
    }
}

/// The handler.
pub(super) async fn container_logs(
    State(api): State<Arc<KubeletApi>>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let query = match LogQuery::parse(&pairs) {
        Ok(query) => query,
        Err(sentence) => return say(StatusCode::BAD_REQUEST, &sentence),
    };
    let Some(pod) = api.pods.find(&namespace, &name) else {
        return say(StatusCode::NOT_FOUND, &format!("pod {namespace}/{name} is not on this node"));
    };
    if !has_container(&pod, &container) {
        let sentence = format!("container {container:?} is not in pod {namespace}/{name}");
        return say(StatusCode::NOT_FOUND, &sentence);
    }
    if let Some(sentence) = not_begun(&pod, &container) {
        return say(StatusCode::BAD_REQUEST, &sentence);
    }
    let (opts, limit) = match query.plan() {
        Plan::Nothing => return text(Body::empty()),
        Plan::Ask(opts, limit) => (opts, limit),
    };
    let request =
        LogStruct { namespace, pod_uid: pod.uid.to_string(), pod_name: name, container_name: container, opts };
    match api.logs.logs(&request).await {
        Ok(stream) => text(body(stream, limit, &request, &api)),
        Err(error) => refused(&error),
    }
}

/// The stream as a body. A break in it breaks the answer off, so that the client knows that something is missing.
fn body(stream: LogStream, limit: Option<u64>, request: &LogStruct, api: &KubeletApi) -> Body {
    let (pod, uid, container) = (request.pod_name.clone(), request.pod_uid.clone(), request.container_name.clone());
    let mut left = limit;
    let limited = stream
        .map(move |chunk| {
            let mut chunk = chunk.inspect_err(|error| {
                tracing::warn!(%pod, %uid, %container, err = %error, "the container's output broke off");
            })?;
            if let Some(left) = &mut left {
                chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= chunk.len() as u64;
            }
            Ok((chunk, left == Some(0)))
        })
        .scan(false, |over, item: Result<(bytes::Bytes, bool), InterlinkError>| {
            let next = (!*over).then_some(item);
            *over = matches!(next, Some(Err(_) | Ok((_, true))));
            std::future::ready(next)
        })
        .map(|item| item.map(|(chunk, _)| chunk).map_err(std::io::Error::other));
    if !request.opts.follow {
        return Body::from_stream(limited);
    }
    // A follower would hold up the shutdown for as long as the container lives.
    let ending = api.shutdown.clone();
    let farewell = futures_util::stream::once(async move {
        ending.cancelled().await;
        Err(std::io::Error::other("the virtual kubelet is shutting down"))
    });
    Body::from_stream(until_first_end(limited, farewell))
}

/// `main` until it ends, or until `other` has an item, which is then the last.
fn until_first_end<T: Send + 'static>(
    main: impl futures_util::Stream<Item = T> + Send + 'static,
    other: impl futures_util::Stream<Item = T> + Send + 'static,
) -> impl futures_util::Stream<Item = T> + Send {
    let main = main.map(Some).chain(futures_util::stream::once(std::future::ready(None)));
    let other = other.map(Some).chain(futures_util::stream::once(std::future::ready(None)));
    futures_util::stream::select(main, other).scan(false, |over, item| {
        let next = item.filter(|_| !*over);
        *over = next.is_none();
        std::future::ready(next)
    })
}

fn has_container(pod: &KnownPod, container: &str) -> bool {
    let Some(spec) = pod.object.fields().get("spec") else { return false };
    ["containers", "initContainers"]
        .iter()
        .filter_map(|list| spec.get(*list).and_then(Value::as_array))
        .flatten()
        .any(|c| c.get("name").and_then(Value::as_str) == Some(container))
}

/// Why there can't be any output yet, in the words of the real kubelet.
fn not_begun(pod: &KnownPod, container: &str) -> Option<String> {
    let name = pod.name();
    match &pod.submission {
        Submission::Unsent | Submission::Sending => {
            let why = pod.trouble.as_ref().map_or("the pod has not been submitted yet", |(_, sentence)| sentence);
            Some(format!("container {container:?} in pod {name:?} is waiting to start: {why}"))
        }
        Submission::Refused { sentence, .. } => {
            Some(format!("container {container:?} in pod {name:?} never started: {sentence}"))
        }
        // Whoever may have it is asked.
        _ => None,
    }
}

/// kubectl shows the sentence of 400 and 500 alone.
fn refused(error: &InterlinkError) -> Response {
    let status = if error.may_pass() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_REQUEST };
    say(status, &error.to_string())
}

fn text(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

pub(super) fn say(status: StatusCode, sentence: &str) -> Response {
    (status, format!("{sentence}\n")).into_response()
}
