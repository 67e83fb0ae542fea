//! One pod in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use interlink_supervisor::deletion::Deletion;
use interlink_supervisor::report::Report;
use interlink_wire::pod::Container;
use interlink_wire::{JobId, PodExtract, PodUid};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::jobdir::JobDir;
use crate::jobdir::intent::Intent;
use crate::jobdir::record::{Refused, Verdict};
use crate::pod::account;
use crate::scheduler::JobRecord;

/// A pod: what never changes of it, and what is known of it now.
#[derive(Debug)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Whose it is; `None` when its create did not say.
    pub owner: Option<String>,
    /// When its create came.
    pub created_at: Timestamp,
    /// Its directory.
    pub dir: JobDir,
    /// Name and image of every init container, in the order of the spec.
    pub init: Vec<(String, String)>,
    /// Name and image of every container, in the order of the spec.
    pub containers: Vec<(String, String)>,
    /// What to say of the account of each container that asks for another, by its name.
    pub account_notes: BTreeMap<String, String>,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace_seconds: u64,
    facts: Mutex<Facts>,
    changes: watch::Sender<u64>,
    /// Wakes its driver.
    pub wake: Notify,
}

/// What is known of a pod now.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Counts changes; the only order of a pod's statuses.
    pub sequence: u64,
    /// Its job.
    pub job: Option<JobId>,
    /// Why there is no job yet: the last obstacle, in one sentence.
    pub obstacle: Option<String>,
    /// The scheduler's definite refusal.
    pub refused: Option<Refused>,
    /// The scheduler's record.
    pub record: Option<JobRecord>,
    /// When the scheduler was asked for that record.
    pub looked: Option<Instant>,
    /// The supervisor's latest report.
    pub report: Option<Report>,
    /// Why its newest report can't be read, as it was last warned about.
    pub unreadable: Option<String>,
    /// How the job ended, where the supervisor did not say it.
    pub verdict: Option<Verdict>,
    /// Whether the scheduler is known to have had the job, alive, in this life of ours.
    pub seen_alive: bool,
    /// A delete was accepted.
    pub deletion: Option<Deletion>,
    /// Since when the job has been over, or unknown to the scheduler, without the supervisor's last word.
    pub silent_since: Option<Instant>,
    /// Whether a driver is at work.
    pub driven: bool,
    /// The directory is removed.
    pub gone: bool,
}

impl Facts {
    /// Whether nothing more will be learned of its containers.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.refused.is_some() || self.verdict.is_some() || self.report.as_ref().is_some_and(|report| report.finished)
    }

    /// Whether the scheduler must be asked about it.
    #[must_use]
    pub fn needs_scheduler(&self) -> bool {
        let ended = self.record.as_ref().is_some_and(|record| record.end().is_some());
        self.job.is_some() && !self.gone && if self.deletion.is_some() { !ended } else { !self.is_settled() }
    }
}

impl Pod {
    /// A pod of an accepted create.
    #[must_use]
    pub fn new(uid: PodUid, intent: &Intent, extract: &PodExtract, dir: JobDir, facts: Facts) -> Self {
        let named = |list: &[Container]| list.iter().map(|c| (c.name.clone(), c.image.clone())).collect();
        let own = nix::unistd::geteuid().as_raw();
        let noted = |c: &Container| Some((c.name.clone(), account::note(&extract.spec, c, own)?));
        Self {
            uid,
            namespace: extract.metadata.namespace.clone(),
            name: extract.metadata.name.clone(),
            owner: intent.owner.clone(),
            created_at: intent.created_at,
            dir,
            init: named(&extract.spec.init_containers),
            containers: named(&extract.spec.containers),
            account_notes: extract.all_containers().filter_map(noted).collect(),
            grace_seconds: extract
                .spec
                .termination_grace_period_seconds
                .and_then(|s| u64::try_from(s).ok())
                .unwrap_or(30),
            changes: watch::Sender::new(facts.sequence),
            facts: Mutex::new(facts),
            wake: Notify::new(),
        }
    }

    /// What is known now. Held only for a look, never across an await.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known; those who wait for changes see it.
    pub fn learn<T>(&self, change: impl FnOnce(&mut Facts) -> T) -> T {
        let (result, sequence) = {
            let mut facts = self.facts();
            facts.sequence += 1;
            (change(&mut facts), facts.sequence)
        };
        self.changes.send_replace(sequence);
        result
    }

    /// Follows changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether `owner` may see and delete it: both known and different is a no.
    #[must_use]
    pub fn belongs_to(&self, owner: Option<&str>) -> bool {
        match (&self.owner, owner) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        }
    }
}
