//! `/delete`: marked durably, then the job is ended with the pod's grace, then the directory goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use interlink_supervisor::deletion::Deletion;
use interlink_wire::{Fault, JobId, Object, PodExtract, PodUid};

use super::Plugin;
use super::create::blocking;
use super::pod::Pod;
use crate::http::answer::Wrong;
use crate::jobdir::record;
use crate::scheduler::JobState;

/// What the supervisor may take beyond the pod's grace: its own end, and the way of its last word.
const MARGIN: Duration = Duration::from_secs(15);
/// How often a job that does not end is told again.
const INSIST: Duration = Duration::from_secs(10);
/// How often it is seen whether the scheduler has been asked since the delete.
const LOOK: Duration = Duration::from_millis(100);

impl Plugin {
    /// Accepts the deletion of a pod. One that is not known is deleted already.
    ///
    /// # Errors
    /// [`Wrong`]: no valid UID, another owner's, or the mark can't be written.
    pub async fn delete(self: Arc<Self>, pod: Object, owner: Option<String>) -> Result<(), Wrong> {
        let uid = PodUid::parse(pod.uid()).map_err(|e| Wrong::bad_request(format!("metadata.uid: {e}")))?;
        let _turn = self.table.turn(&uid).await;
        let Some(known) = self.table.get(&uid) else {
            self.table.forget(&uid);
            return Ok(());
        };
        if !known.belongs_to(owner.as_deref()) {
            let sentence = format!("pod {uid} belongs to another owner, who alone may delete it");
            return Err(Wrong::new(StatusCode::FORBIDDEN, Fault::lasting("plugin", "owner", sentence)));
        }
        let asked = Deletion { grace_seconds: grace(&pod) };
        let before = known.facts().deletion;
        // A later delete may be in more of a hurry, never in less.
        let seconds = |d: Deletion| d.grace_seconds.unwrap_or(known.grace_seconds);
        let mark = match before {
            Some(before) if seconds(before) <= seconds(asked) => before,
            _ => asked,
        };
        if before != Some(mark) {
            let dir = known.dir.clone();
            blocking(move || mark.store(dir.path())).await.map_err(|e| {
                let sentence = format!(
                    "the deletion can't be recorded in {}: {e}; mend the file system",
                    known.dir.path().display()
                );
                Wrong::new(StatusCode::INSUFFICIENT_STORAGE, Fault::passing("plugin", "storage", sentence))
            })?;
            tracing::info!(uid = %uid, pod = %format!("{}/{}", known.namespace, known.name), "delete accepted");
        }
        known.learn(|facts| facts.deletion = Some(mark));
        self.table.activate(&known);
        self.drive(&known);
        Ok(())
    }

    /// Carries a deletion out, from wherever an earlier attempt came to.
    ///
    /// # Errors
    /// One sentence: what stands in the way now.
    pub(super) async fn carry_out_delete(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<(), String> {
        if let Some(job) = self.job_to_end(pod).await? {
            self.end_job(pod, &job).await;
        }
        let (plugin, dir) = (Arc::clone(self), pod.dir.clone());
        blocking(move || plugin.root.remove(&dir)).await.map_err(|e| format!("its directory can't be removed: {e}"))?;
        tracing::info!(uid = %pod.uid, "deleted");
        self.table.forget(&pod.uid);
        pod.learn(|facts| facts.gone = true);
        Ok(())
    }

    /// The job of a pod whose submission may have been in flight.
    async fn job_to_end(&self, pod: &Arc<Pod>) -> Result<Option<JobId>, String> {
        let (job, refused) = {
            let facts = pod.facts();
            (facts.job.clone(), facts.refused.is_some())
        };
        if job.is_some() || refused || !record::was_attempted(&pod.dir) {
            return Ok(job);
        }
        let _lock = self.submit_lock(pod).await?;
        let found = self.find(pod).await?;
        if let Some(job) = &found {
            pod.learn(|facts| facts.job = Some(job.clone()));
        }
        Ok(found)
    }

    /// Ends a job and returns when the scheduler says that it is over.
    async fn end_job(&self, pod: &Arc<Pod>, job: &JobId) {
        let begun = Instant::now();
        let mut told: Option<(bool, Instant)> = None;
        let mut changes = pod.changes();
        loop {
            changes.mark_unchanged();
            let (state, fresh, deletion) = {
                let facts = pod.facts();
                let fresh = facts.looked.is_some_and(|at| at >= begun);
                (facts.record.as_ref().map(|record| record.state), fresh, facts.deletion)
            };
            let grace = deletion.and_then(|d| d.grace_seconds).unwrap_or(pod.grace_seconds);
            let patience = Duration::from_secs(grace).saturating_add(MARGIN).saturating_sub(begun.elapsed());
            let softly = match state {
                Some(JobState::Ended(_)) => return,
                Some(JobState::Running | JobState::Completing) => !patience.is_zero(),
                Some(JobState::Queued | JobState::Configuring | JobState::Suspended) | None => false,
            };
            let due = told.is_none_or(|(how, at)| how != softly || at.elapsed() >= INSIST);
            // Only on a fresh look: a controller that lost its state may have given the number to another job since.
            if fresh && state.is_some() && due {
                let answer =
                    if softly { self.scheduler.terminate(job).await } else { self.scheduler.cancel(job).await };
                self.heard(&answer);
                if answer.is_ok() {
                    told = Some((softly, Instant::now()));
                }
            }
            self.look.notify_one();
            let wait = match (fresh, softly) {
                (false, _) => LOOK,
                (true, true) => INSIST.min(patience.max(Duration::from_millis(50))),
                (true, false) => INSIST,
            };
            let _ = tokio::time::timeout(wait.min(Duration::from_secs(2)), changes.changed()).await;
        }
    }
}

/// Seconds between TERM and KILL that the delete asks for.
fn grace(pod: &Object) -> Option<u64> {
    let extract = PodExtract::from_object(pod).ok()?;
    let seconds = extract.metadata.deletion_grace_period_seconds.or(extract.spec.termination_grace_period_seconds)?;
    u64::try_from(seconds).ok()
}
