//! Compares what the remote side holds of ours with what there should be, where it can list its pods.
//!
//! - A job of ours without a pod is ended: its pod was deleted while nobody listened.
//! - A pod whose job is in neither list nor status, several times, has lost its job.
//!
//! Only jobs with exactly this node's owner are touched, only after the source has told every pod once, and only after
//! the source was asked again whether the pod is really gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use interlink_wire::{Object, PodListEntry, PodUid};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::status::lost_sentence;
use super::worker::{Context, named};
use crate::pod_table::{Ending, KnownPod, Submission};
use crate::source::Note;

/// Between two sweeps.
const PAUSE: Duration = Duration::from_secs(30);
/// A pod is not missed before it has been with the remote side, unchanged, for so long.
const GRACE: Duration = Duration::from_secs(60);
/// How many status answers and how many lists in a row must lack a pod.
const MISSED: u32 = 3;
const UNLISTED: u32 = 2;

/// Sweeps until `shutdown`. `complete` is true once the source has told every pod.
pub(super) async fn sweep(context: Arc<Context>, mut complete: watch::Receiver<bool>, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => return,
        told = complete.wait_for(|all| *all) => if told.is_err() { return },
    }
    loop {
        let ready = {
            let health = context.health.borrow();
            health.reachable && health.capabilities.pod_list
        };
        if ready {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = once(&context) => {}
            }
        }
        let pause = if ready { PAUSE } else { Duration::from_secs(2) };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn once(context: &Context) {
    // Pods that were accepted after this moment cannot be expected in the list.
    let asked = Instant::now();
    let listed = match context.client.pods().await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::debug!(err = %error, "the remote side's pods could not be listed");
            return;
        }
    };
    let listed: HashMap<&str, &PodListEntry> = listed.iter().map(|entry| (entry.uid.as_str(), entry)).collect();
    for pod in context.table.all() {
        let found = listed.get(pod.uid.as_str()).copied();
        let lost = context.table.update(&pod.uid, |p| note(p, found, asked)).unwrap_or(false);
        if lost {
            tracing::warn!(pod = %named(&pod), uid = %pod.uid, jid = %pod.job, "the remote side no longer knows it");
            context.store.event(&pod.object, Note::warning(super::status::JOB_LOST, lost_sentence(&pod.job)));
        }
    }
    // An owner that several programs may share is nobody to act for.
    let Some(owner) = context.client.owner().filter(|owner| !owner.starts_with("local/")) else { return };
    for entry in listed.values().filter(|entry| entry.owner == owner && entry.state != "deleting") {
        if let Ok(uid) = PodUid::parse(&entry.uid)
            && context.table.get(&uid).is_none()
        {
            end_orphan(context, entry, &uid).await;
        }
    }
}

/// Takes note of whether the list had the pod; whether the pod has just been lost.
fn note(pod: &mut KnownPod, found: Option<&PodListEntry>, asked: Instant) -> bool {
    if let Some(entry) = found {
        pod.unlisted = 0;
        if pod.job.is_empty() && !entry.jid.is_empty() {
            entry.jid.clone_into(&mut pod.job);
            pod.wake.notify_one();
        }
        return false;
    }
    let expected = pod.submission == Submission::Accepted
        && pod.ending == Ending::NotAsked
        && !pod.is_finished()
        && asked.saturating_duration_since(pod.changed_at) >= GRACE;
    if !expected {
        return false;
    }
    pod.unlisted = pod.unlisted.saturating_add(1);
    let lost = pod.unlisted >= UNLISTED && pod.missed >= MISSED;
    if lost {
        pod.submission = Submission::Lost;
        pod.wake.notify_one();
    }
    lost
}

async fn end_orphan(context: &Context, entry: &PodListEntry, uid: &PodUid) {
    match context.store.exists(&entry.namespace, &entry.name, uid).await {
        Ok(false) => {}
        Ok(true) => return,
        Err(error) => {
            tracing::debug!(uid = %uid, err = %error, "whether a remote pod still exists here is not known");
            return;
        }
    }
    let pod = json!({"metadata": {"namespace": entry.namespace, "name": entry.name, "uid": entry.uid}});
    let Some(pod) = Object::from_value(pod) else { return };
    match context.client.delete(&pod).await {
        Ok(()) => {
            tracing::info!(pod = %format!("{}/{}", entry.namespace, entry.name), uid = %uid, jid = %entry.jid, "ended a job whose pod is gone")
        }
        Err(error) => {
            tracing::warn!(uid = %uid, jid = %entry.jid, err = %error, "a job whose pod is gone could not be ended; it is tried again")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_table::PodTable;

    #[tokio::test(start_paused = true)]
    async fn a_job_is_lost_only_when_list_and_status_agree_for_long_enough() {
        let uid = PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap();
        let table = PodTable::new();
        table.apply(&uid, Object::from_value(json!({"metadata": {"name": "p", "uid": uid.as_str()}})).unwrap());
        table.update(&uid, |p| p.submission = Submission::Accepted);
        let mut pod = (*table.get(&uid).unwrap()).clone();
        let late = Instant::now() + GRACE;
        pod.missed = MISSED;
        assert!(!note(&mut pod, None, Instant::now()) && pod.unlisted == 0, "too early");
        assert!(!note(&mut pod, None, late), "once is not enough");
        assert!(!note(&mut pod, Some(&PodListEntry::default()), late) && pod.unlisted == 0, "it is there");
        pod.missed = 0;
        assert!(!note(&mut pod, None, late) && !note(&mut pod, None, late), "the status still has it");
        pod.missed = MISSED;
        let ending = &mut KnownPod { ending: Ending::Confirmed, ..pod.clone() };
        assert!(!note(ending, None, late), "a pod that was to go is not lost");
        assert!(note(&mut pod, None, late) && pod.submission == Submission::Lost);
        assert!(!note(&mut pod, None, late), "lost once");
    }
}
