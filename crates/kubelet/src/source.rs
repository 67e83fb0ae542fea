//! Where pods come from and where their status goes: the seam between the pod logic and its two worlds, a Kubernetes
//! API server (`crate::kubernetes`) and a directory of manifests (`crate::standalone`).
//!
//! ```text
//!   source ──PodEvent──▶ pod logic ──write_status, record_job, remove, event──▶ Store
//! ```
//!
//! A source knows nothing of interLink; the pod logic knows nothing of Kubernetes.

use async_trait::async_trait;
use interlink_wire::{Object, PodUid};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a source says about the pods of this node.
#[derive(Debug, Clone, PartialEq)]
pub enum PodEvent {
    /// Every pod that exists, after a complete look: what is known but not here is gone. Said first of all, and again
    /// after every new start of a watch.
    Listed(Vec<Object>),
    /// A pod, new or changed. It has `metadata.uid`, no `managedFields`, and `metadata.deletionTimestamp` once it is to end.
    Applied(Object),
    /// A pod that exists no more. Its job is to be ended all the same.
    Deleted(PodUid),
}

/// A place that pods come from.
#[async_trait]
pub trait PodSource: Send + 'static {
    /// Sends events until `shutdown`. Trouble (an API server that does not answer, an unreadable file) is logged and
    /// tried again here; it never ends the source and never reads as "no pods".
    async fn run(self: Box<Self>, events: mpsc::Sender<PodEvent>, shutdown: CancellationToken);
}

/// Why a store did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The pod is no longer there, or another of the same name is.
    #[error("the pod is gone")]
    Gone,
    /// Refused for good: the same request would be refused again.
    #[error("{0}")]
    Rejected(String),
    /// May work later.
    #[error("{0}")]
    Unavailable(String),
}

/// Where the state of pods is kept for others to see.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes `status` (a core/v1 PodStatus, without what the store itself owns) the pod's status.
    ///
    /// # Errors
    /// [`StoreError`]
    async fn write_status(&self, pod: &Object, status: &Value) -> Result<(), StoreError>;

    /// Records the job id on the pod (annotation `JobID`), where it outlives this process.
    ///
    /// # Errors
    /// [`StoreError`]
    async fn record_job(&self, pod: &Object, job: &str) -> Result<(), StoreError>;

    /// Removes a pod whose job has ended and which was to be deleted. Already gone is fine.
    ///
    /// # Errors
    /// [`StoreError`]
    async fn remove(&self, pod: &Object) -> Result<(), StoreError>;

    /// Whether exactly this pod exists now, asked at the root and not from any cache.
    ///
    /// # Errors
    /// [`StoreError`] when that is not known.
    async fn exists(&self, namespace: &str, name: &str, uid: &PodUid) -> Result<bool, StoreError>;

    /// Tells the user something about the pod. Never waits; repeats are counted, not listed.
    fn event(&self, pod: &Object, note: Note);
}

/// A core/v1 Event in the making.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Note {
    /// Whether something needs attention.
    pub warning: bool,
    /// One CamelCase word.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

impl Note {
    /// Nothing to worry about.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: false, reason, message: message.into() }
    }

    /// Something that needs attention.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into() }
    }
}
