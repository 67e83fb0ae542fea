//! `/create`: arranges the request and sees to it that a pod is submitted once.

pub mod arrange;
pub mod defaults;
pub mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use interlink_wire::create::ScriptBuildConfig;
use interlink_wire::{CreateStruct, Envelope, Fault, Object, PodCreateRequests, PodStatus, RetrievedPodData, path};
use tokio_util::sync::CancellationToken;

use crate::HOP;
use crate::answer::{self, Refusal};
use crate::caller::Caller;
use crate::plugin::{Lane, Reply, Unanswered};
use crate::server::{App, Payload};
use crate::status::cache::Created;
use turns::{Outcome, Turn};

/// Handles the path.
///
/// # Errors
/// [`Refusal`].
pub async fn handle(State(app): State<Arc<App>>, caller: Caller, Payload(body): Payload) -> Result<Response, Refusal> {
    let request = PodCreateRequests::decode(&body).map_err(|e| Refusal::bad_request(e.to_string()))?;
    refuse_unserved(&app, &request)?;
    let data =
        arrange::arrange(request, ScriptBuildConfig::default()).map_err(|e| Refusal::bad_request(e.to_string()))?;
    let uid = data.pod.uid().to_owned();
    let waiting = match app.turns.create(&uid) {
        Turn::Join(waiting) => waiting,
        Turn::Start(running, waiting) => {
            // On its own: a kubelet that goes away must not leave a half-made submission behind.
            let app = app.clone();
            app.tasks.clone().spawn(async move {
                let outcome = Submission { app: &app, caller: &caller, stop: &running.stop }.run(data).await;
                running.finish(outcome);
            });
            waiting
        }
    };
    let answer = waiting.outcome().await.unwrap_or_else(|| Err(interrupted()))?;
    Ok(answer::json(&answer))
}

fn interrupted() -> Refusal {
    Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        fault: Fault::passing(HOP, "internal", "the create was interrupted; look at the API server's log"),
    }
}

/// Job scripts made by a builder or a template are not served yet; passing the pod on without its script would run
/// something else than was asked for.
fn refuse_unserved(app: &App, request: &PodCreateRequests) -> Result<(), Refusal> {
    let unserved = |why: &str| {
        let fault = Fault::lasting(HOP, "unsupported", why);
        Err(Refusal { status: StatusCode::UNPROCESSABLE_ENTITY, fault })
    };
    if !request.jobscript_url.is_empty() {
        return unserved(
            "this API server serves no job-script builder; remove JobScriptBuilderURL from the virtual kubelet's configuration",
        );
    }
    if !app.template().is_empty() {
        return unserved(
            "this API server serves no job-script templates; remove JobScriptTemplate from its configuration and reload it",
        );
    }
    Ok(())
}

/// One create on its way.
struct Submission<'a> {
    app: &'a App,
    caller: &'a Caller,
    stop: &'a CancellationToken,
}

/// What to do after a try without an answer.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Again,
    GiveUp,
    Unknown,
}

/// Decides after a try without an answer: what was surely not sent may be sent again, what may have arrived only to a
/// plugin that returns the first one's answer.
fn next(nothing_sent: bool, idempotent: bool, time_left: bool) -> Next {
    match (nothing_sent || idempotent, time_left) {
        (true, true) => Next::Again,
        (true, false) => Next::GiveUp,
        (false, _) => Next::Unknown,
    }
}

