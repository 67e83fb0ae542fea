//! What runs jobs, behind one narrow trait: submit, find again, observe, end, and say what there is.
//!
//! - [`local`]: this machine.
//! - [`slurm`]: a cluster, through its commands.
//! - [`job`]: a job as the plugin sees it, whatever runs it.
//! - [`command`]: foreign commands with a clean environment and a time limit.

pub mod command;
pub mod job;
pub mod local;
pub mod slurm;

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use interlink_wire::{JobId, PodUid};

pub use job::{End, JobRecord, JobState};

use crate::jobdir::JobDir;
use crate::jobdir::record::SubmitLock;
use crate::pod::Refusal;
use crate::pod::request::Request;

/// Something that runs jobs.
#[async_trait]
pub trait Scheduler: Send + Sync + Debug {
    /// Its name as a hop: `local`, `slurm`.
    fn hop(&self) -> &'static str;

    /// The job script, where it wants one (`job.slurm`). Pure: called again for the same pod it gives the same.
    ///
    /// # Errors
    /// [`Refusal`] where something that the pod asks for can't be had here.
    fn script(&self, request: &Request, dir: &JobDir) -> Result<Option<String>, Refusal>;

    /// Submits the pod. The submitting command inherits `lock`, and ends or has submitted before the lock is free.
    ///
    /// # Errors
    /// [`SubmitError`] tells whether it is certain that there is no job.
    async fn submit(&self, uid: &PodUid, dir: &JobDir, lock: &SubmitLock) -> Result<JobId, SubmitError>;

    /// The living jobs of a pod, and one that has claimed its directory. Called only while nobody holds the pod's submit
    /// lock. An ended job that claimed nothing is none: it ran nothing, and an earlier pod may have had the same UID.
    ///
    /// # Errors
    /// [`Unavailable`] when that can't be told now; an empty list is a definite "no such job".
    async fn find(&self, uid: &PodUid, dir: &JobDir) -> Result<Vec<JobId>, Unavailable>;

    /// The state of these pods' jobs, in as few questions as possible. One that is missing from the answer is not known
    /// any more: its id may be another job's by now.
    ///
    /// # Errors
    /// [`Unavailable`] when nothing can be told now.
    async fn observe(&self, jobs: &[(PodUid, JobId)]) -> Result<BTreeMap<PodUid, JobRecord>, Unavailable>;

    /// How a pod's job ended, in more detail than [`observe`](Self::observe) tells; asked once, where nobody else can say
    /// it.
    async fn autopsy(&self, _uid: &PodUid, _job: &JobId) -> Option<JobRecord> {
        None
    }

    /// Asks a running job's supervisor to end the pod within its grace period.
    ///
    /// # Errors
    /// [`Unavailable`] when it can't be asked now.
    async fn terminate(&self, job: &JobId) -> Result<(), Unavailable>;

    /// Ends a job, waiting or running, without its cooperation.
    ///
    /// # Errors
    /// [`Unavailable`] when it can't be ended now.
    async fn cancel(&self, job: &JobId) -> Result<(), Unavailable>;

    /// What the node may offer.
    ///
    /// # Errors
    /// [`Unavailable`] when it can't be told now.
    async fn capacity(&self) -> Result<Capacity, Unavailable>;
}

/// Why there is no job id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Certainly no job, and trying again won't help: the scheduler's own words.
    #[error("{0}")]
    Refused(String),
    /// There may be a job or not.
    #[error("{0}")]
    Unclear(String),
}

/// The scheduler can't be asked: one sentence with the cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// What all usable machines have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capacity {
    /// CPU cores.
    pub cpus: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// GPUs.
    pub gpus: u64,
}
