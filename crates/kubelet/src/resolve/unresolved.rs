//! Why a pod cannot be sent yet, or ever.

/// The reason that goes into the pod's status, in the terms of a real kubelet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unresolved {
    /// CamelCase, for `status.reason` and events.
    pub reason: &'static str,
    /// One sentence: pod, place, object, remedy.
    pub message: String,
    /// Whether the same pod may be resolved later, without a change of its spec.
    pub retry: bool,
}

/// A variable of a container has no value. As the real kubelet names it.
pub const CONTAINER_CONFIG: &str = "CreateContainerConfigError";
/// A volume's content is missing. As the real kubelet names it.
pub const FAILED_MOUNT: &str = "FailedMount";
/// A volume of a kind that cannot travel to a batch machine.
pub const UNSUPPORTED_VOLUME: &str = "UnsupportedVolume";
/// The pod itself cannot be read.
pub const INVALID_POD: &str = "InvalidPod";

/// A problem on its way out: what is wrong, before it is known whose pod, container or volume it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) what: String,
    pub(super) retry: bool,
}

impl Problem {
    /// Mended by changing something else than this pod.
    pub(super) fn passing(what: impl Into<String>) -> Self {
        Self { what: what.into(), retry: true }
    }

    /// Mended only by changing this pod.
    pub(super) fn lasting(what: impl Into<String>) -> Self {
        Self { what: what.into(), retry: false }
    }

    /// The same problem inside of `place`.
    pub(super) fn within(self, place: &str) -> Self {
        Self { what: format!("{place}: {}", self.what), ..self }
    }

    /// The finished sentence.
    pub(super) fn of_pod(self, reason: &'static str, namespace: &str, name: &str) -> Unresolved {
        Unresolved { reason, message: format!("pod {namespace}/{name}: {}", self.what), retry: self.retry }
    }
}