impl Submission<'_> {
    async fn run(&self, data: RetrievedPodData) -> Outcome {
        let (uid, pod) = (data.pod.uid().to_owned(), format!("{}/{}", data.pod.namespace(), data.pod.name()));
        let started = Instant::now();
        let outcome = self.submit(&data, &uid, &pod).await;
        let ms = started.elapsed().as_millis();
        match &outcome {
            Ok(answer) => {
                tracing::info!(pod, uid, jid = answer.pod_jid, session = self.caller.session, ms, "created");
            }
            Err(refusal) => tracing::warn!(
                pod,
                uid,
                session = self.caller.session,
                ms,
                hop = refusal.fault.hop,
                code = refusal.fault.code,
                status = refusal.status.as_u16(),
                "not created: {}",
                refusal.fault.sentence
            ),
        }
        outcome
    }

    async fn submit(&self, data: &RetrievedPodData, uid: &str, pod: &str) -> Outcome {
        let plugin = &self.app.plugin;
        let body = serde_json::to_vec(data).map(Bytes::from).map_err(|_| interrupted())?;
        let deadline = Instant::now() + plugin.limits().create;
        let mut give_up = None;
        // A try that may have arrived, at a plugin that promised to take a repetition well.
        let mut lost: Option<Unanswered> = None;
        loop {
            let (unanswered, idempotent) = match plugin.capabilities().await {
                // Whoever doesn't answer a ping isn't sent a create: its fate would not be known.
                Err(unanswered) => (Unanswered { nothing_sent: true, ..unanswered }, false),
                Ok(_) => {
                    let idempotent = plugin.dialect().may_repeat_create();
                    if !idempotent && let Some(lost) = lost {
                        // Another plugin answers now, which may run what its predecessor had taken.
                        return Err(self.unknown(&lost, uid, pod));
                    }
                    if !idempotent && let Some(outcome) = self.known(&data.pod, uid, pod).await {
                        return outcome;
                    }
                    match self.send(body.clone(), deadline).await {
                        Ok(reply) => return self.read(&reply, uid, pod),
                        Err(unanswered) => (unanswered, idempotent),
                    }
                }
            };
            let give_up = *give_up.get_or_insert_with(|| deadline.min(Instant::now() + self.patience()));
            let time_left = Instant::now() + plugin.limits().pause < give_up;
            match next(unanswered.nothing_sent, idempotent, time_left) {
                Next::Unknown => return Err(self.unknown(&unanswered, uid, pod)),
                Next::GiveUp => return Err(unanswered.trouble.refusal()),
                Next::Again => tracing::debug!(
                    pod,
                    uid,
                    session = self.caller.session,
                    err = unanswered.trouble.cause,
                    "trying again"
                ),
            }
            tokio::select! {
                () = tokio::time::sleep(plugin.limits().pause) => {}
                () = self.stop.cancelled() => return Err(deleted_meanwhile(pod)),
                () = self.app.shutdown.cancelled() => return Err(unanswered.trouble.refusal()),
            }
            if !unanswered.nothing_sent {
                lost = Some(unanswered);
            }
        }
    }

    /// It may have arrived, and nobody who is asked again could tell.
    fn unknown(&self, unanswered: &Unanswered, uid: &str, pod: &str) -> Refusal {
        self.app.cache().record_create(uid, self.caller.owner.as_deref(), Created::Unknown, Instant::now());
        unanswered.trouble.submission_unknown(pod)
    }

    /// How long to go on: a kubelet of ours tries again itself, a foreign one would fail the pod.
    fn patience(&self) -> Duration {
        let limits = self.app.plugin.limits();
        if self.caller.owner.is_some() { limits.short_patience } else { limits.patience }
    }

    /// What this process knows of an earlier create at a plugin that would run the pod twice.
    async fn known(&self, pod_object: &Object, uid: &str, pod: &str) -> Option<Outcome> {
        let created = self.app.cache().created(uid, Instant::now());
        match created? {
            Created::Accepted(answer) => Some(Ok(answer)),
            Created::Unknown => {
                let status = crate::status::ask(self.app, self.caller, vec![pod_object.clone()]).await;
                let found: Option<PodStatus> = status.ok().and_then(|mut list| list.pop().flatten());
                match found {
                    Some(status) => Some(Ok(CreateStruct { pod_uid: uid.to_owned(), pod_jid: status.jid })),
                    None => Some(Err(Refusal {
                        status: StatusCode::CONFLICT,
                        fault: Fault::lasting(
                            "plugin",
                            crate::plugin::trouble::SUBMISSION_UNKNOWN,
                            format!(
                                "submission unknown: an earlier create of pod {pod} got no answer and the plugin's status does not know the pod; it is not sent again, because the plugin might run the pod twice; delete the pod to start anew"
                            ),
                        ),
                    })),
                }
            }
        }
    }

    /// One try; a plugin that wants a list gets one, after it has refused the object.
    async fn send(&self, body: Bytes, deadline: Instant) -> Result<Reply, Unanswered> {
        let plugin = &self.app.plugin;
        let post = |body| {
            let left = deadline.saturating_duration_since(Instant::now());
            plugin.ask(Lane::Write, Method::POST, path::CREATE, self.caller, body, left)
        };
        let listed = || Bytes::from([b"[", body.as_ref(), b"]"].concat());
        let dialect = plugin.dialect();
        if dialect.list_create {
            return post(listed()).await;
        }
        let reply = post(body.clone()).await?;
        let wants_list = matches!(reply.status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        if !wants_list || dialect.may_repeat_create() {
            return Ok(reply);
        }
        match post(listed()).await {
            Ok(second) if second.status.is_success() => {
                plugin.learn(|dialect| dialect.list_create = true);
                Ok(second)
            }
            // It doesn't want lists either: its first words are about the pod.
            Ok(second) if second.status.is_client_error() => Ok(reply),
            other => other,
        }
    }

    fn read(&self, reply: &Reply, uid: &str, pod: &str) -> Outcome {
        let idempotent = self.app.plugin.dialect().may_repeat_create();
        if !reply.status.is_success() {
            let mut refusal = reply.refusal();
            // It was sent: only these say that it was not looked at.
            if !idempotent && !matches!(refusal.status.as_u16(), 408 | 425 | 429) {
                refusal.fault.retry = false;
            }
            return Err(refusal);
        }
        match CreateStruct::decode(&reply.body) {
            Ok(answer) => {
                let answer = CreateStruct { pod_uid: uid.to_owned(), ..answer };
                let created = Created::Accepted(answer.clone());
                self.app.cache().record_create(uid, self.caller.owner.as_deref(), created, Instant::now());
                Ok(answer)
            }
            Err(_) if reply.body.iter().all(u8::is_ascii_whitespace) => Err(Refusal {
                status: StatusCode::BAD_GATEWAY,
                fault: Fault::lasting(
                    "plugin",
                    "bad-answer",
                    format!(
                        "the plugin answered the create of pod {pod} with nothing, so it has no job; look at the plugin's log"
                    ),
                ),
            }),
            Err(error) => {
                if !idempotent {
                    self.app.cache().record_create(uid, self.caller.owner.as_deref(), Created::Unknown, Instant::now());
                }
                let code = if idempotent { "bad-answer" } else { crate::plugin::trouble::SUBMISSION_UNKNOWN };
                let sentence = format!(
                    "submission unknown: the plugin accepted pod {pod}, but its answer names no job ({error}); look at the plugin's log"
                );
                Err(Refusal { status: StatusCode::BAD_GATEWAY, fault: Fault::lasting("plugin", code, sentence) })
            }
        }
    }
}

fn deleted_meanwhile(pod: &str) -> Refusal {
    let sentence = format!("pod {pod} was deleted before it could be sent to the plugin");
    Refusal { status: StatusCode::CONFLICT, fault: Fault::lasting(HOP, "deleted", sentence) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_is_sent_again_only_when_that_is_safe() {
        let cases = [
            ((true, false, true), Next::Again),
            ((true, true, true), Next::Again),
            ((false, true, true), Next::Again),
            ((true, false, false), Next::GiveUp),
            ((false, true, false), Next::GiveUp),
            ((false, false, true), Next::Unknown),
            ((false, false, false), Next::Unknown),
        ];
        for ((nothing_sent, idempotent, time_left), expected) in cases {
            assert_eq!(next(nothing_sent, idempotent, time_left), expected, "{nothing_sent} {idempotent} {time_left}");
        }
    }
}
