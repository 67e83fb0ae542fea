//! One task per pod that is being submitted or deleted. It ends when there is nothing to do.

use std::sync::Arc;
use std::time::Duration;

use interlink_supervisor::durable;
use interlink_wire::{HopStatus, JobId};
use jiff::Timestamp;

use super::Plugin;
use super::create::blocking;
use super::pod::Pod;
use crate::jobdir::intent::Intent;
use crate::jobdir::record::{self, Refused, SubmitLock};
use crate::jobdir::{JobDir, volumes};
use crate::pod::launch::Plan;
use crate::pod::policy::PRE_EXEC;
use crate::pod::request::Request;
use crate::pod::volumes::Source;
use crate::scheduler::SubmitError;
use crate::scheduler::slurm::script::PRE_EXEC_FILE;

/// Pause after the first failure. A command that was killed may still have reached the scheduler; by then it shows.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a held lock is looked at.
const LOCK_POLL: Duration = Duration::from_millis(200);
/// How long one attempt waits for a held lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

enum Step {
    Submit,
    Delete,
    Rest,
}

impl Plugin {
    /// Sees to it that a driver is at work on this pod, and that it looks again.
    pub fn drive(self: &Arc<Self>, pod: &Arc<Pod>) {
        let driven = std::mem::replace(&mut pod.facts().driven, true);
        if driven {
            pod.wake.notify_one();
            return;
        }
        let (plugin, pod) = (Arc::clone(self), Arc::clone(pod));
        self.tasks.spawn(async move {
            tokio::select! {
                () = plugin.shutdown.cancelled() => {}
                () = plugin.work(&pod) => {}
            }
        });
    }

