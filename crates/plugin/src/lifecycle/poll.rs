//! The scheduler's view of the jobs: one question for all of them, only while there are any, more often while things
//! move. A job that ended without its supervisor's last word gets a verdict, after a while for a slow file system.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use interlink_supervisor::layout;
use interlink_supervisor::report::Report;
use interlink_wire::{JobId, PodUid};
use jiff::Timestamp;

use super::Plugin;
use super::create::blocking;
use super::pod::Pod;
use crate::jobdir::JobDir;
use crate::jobdir::record::{self, Verdict};
use crate::scheduler::{End, JobRecord, JobState};

/// How often and how patiently a scheduler is asked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Pause while things move.
    pub shortest: Duration,
    /// Pause while nothing does.
    pub longest: Duration,
    /// Pause before a look that somebody asked for.
    pub asked: Duration,
    /// How long the last word of a supervisor may take after the job's end.
    pub last_word: Duration,
    /// How long a job may be unknown to the scheduler before it is given up.
    pub forgotten: Duration,
}

impl Pace {
    /// On this machine a look costs nothing.
    pub const LOCAL: Self = Self {
        shortest: Duration::from_millis(500),
        longest: Duration::from_secs(1),
        asked: Duration::from_millis(50),
        last_word: Duration::from_secs(2),
        forgotten: Duration::from_secs(2),
    };
    /// A cluster's controller serves many; a network file system may be late.
    pub const CLUSTER: Self = Self {
        shortest: Duration::from_secs(2),
        longest: Duration::from_secs(5),
        asked: Duration::from_millis(250),
        last_word: Duration::from_secs(10),
        forgotten: Duration::from_secs(60),
    };
}

/// Pods whose records are taken in at once: a verdict may take a while.
const AT_ONCE: usize = 8;

