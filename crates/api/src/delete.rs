//! `/delete`: passed on until the plugin has heard it. The existing kubelet asks once and forgets the pod, so a delete
//! that gets lost here leaks a job.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use interlink_wire::{ContainerState, Envelope, Fault, Object, path};

use crate::HOP;
use crate::answer::{self, Refusal};
use crate::caller::Caller;
use crate::plugin::{Lane, Reply};
use crate::server::{App, Payload};

/// Handles the path.
///
/// # Errors
/// [`Refusal`].
pub async fn handle(State(app): State<Arc<App>>, caller: Caller, Payload(body): Payload) -> Result<Response, Refusal> {
    let pod = Object::decode(&body).map_err(|e| Refusal::bad_request(format!("delete request: {e}")))?;
    if pod.uid().is_empty() {
        return Err(Refusal::bad_request(
            "delete request is not valid: metadata.uid is missing; it must be the pod's UID",
        ));
    }
    // On its own: the kubelet may go away, the delete must not.
    let task = app.tasks.spawn({
        let app = app.clone();
        async move { run(&app, &caller, pod).await }
    });
    match task.await {
        Ok(outcome) => outcome.map(|body| answer::text(StatusCode::OK, body)),
        Err(error) => Err(Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            fault: Fault::passing(HOP, "internal", format!("the delete was interrupted: {error}")),
        }),
    }
}

async fn run(app: &App, caller: &Caller, pod: Object) -> Result<Bytes, Refusal> {
    let pod = pod.without_managed_fields();
    let (uid, name) = (pod.uid().to_owned(), format!("{}/{}", pod.namespace(), pod.name()));
    let limits = app.plugin.limits();
    let limit = if caller.owner.is_some() { limits.short_delete } else { limits.delete };
    let deadline = Instant::now() + limit;
    if let Some(create) = app.turns.stop_create(&uid) {
        // The delete must not overtake the create; one that takes too long is overtaken all the same.
        let _ = tokio::time::timeout(limit / 2, create.outcome()).await;
    }
    let outcome = send(app, caller, &pod, deadline).await;
    match &outcome {
        Ok(_) => app.cache().forget(&uid),
        // The status of a pod that is going away is out of date, but that it was created stays true.
        Err(_) => app.cache().forget_status(&uid, Instant::now()),
    }
    match &outcome {
        Ok(_) => tracing::info!(pod = name, uid, session = caller.session, "deleted"),
        Err(refusal) => tracing::warn!(
            pod = name,
            uid,
            session = caller.session,
            hop = refusal.fault.hop,
            code = refusal.fault.code,
            status = refusal.status.as_u16(),
            "not deleted: {}",
            refusal.fault.sentence
        ),
    }
    outcome
}

/// Sends it, and again while there is no answer: deleting twice does no harm.
async fn send(app: &App, caller: &Caller, pod: &Object, deadline: Instant) -> Result<Bytes, Refusal> {
    let body = serde_json::to_vec(pod).map(Bytes::from).map_err(|e| Refusal::bad_request(e.to_string()))?;
    let limits = app.plugin.limits();
    let mut give_up = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let methods = [Method::POST, Method::DELETE];
        let unanswered =
            match app.plugin.ask_either(Lane::Write, methods, path::DELETE, caller, body.clone(), left).await {
                Ok(reply) => return read(&reply),
                Err(unanswered) => unanswered,
            };
        let patience = if caller.owner.is_some() { limits.short_patience } else { limits.patience };
        let give_up = *give_up.get_or_insert_with(|| deadline.min(Instant::now() + patience));
        if Instant::now() + limits.pause >= give_up {
            return match unanswered.nothing_sent || !gone(app, caller, pod).await {
                true => Err(unanswered.trouble.refusal()),
                false => Ok(Bytes::from_static(
                    b"the plugin hung up over the delete, and does not know the pod: nothing to delete\n",
                )),
            };
        }
        tokio::select! {
            () = tokio::time::sleep(limits.pause) => {}
            () = app.shutdown.cancelled() => return Err(unanswered.trouble.refusal()),
        }
    }
}

/// Whether a plugin that hangs up over a delete answers otherwise, and does not know the pod: the existing Slurm plugin
/// does both, and our kubelet would try for ever.
async fn gone(app: &App, caller: &Caller, pod: &Object) -> bool {
    match crate::status::ask(app, caller, vec![pod.clone()]).await.as_deref() {
        Ok([None]) => true,
        Ok([Some(status)]) => status.containers.iter().all(|c| c.state == ContainerState::Unknown),
        _ => false,
    }
}

/// A pod that the plugin does not know is as good as deleted.
fn read(reply: &Reply) -> Result<Bytes, Refusal> {
    match reply.status {
        status if status.is_success() => Ok(reply.body.clone()),
        StatusCode::NOT_FOUND => Ok(Bytes::from_static(b"the plugin does not know the pod: nothing to delete\n")),
        _ => Err(reply.refusal()),
    }
}
