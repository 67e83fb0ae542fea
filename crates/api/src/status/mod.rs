//! `/status`: asks the plugin for what may have changed, in one batch where the plugin can, and answers by UID.

pub mod cache;
pub mod merge;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use http::{Method, StatusCode};
use interlink_wire::{Envelope, Fault, Object, PodStatus, path};

use crate::answer::{self, Refusal};
use crate::caller::Caller;
use crate::plugin::dialect::Batches;
use crate::plugin::{Lane, Reply};
use crate::server::{App, Payload};

/// Handles the path.
///
/// # Errors
/// [`Refusal`].
pub async fn handle(State(app): State<Arc<App>>, caller: Caller, Payload(body): Payload) -> Result<Response, Refusal> {
    let pods = Object::decode_list(&body).map_err(|e| Refusal::bad_request(e.to_string()))?;
    if pods.is_empty() {
        return Ok(answer::json(&app.cache().statuses(caller.owner.as_deref())));
    }
    let pods: Vec<Object> = pods.into_iter().map(Object::without_managed_fields).collect();
    let now = Instant::now();
    // What has ended, and whose end the kubelet already knows, can't change any more.
    let mut statuses: Vec<Option<PodStatus>> = pods
        .iter()
        .map(|pod| merge::is_closed(pod).then(|| app.cache().status(pod.uid(), now)).flatten().filter(merge::is_final))
        .collect();
    let open: Vec<usize> = (0..pods.len()).filter(|i| statuses[*i].is_none()).collect();
    if !open.is_empty() {
        let asked = open.iter().map(|i| pods[*i].clone()).collect();
        for (i, status) in open.into_iter().zip(ask(&app, &caller, asked).await?) {
            statuses[i] = status;
        }
    }
    let known: Vec<PodStatus> = statuses.into_iter().flatten().collect();
    Ok(answer::json(&known))
}

/// Asks the plugin for these pods and remembers what it says. Parallel to `pods`; `None` is unknown to the plugin.
///
/// # Errors
/// [`Refusal`] when there is no answer at all. One pod that fails among others is only left out.
pub async fn ask(app: &App, caller: &Caller, pods: Vec<Object>) -> Result<Vec<Option<PodStatus>>, Refusal> {
    let asked = Instant::now();
    let limit = app.plugin.patience_of(caller);
    let answered = match tokio::time::timeout(limit, batch_or_single(app, caller, &pods)).await {
        Ok(answered) => answered?,
        Err(_) => return Err(too_slow(limit.as_secs(), pods.len())),
    };
    let now = Instant::now();
    let mut cache = app.cache();
    let owner = caller.owner.as_deref();
    let statuses = pods.iter().zip(answered).map(|(pod, found)| match found {
        Found::Known(status) => {
            let jid = match cache.created(pod.uid(), now) {
                Some(cache::Created::Accepted(answer)) => Some(answer.pod_jid),
                _ => None,
            };
            Some(cache.record_status(owner, merge::complete(*status, pod, jid.as_deref()), asked, now))
        }
        Found::Unknown => {
            cache.forget_status(pod.uid(), now);
            None
        }
        Found::Failed => None,
    });
    Ok(statuses.collect())
}

/// What came back for one pod.
#[derive(Debug)]
enum Found {
    Known(Box<PodStatus>),
    /// The plugin answered, and does not know the pod.
    Unknown,
    /// The plugin failed over this pod alone.
    Failed,
}

impl From<Option<PodStatus>> for Found {
    fn from(status: Option<PodStatus>) -> Self {
        status.map_or(Self::Unknown, |status| Self::Known(Box::new(status)))
    }
}

