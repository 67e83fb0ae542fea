//! What the supervisor says of its pod: `state.json`, replaced atomically, and one event file in the spool a write.

use std::path::Path;

use interlink_wire::{ContainerStatus, JobId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::layout;

/// The state of one pod as its supervisor knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// 1 for the first report of a pod, one more with every write: the only order that counts.
    pub sequence: u64,
    /// The job that runs the pod.
    pub job_id: JobId,
    /// Name of the compute node as its kernel gives it.
    pub node_name: String,
    /// When this was observed, by the compute node's clock.
    pub observed_at: Timestamp,
    /// Whether a container (init containers included) may have been started. Written before the first start, so a pod
    /// that says "no" has run nothing.
    pub started: bool,
    /// Whether every container has ended and nothing more will be written.
    pub finished: bool,
    /// Why the pod was or is being ended from outside; `None` while it runs or when it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// One status per init container of the spec, in its order.
    pub init: Vec<ContainerStatus>,
    /// One status per container of the spec, in its order. Empty only when `launch.json` could not be read.
    pub containers: Vec<ContainerStatus>,
}

/// Why a pod was ended from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The kind.
    pub reason: EndReason,
    /// One sentence.
    pub message: String,
}

/// What ended a pod from outside. The names are fit for a pod's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndReason {
    /// The pod was deleted.
    Deleted,
    /// The job's time limit or the pod's `activeDeadlineSeconds`.
    DeadlineExceeded,
    /// TERM from someone else: `scancel` by hand, preemption, shutdown of the node.
    Terminated,
    /// The supervisor could not run the pod at all.
    SupervisorFailed,
    /// An earlier supervisor of this job died with the pod's containers started; what became of them is not known.
    SupervisorLost,
}

impl Report {
    /// The latest report of a pod directory; `None` before the first.
    ///
    /// # Errors
    /// When the file is there and cannot be read or is not a report. It is replaced by rename, so it is never torn.
    pub fn load(pod_dir: &Path) -> std::io::Result<Option<Self>> {
        let text = crate::durable::read(&pod_dir.join(layout::STATE))?;
        text.map(|text| serde_json::from_slice(&text).map_err(std::io::Error::other)).transpose()
    }

    /// Writes it (durable) into the pod directory.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn store(&self, pod_dir: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        crate::durable::replace(&pod_dir.join(layout::STATE), &text)
    }

    /// The highest exit code of all containers; 0 when none has ended.
    #[must_use]
    pub fn highest_exit_code(&self) -> i32 {
        let codes = self.init.iter().chain(&self.containers).filter_map(|c| c.state.terminated()).map(|t| t.exit_code);
        codes.max().unwrap_or(0)
    }
}
