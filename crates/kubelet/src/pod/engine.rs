//! Takes the source's events and keeps one [worker](super::worker) per pod, the poll and the sweep running.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use interlink_wire::{Object, PodUid};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::poll::poll;
use super::status;
use super::survive::survive;
use super::sweep::sweep;
use super::worker::{Context, work};
use crate::pod_table::{Applied, Submission};
use crate::source::PodEvent;

/// How long calls that are under way at the end may take.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs the pods of this node until `shutdown`; then lets calls that are under way finish within 20 s.
pub async fn run(context: Arc<Context>, mut events: mpsc::Receiver<PodEvent>, shutdown: CancellationToken) {
    let (complete, told) = watch::channel(false);
    let mut tasks = JoinSet::new();
    {
        let (context, stop) = (context.clone(), shutdown.clone());
        tasks.spawn(survive("poll".into(), shutdown.clone(), move || poll(context.clone(), stop.clone())));
    }
    {
        let (context, stop) = (context.clone(), shutdown.clone());
        tasks.spawn(survive("sweep".into(), shutdown.clone(), move || {
            sweep(context.clone(), told.clone(), stop.clone())
        }));
    }
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => break,
            event = events.recv() => event,
            // Finished tasks are taken away as they end.
            Some(_) = tasks.join_next() => continue,
        };
        match event {
            None => break,
            Some(PodEvent::Applied(pod)) => apply(&context, pod, &mut tasks, &shutdown),
            Some(PodEvent::Deleted(uid)) => vanish(&context, &uid),
            Some(PodEvent::Listed(pods)) => {
                let listed: HashSet<String> = pods.iter().map(|pod| pod.uid().to_owned()).collect();
                for pod in pods {
                    apply(&context, pod, &mut tasks, &shutdown);
                }
                for pod in context.table.all() {
                    if pod.present && !listed.contains(pod.uid.as_str()) {
                        vanish(&context, &pod.uid);
                    }
                }
                complete.send_replace(true);
            }
        }
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!("some calls did not end in time and are cut off; they are taken up again at the next start");
    }
}

fn apply(context: &Arc<Context>, pod: Object, tasks: &mut JoinSet<()>, shutdown: &CancellationToken) {
    let uid = match PodUid::parse(pod.uid()) {
        Ok(uid) => uid,
        Err(error) => {
            tracing::warn!(pod = %format!("{}/{}", pod.namespace(), pod.name()), err = %error, "a pod is ignored");
            return;
        }
    };
    let (submission, job) = first_sight(&pod);
    match context.table.apply(&uid, pod) {
        Applied::Same => {}
        Applied::Changed => {
            context.table.update(&uid, |pod| pod.wake.notify_one());
        }
        Applied::New => {
            context.table.update(&uid, |pod| {
                pod.submission = submission;
                pod.job = job;
            });
            let (context, stop) = (context.clone(), shutdown.clone());
            tasks.spawn(survive(format!("pod {uid}"), shutdown.clone(), move || {
                work(context.clone(), uid.clone(), stop.clone())
            }));
        }
    }
}

fn vanish(context: &Context, uid: &PodUid) {
    context.table.update(uid, |pod| {
        pod.present = false;
        pod.wake.notify_one();
    });
}

/// How far the submission of a pod has come that is seen for the first time by this process, and its job id.
///
/// The status tells whether an earlier process was about to send the pod; if it says nothing, it was never sent. Then an
/// annotation with a job id is another pod's, copied together with its manifest.
fn first_sight(pod: &Object) -> (Submission, String) {
    let finished = matches!(pod.phase(), "Succeeded" | "Failed");
    let submission = match pod.annotation("JobID") {
        Some(job) if finished || status::is_shown(pod) => return (Submission::Accepted, job.to_owned()),
        Some(_) => Submission::Unsent,
        None if finished || status::was_submitted(pod) => Submission::Accepted,
        None if status::was_being_submitted(pod) => Submission::Unknown,
        None => Submission::Unsent,
    };
    (submission, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_restart_finds_out_how_far_a_pod_had_come() {
        let waiting = |reason: &str| json!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason}}}]});
        let cases = [
            (json!({}), json!({"phase": "Pending"}), Submission::Unsent, ""),
            (json!({}), waiting("ContainerCreating"), Submission::Unsent, ""),
            (json!({}), waiting("RemoteUnreachable"), Submission::Unsent, ""),
            (json!({}), waiting("Submitting"), Submission::Unknown, ""),
            (json!({}), waiting("SubmissionUnknown"), Submission::Unknown, ""),
            (json!({}), waiting("Remote pod submitted"), Submission::Unknown, ""),
            (json!({}), waiting("Submitted"), Submission::Accepted, ""),
            (json!({}), json!({"phase": "Failed"}), Submission::Accepted, ""),
            (
                json!({}),
                json!({"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {}}}]}),
                Submission::Accepted,
                "",
            ),
            (json!({"JobID": "42"}), waiting("Submitted"), Submission::Accepted, "42"),
            (json!({"JobID": "42"}), json!({"phase": "Failed"}), Submission::Accepted, "42"),
            (json!({"JobID": "42"}), json!({"phase": "Pending"}), Submission::Unsent, ""),
            (json!({"JobID": ""}), waiting("Submitting"), Submission::Accepted, ""),
        ];
        for (annotations, status, submission, job) in cases {
            let pod = json!({"metadata": {"annotations": annotations}, "status": status});
            let seen = first_sight(&Object::from_value(pod.clone()).unwrap());
            assert_eq!(seen, (submission, job.to_owned()), "{pod}");
        }
    }
}