    async fn work(self: &Arc<Self>, pod: &Arc<Pod>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let done = match next(pod) {
                Step::Rest => return,
                Step::Submit => self.submit(pod).await,
                Step::Delete => self.carry_out_delete(pod).await,
            };
            let Err(obstacle) = done else {
                pause = FIRST_PAUSE;
                continue;
            };
            self.hindered(pod, obstacle);
            // Jitter, so that a thousand pods don't ask a scheduler that comes back all at once.
            let jittered = pause.mul_f64(rand::random_range(0.75..1.25));
            let _ = tokio::time::timeout(jittered, pod.wake.notified()).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Notes what stands in the way; said once, however often it is tried.
    fn hindered(&self, pod: &Pod, obstacle: String) {
        if pod.facts().obstacle.as_ref() == Some(&obstacle) {
            return;
        }
        tracing::warn!(uid = %pod.uid, "{obstacle}; it is tried again");
        pod.learn(|facts| facts.obstacle = Some(obstacle));
    }

    /// Submits a pod, or finds the job that an earlier attempt made.
    async fn submit(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<(), String> {
        // Asked before the lock is taken, which leaves the trace.
        let dir = pod.dir.clone();
        let attempted = blocking(move || record::was_attempted(&dir)).await;
        let lock = self.submit_lock(pod).await?;
        // Its supervisor may have told us of the job meanwhile.
        if let Some(job) = pod.facts().job.clone() {
            tracing::info!(uid = %pod.uid, jid = %job, "the job of an earlier submission has begun");
            return Ok(());
        }
        if attempted && let Some(job) = self.find(pod).await? {
            tracing::info!(uid = %pod.uid, jid = %job, "found the job of an earlier submission");
            self.submitted(pod, job).await;
            return Ok(());
        }
        let (plugin, dir) = (Arc::clone(self), pod.dir.clone());
        if let Err(refusal) = blocking(move || plugin.prepare(&dir)).await? {
            self.refused(pod, refusal).await;
            return Ok(());
        }
        // One that was deleted meanwhile is not submitted at all.
        if pod.facts().deletion.is_some() {
            return Ok(());
        }
        // The submitting command may wait for long; the status says for what.
        let hop = self.health.borrow().clone();
        if hop.state == HopStatus::Down {
            self.hindered(pod, format!("{} can't be asked: {}", hop.hop, hop.cause));
        }
        match self.scheduler.submit(&pod.uid, &pod.dir, &lock).await {
            Ok(job) => {
                tracing::info!(uid = %pod.uid, jid = %job, "submitted");
                self.submitted(pod, job).await;
                Ok(())
            }
            Err(SubmitError::Refused(words)) => {
                self.refused(pod, words).await;
                Ok(())
            }
            Err(SubmitError::Unclear(why)) => Err(why),
        }
    }

    /// Waits a while for the pod's submit lock.
    pub(super) async fn submit_lock(&self, pod: &Pod) -> Result<SubmitLock, String> {
        let wait = async {
            loop {
                let dir = pod.dir.clone();
                match blocking(move || SubmitLock::try_take(&dir)).await {
                    Ok(Some(lock)) => return Ok(lock),
                    Ok(None) => tokio::time::sleep(LOCK_POLL).await,
                    Err(error) => return Err(format!("its submit lock can't be taken: {error}")),
                }
            }
        };
        match tokio::time::timeout(LOCK_PATIENCE, wait).await {
            Ok(taken) => taken,
            Err(_) => Err("an earlier submission of this pod has not ended yet".to_owned()),
        }
    }

    /// The job that an earlier submission made. Where there are several the one that claimed the directory stays.
    pub(super) async fn find(&self, pod: &Pod) -> Result<Option<JobId>, String> {
        let answer = self.scheduler.find(&pod.uid, &pod.dir).await;
        self.heard(&answer);
        let jobs = answer.map_err(|e| format!("whether it was submitted can't be told: {e}"))?;
        let dir = pod.dir.clone();
        let claimed = blocking(move || record::load_job(&dir)).await;
        let chosen = claimed.filter(|job| jobs.is_empty() || jobs.contains(job)).or_else(|| jobs.first().cloned());
        for surplus in jobs.iter().filter(|job| Some(*job) != chosen.as_ref()) {
            tracing::warn!(uid = %pod.uid, jid = %surplus, "a second job of this pod is cancelled");
            self.heard(&self.scheduler.cancel(surplus).await);
        }
        Ok(chosen)
    }

    async fn submitted(&self, pod: &Arc<Pod>, job: JobId) {
        let (kept, noted) = (Arc::clone(pod), job.clone());
        if let Err(error) = blocking(move || record::store_job(&kept.dir, &kept.namespace, &kept.uid, &noted)).await {
            // The job is found again by its name.
            tracing::warn!(uid = %pod.uid, jid = %job, err = %error, "the job id can't be recorded");
        }
        pod.learn(|facts| {
            facts.job = Some(job);
            facts.seen_alive = true;
            facts.obstacle = None;
        });
        self.look.notify_one();
    }

    async fn refused(&self, pod: &Arc<Pod>, message: String) {
        tracing::warn!(uid = %pod.uid, "submission refused: {message}");
        let refused = Refused { message, at: Timestamp::now() };
        let (dir, noted) = (pod.dir.clone(), refused.clone());
        if let Err(error) = blocking(move || noted.store(&dir)).await {
            // After a restart it is submitted, and refused, again.
            tracing::warn!(uid = %pod.uid, err = %error, "the refusal can't be recorded");
        }
        pod.learn(|facts| facts.refused = Some(refused));
        self.table.rest(pod);
    }

    /// Writes what the job needs; the inner error is a refusal, for good.
    fn prepare(&self, dir: &JobDir) -> Result<Result<(), String>, String> {
        let intent = Intent::load(dir).map_err(|e| format!("its create.json can't be read: {e}"))?;
        let intent = intent.ok_or("its create.json is gone")?;
        let planned = Request::read(intent.request).and_then(|request| {
            let shell = request.annotation(PRE_EXEC).filter(|text| !text.trim().is_empty()).map(str::to_owned);
            Ok((self.plan(&request, dir)?, shell))
        });
        let ((Plan { volumes, launch }, script), shell) = match planned {
            Ok(planned) => planned,
            Err(refusal) => return Ok(Err(refusal.sentence)),
        };
        let base = dir.volumes();
        let is_empty = |name: &str| volumes.iter().any(|v| v.name == name && v.source == Source::Empty);
        let mounts = launch.init_containers.iter().chain(&launch.containers).flat_map(|c| &c.mounts);
        let parts: Vec<(&str, &str)> = mounts
            .filter_map(|mount| mount.source.strip_prefix(&base).ok()?.to_str()?.split_once('/'))
            .filter(|(volume, _)| is_empty(volume))
            .collect();
        let wrong = |e: std::io::Error| format!("its files can't be written: {e}");
        volumes::lay_out(&base, &volumes, &parts).map_err(wrong)?;
        launch.store(dir.path()).map_err(wrong)?;
        if let Some(shell) = shell {
            durable::replace(&dir.join(PRE_EXEC_FILE), format!("{shell}\n").as_bytes()).map_err(wrong)?;
        }
        if let Some(script) = script {
            // Slurm keeps a copy, and another attempt writes it anew: no sync.
            durable::place(&dir.join("job.slurm"), script.as_bytes()).map_err(wrong)?;
        }
        Ok(Ok(()))
    }
}

fn next(pod: &Pod) -> Step {
    let mut facts = pod.facts();
    if !facts.gone && facts.deletion.is_some() {
        return Step::Delete;
    }
    if !facts.gone && facts.job.is_none() && facts.refused.is_none() {
        return Step::Submit;
    }
    facts.driven = false;
    Step::Rest
}
