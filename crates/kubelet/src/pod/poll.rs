//! Asks the remote side how the pods are, many at a time.
//!
//! A pod that changes is asked about every second; one that has not changed for long, more seldom. Peers that answer for one
//! pod a call (two known ones do) are found out and asked so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use interlink_wire::{Object, PodStatus, PodUid};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::worker::Context;
use crate::pod_table::{Ending, KnownPod, Submission};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// A pod without news is asked about at least so often.
const SELDOM: Duration = Duration::from_secs(10);
/// Pods per call.
const BATCH: usize = 100;
/// Calls at a time.
const AT_ONCE: usize = 4;
/// Pods that a batch left out and that are asked about alone, per round.
const ALONE: usize = 50;

/// Polls until `shutdown`.
pub(super) async fn poll(context: Arc<Context>, shutdown: CancellationToken) {
    let mut batch = BATCH;
    loop {
        let started = Instant::now();
        if context.health.borrow().reachable {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = round(&context, &mut batch) => {}
            }
        }
        // A slow remote side is not to be busy with us alone.
        let pause = ROUND.max(started.elapsed());
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether the remote side is to be asked about `pod` now.
fn is_due(pod: &KnownPod, now: Instant) -> bool {
    let open = if pod.is_terminating() {
        // Also one whose submission never became certain: only the answers tell when it is gone.
        matches!(pod.ending, Ending::Asked(_))
    } else {
        pod.submission == Submission::Accepted && !pod.is_finished()
    };
    let pause = (now.saturating_duration_since(pod.changed_at) / 10).clamp(ROUND, SELDOM);
    // Rounds are a little longer than a second; without the slack a pod would miss every other one.
    let due = pod.asked_at.is_none_or(|asked| now.saturating_duration_since(asked) + ROUND / 2 >= pause);
    open && pod.present && due
}

type Answer = (Vec<Arc<KnownPod>>, Option<HashMap<String, PodStatus>>);

async fn ask(context: &Context, pods: Vec<Arc<KnownPod>>) -> Answer {
    let objects: Vec<Arc<Object>> = pods.iter().map(|pod| pod.object.clone()).collect();
    match context.client.status(&objects).await {
        Ok(told) => (pods, Some(told.into_iter().map(|status| (status.uid.clone(), status)).collect())),
        Err(error) => {
            // Unknown is not failed: the pods keep what they have.
            tracing::debug!(err = %error, pods = pods.len(), "the status could not be asked");
            (pods, None)
        }
    }
}

async fn round(context: &Context, batch: &mut usize) {
    let now = Instant::now();
    let due: Vec<Arc<KnownPod>> = context.table.all().into_iter().filter(|pod| is_due(pod, now)).collect();
    let chunks: Vec<Vec<Arc<KnownPod>>> = due.chunks(*batch).map(<[_]>::to_vec).collect();
    let mut answers = stream::iter(chunks.into_iter().map(|chunk| ask(context, chunk))).buffer_unordered(AT_ONCE);
    let mut left_out = Vec::new();
    let mut only_one_answered = false;
    while let Some((pods, told)) = answers.next().await {
        let Some(mut told) = told else { continue };
        only_one_answered |= pods.len() > 1 && told.len() == 1;
        let alone = pods.len() == 1;
        for pod in pods {
            match told.remove(pod.uid.as_str()) {
                Some(status) => take(context, &pod.uid, status),
                None if alone => miss(context, &pod.uid),
                None => left_out.push(pod),
            }
        }
    }
    drop(answers);
    let mut answers =
        stream::iter(left_out.into_iter().take(ALONE).map(|pod| ask(context, vec![pod]))).buffer_unordered(AT_ONCE);
    while let Some((pods, told)) = answers.next().await {
        let (Some(mut told), Some(pod)) = (told, pods.first()) else { continue };
        match told.remove(pod.uid.as_str()) {
            Some(status) => {
                if only_one_answered && *batch > 1 {
                    tracing::info!("the remote side answers for one pod a call; it is asked so from here on");
                    *batch = 1;
                }
                take(context, &pod.uid, status);
            }
            None => miss(context, &pod.uid),
        }
    }
}

fn take(context: &Context, uid: &PodUid, status: PodStatus) {
    context.table.update(uid, |pod| {
        if accept(pod, status, Instant::now()) {
            pod.wake.notify_one();
        }
    });
}

/// Takes the plugin's word into the table; whether it is news. The sequence decides about order: an answer that took long
/// must not undo a later one.
pub(super) fn accept(pod: &mut KnownPod, status: PodStatus, now: Instant) -> bool {
    pod.asked_at = Some(now);
    pod.missed = 0;
    if let (Some(old), Some(new)) = (pod.remote.as_ref().and_then(|r| r.sequence), status.sequence)
        && new < old
    {
        return false;
    }
    let job = !status.jid.is_empty() && status.jid != pod.job;
    let same = pod.remote.as_ref().is_some_and(|r| {
        r.containers == status.containers
            && r.init_containers == status.init_containers
            && r.pod_ip == status.pod_ip
            && r.host_ip == status.host_ip
    });
    if job {
        status.jid.clone_into(&mut pod.job);
    }
    pod.remote = Some(Arc::new(status));
    if !same {
        pod.changed_at = now;
    }
    job || !same
}

/// How many answers without a pod that was to end mean that it has.
const GONE: u32 = 2;

fn miss(context: &Context, uid: &PodUid) {
    context.table.update(uid, |pod| {
        pod.asked_at = Some(Instant::now());
        pod.missed = pod.missed.saturating_add(1);
        if matches!(pod.ending, Ending::Asked(_)) && pod.missed >= GONE {
            pod.ending = Ending::Confirmed;
            pod.wake.notify_one();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_table::PodTable;
    use interlink_wire::Envelope;
    use serde_json::json;

    fn pod() -> KnownPod {
        let uid = PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap();
        let table = PodTable::new();
        table.apply(&uid, Object::from_value(json!({"metadata": {"name": "p", "uid": uid.as_str()}})).unwrap());
        table.update(&uid, |p| p.submission = Submission::Accepted);
        (*table.get(&uid).unwrap()).clone()
    }

    fn told(sequence: Option<u64>, reason: &str) -> PodStatus {
        let status = json!({"name": "p", "JID": "7", "sequence": sequence, "containers": [{"name": "c", "state": {"waiting": {"reason": reason}}}]});
        PodStatus::from_value(status).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_does_not_undo_a_later_one() {
        let (mut pod, now) = (pod(), Instant::now());
        assert!(accept(&mut pod, told(Some(2), "b"), now) && pod.job == "7");
        assert!(!accept(&mut pod, told(Some(1), "a"), now));
        assert!(!accept(&mut pod, told(Some(2), "b"), now));
        assert!(accept(&mut pod, told(Some(3), "c"), now));
        assert!(accept(&mut pod, told(None, "from a peer that does not count"), now));
    }

    #[tokio::test(start_paused = true)]
    async fn pods_without_news_are_asked_about_more_seldom() {
        let (mut pod, start) = (pod(), Instant::now());
        assert!(is_due(&pod, start));
        for (unchanged, asked_ago, due) in
            [(5, 1, true), (60, 1, false), (60, 6, true), (5000, 9, false), (5000, 10, true)]
        {
            let now = start + Duration::from_secs(10_000);
            pod.changed_at = now - Duration::from_secs(unchanged);
            pod.asked_at = Some(now - Duration::from_secs(asked_ago));
            assert_eq!(is_due(&pod, now), due, "unchanged for {unchanged} s, asked {asked_ago} s ago");
        }
    }
}
