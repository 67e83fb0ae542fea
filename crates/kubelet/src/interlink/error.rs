//! Why a call to the API server brought no answer of use.

use interlink_wire::Fault;

/// Why a call failed, sorted by what the caller may do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterlinkError {
    /// It was answered, with an error. The fault says by which hop and whether to try again.
    #[error("{0}")]
    Refused(Fault),
    /// Nothing of the request was sent; sending it again is safe.
    #[error("{0}")]
    Unreachable(String),
    /// It was sent, at least in part, and no (whole) answer came. It may have been carried out.
    #[error("{0}")]
    Unknown(String),
}

impl InterlinkError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused(fault) => fault.retry,
            Self::Unreachable(_) | Self::Unknown(_) => true,
        }
    }

    /// Whether the other side does not know the pod (404 or 410).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(fault) if matches!(fault.code.as_str(), "http-404" | "http-410" | "not-found" | "unknown-pod"))
    }
}