async fn batch_or_single(app: &App, caller: &Caller, pods: &[Object]) -> Result<Vec<Found>, Refusal> {
    let dialect = app.plugin.dialect();
    if pods.len() > 1 && dialect.batches == Batches::FirstOnly {
        return singly(app, caller, pods.iter().collect()).await;
    }
    let reply = send(app, caller, &pods.iter().collect::<Vec<_>>()).await?;
    // Ours answers for every pod it knows, and its errors are about the whole request.
    let foreign = !dialect.may_repeat_create();
    if !reply.status.is_success() {
        return match pods {
            [_] if reply.status == StatusCode::NOT_FOUND => Ok(vec![Found::Unknown]),
            [_, _, ..] if foreign && about_a_pod(reply.status) => singly(app, caller, pods.iter().collect()).await,
            _ => Err(reply.refusal()),
        };
    }
    let mut found: Vec<Found> = merge::assign(pods, read(&reply)?).into_iter().map(Found::from).collect();
    let missing: Vec<usize> = (0..pods.len()).filter(|i| matches!(found[*i], Found::Unknown)).collect();
    let known = pods.len() - missing.len();
    app.plugin.learn(|dialect| dialect.learn_batch(pods.len(), known));
    if foreign && pods.len() > 1 && known <= 1 && dialect.batches == Batches::Unknown {
        let again = singly(app, caller, missing.iter().map(|i| &pods[*i]).collect()).await?;
        let more = again.iter().filter(|f| matches!(f, Found::Known(_))).count();
        app.plugin.learn(|dialect| dialect.learn_singles(more));
        for (i, second) in missing.into_iter().zip(again) {
            found[i] = second;
        }
    }
    Ok(found)
}

/// Whether an error for a batch may be the fault of one pod in it.
fn about_a_pod(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 404 | 422 | 500)
}

/// Asks pod by pod, so that one bad pod does not hide the rest.
async fn singly(app: &App, caller: &Caller, pods: Vec<&Object>) -> Result<Vec<Found>, Refusal> {
    // Boxed: the compiler can't see that a stream of borrowing futures may change threads.
    let asks: Vec<BoxFuture<'_, Result<Result<Found, Refusal>, Refusal>>> =
        pods.into_iter().map(|pod| ask_one(app, caller, pod).boxed()).collect();
    let mut answers = futures_util::stream::iter(asks).buffered(app.plugin.limits().singles);
    let (mut found, mut failure, mut good) = (Vec::new(), None, false);
    while let Some(answer) = answers.next().await {
        match answer? {
            Ok(one) => {
                good = true;
                found.push(one);
            }
            Err(refusal) => {
                failure.get_or_insert(refusal);
                found.push(Found::Failed);
            }
        }
    }
    match failure {
        Some(refusal) if !good => Err(refusal),
        _ => Ok(found),
    }
}

/// The outer error ends the whole round: the plugin can't be reached. The inner one is about this pod.
async fn ask_one(app: &App, caller: &Caller, pod: &Object) -> Result<Result<Found, Refusal>, Refusal> {
    let reply = send(app, caller, &[pod]).await?;
    match reply.status {
        status if status.is_success() => {
            let statuses = read(&reply).map(|read| merge::assign(std::slice::from_ref(pod), read).pop().flatten());
            Ok(statuses.map(Found::from))
        }
        StatusCode::NOT_FOUND => Ok(Ok(Found::Unknown)),
        _ => Ok(Err(reply.refusal())),
    }
}

async fn send(app: &App, caller: &Caller, pods: &[&Object]) -> Result<Reply, Refusal> {
    let body = serde_json::to_vec(pods).map(Bytes::from).map_err(|e| Refusal::bad_request(e.to_string()))?;
    let limit = app.plugin.patience_of(caller);
    let reply = app.plugin.ask_either(Lane::Read, [Method::GET, Method::POST], path::STATUS, caller, body, limit).await;
    reply.map_err(|unanswered| unanswered.trouble.refusal())
}

fn read(reply: &Reply) -> Result<Vec<PodStatus>, Refusal> {
    PodStatus::decode_list(&reply.body).map_err(|error| Refusal {
        status: StatusCode::BAD_GATEWAY,
        fault: Fault::passing(
            "plugin",
            "bad-answer",
            format!("the plugin answered the status with something else ({error}); look at the plugin's log"),
        ),
    })
}

fn too_slow(seconds: u64, pods: usize) -> Refusal {
    let sentence = format!(
        "the plugin did not give the status of {pods} pods within {seconds} s; look at the plugin's log and its scheduler"
    );
    Refusal { status: StatusCode::GATEWAY_TIMEOUT, fault: Fault::passing("plugin", "timeout", sentence) }
}