impl Plugin {
    /// Looks after the jobs until the program stops.
    pub async fn poll(self: Arc<Self>, pace: Pace) {
        let mut pause = pace.shortest;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.look.notified() => tokio::time::sleep(pace.asked).await,
            }
            let job_of = |pod: &Pod| {
                let facts = pod.facts();
                facts.job.clone().filter(|_| facts.needs_scheduler())
            };
            let active = self.table.active().into_iter();
            let (pods, jobs): (Vec<Arc<Pod>>, Vec<(PodUid, JobId)>) =
                active.filter_map(|pod| job_of(&pod).map(|job| (pod.uid.clone(), job)).map(|job| (pod, job))).unzip();
            if jobs.is_empty() {
                pause = pace.longest;
                continue;
            }
            let asked = Instant::now();
            let answer = self.scheduler.observe(&jobs).await;
            self.heard(&answer);
            let Ok(mut records) = answer else {
                // Unknown is not failed: what was known stays.
                pause = pace.longest;
                continue;
            };
            let plugin = &self;
            let news = pods.iter().zip(jobs).map(|(pod, (uid, job))| {
                let record = records.remove(&uid).unwrap_or_else(|| {
                    JobRecord::living(JobState::Ended(End::Forgotten), format!("job {job} is no longer known"))
                });
                pod.facts().looked = Some(asked);
                async move { plugin.observed(pod, &record, pace).await }
            });
            let news: Vec<_> = news.collect();
            let moved =
                stream::iter(news).buffer_unordered(AT_ONCE).fold(false, async |moved, news| moved | news).await;
            pause = if moved { pace.shortest } else { (pause * 3 / 2).min(pace.longest) };
        }
    }

    /// Takes in the scheduler's record of a pod's job; whether it was news.
    async fn observed(self: &Arc<Self>, pod: &Arc<Pod>, record: &JobRecord, pace: Pace) -> bool {
        let news = pod.facts().record.as_ref() != Some(record);
        if news {
            pod.learn(|facts| facts.record = Some(record.clone()));
        }
        let Some(end) = record.end() else {
            let mut facts = pod.facts();
            facts.silent_since = None;
            facts.seen_alive = true;
            return news;
        };
        if pod.facts().is_settled() {
            return news;
        }
        // The supervisor's last word may have come without its event.
        self.reread(pod).await;
        let patience = if end == End::Forgotten { pace.forgotten } else { pace.last_word };
        let silent_since = *pod.facts().silent_since.get_or_insert_with(Instant::now);
        if pod.facts().is_settled() || silent_since.elapsed() < patience {
            // Soon to be looked at again.
            return true;
        }
        if end == End::Forgotten && self.is_alive(pod).await {
            return false;
        }
        let job = pod.facts().job.clone();
        let details = match &job {
            Some(job) => self.scheduler.autopsy(&pod.uid, job).await.filter(|details| details.end().is_some()),
            None => None,
        };
        if end == End::Forgotten
            && details.is_none()
            && let Some(job) = &job
            && self.submitted_again(pod, job).await
        {
            return true;
        }
        let record = &details.unwrap_or_else(|| record.clone());
        let dir = pod.dir.clone();
        let verdict = Verdict { record: record.clone(), last_words: String::new(), at: Timestamp::now() };
        let verdict = blocking(move || {
            let verdict = Verdict { last_words: last_words(&dir), ..verdict };
            if let Err(error) = verdict.store(&dir) {
                tracing::warn!(path = %dir.path().display(), err = %error, "the verdict on a job can't be recorded");
            }
            verdict
        })
        .await;
        tracing::warn!(uid = %pod.uid, "the job ended without a word of its supervisor: {}", record.words);
        pod.learn(|facts| facts.verdict = Some(verdict));
        self.table.rest(pod);
        true
    }

    /// A controller that was killed forgets what it took last. A job that it had, and that has run nothing, is submitted
    /// once more; one that we have not seen ourselves may have ended while we were away.
    async fn submitted_again(self: &Arc<Self>, pod: &Arc<Pod>, job: &JobId) -> bool {
        let fit = {
            let facts = pod.facts();
            facts.seen_alive && facts.deletion.is_none() && facts.report.is_none()
        };
        let (dir, lost) = (pod.dir.clone(), job.clone());
        if !fit || !blocking(move || record::give_up_lost(&dir, &lost)).await.unwrap_or(false) {
            return false;
        }
        let given_up = pod.learn(|facts| {
            // A delete, or the job's own word, may have come meanwhile: then the job stays what it was.
            let still = facts.deletion.is_none() && facts.report.is_none();
            if still {
                facts.job = None;
                facts.record = None;
                facts.silent_since = None;
            }
            still
        });
        if given_up {
            tracing::warn!(uid = %pod.uid, jid = %job, "the scheduler has lost the job before it ran; the pod is submitted again");
            self.drive(pod);
        }
        given_up
    }

    /// Whether a supervisor still holds the claim: then the scheduler has forgotten a job that runs.
    async fn is_alive(&self, pod: &Arc<Pod>) -> bool {
        let claim = pod.dir.join(layout::CLAIM);
        blocking(move || {
            let held = std::fs::File::open(claim).map(|file| file.try_lock_shared());
            matches!(held, Ok(Err(std::fs::TryLockError::WouldBlock)))
        })
        .await
    }

    /// Reads a pod's report again.
    pub(super) async fn reread(&self, pod: &Arc<Pod>) {
        let dir = pod.dir.clone();
        if let Ok(Some(report)) = blocking(move || Report::load(dir.path())).await {
            self.reported(pod, report);
        }
    }
}

/// The most that is quoted of a job's own output, in bytes.
const QUOTED: u64 = 400;

/// The last line that a job wrote outside of its containers.
fn last_words(dir: &JobDir) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(dir.join("job.out"))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(QUOTED)))?;
        let mut bytes = Vec::new();
        file.take(QUOTED).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().chars().filter(|c| !c.is_control()).collect()
}
