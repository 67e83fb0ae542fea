//! Why a call to the API server brought no answer of use.

use interlink_wire::Fault;

/// The code of every fault that came with 404 or 410.
pub(super) const NOT_FOUND: &str = "not-found";

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
        matches!(self, Self::Refused(fault) if fault.code == NOT_FOUND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_is_told_apart() {
        let lasting = InterlinkError::Refused(Fault::lasting("plugin", NOT_FOUND, "no such pod"));
        assert!(!lasting.may_pass() && lasting.is_not_found());
        assert!(InterlinkError::Refused(Fault::passing("plugin", "quota", "full")).may_pass());
        assert!(
            InterlinkError::Unknown(String::new()).may_pass() && InterlinkError::Unreachable(String::new()).may_pass()
        );
    }
}
