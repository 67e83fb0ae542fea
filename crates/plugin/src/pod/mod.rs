//! A create request, judged and translated: from the contract's JSON to what the supervisor runs. No I/O.
//!
//! ```text
//! RetrievedPodData ─▶ request (names, kinds) ─▶ volumes (files to write, mounts)
//!                                            ├▶ resources (what to ask the scheduler for)
//!                                            └▶ launch (supervisor::Launch)
//! ```

pub mod account;
pub mod environment;
pub mod image;
pub mod launch;
pub mod policy;
pub mod request;
pub mod resources;
pub mod volumes;

/// A pod that is not run, in one sentence for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// One word for programs: `invalid`, `policy`, `unsupported` or `missing`.
    pub code: &'static str,
    /// Which field, what is wrong, what would be right.
    pub sentence: String,
}

impl Refusal {
    /// A field that cannot be what it is.
    pub fn invalid(sentence: impl Into<String>) -> Self {
        Self { code: "invalid", sentence: sentence.into() }
    }

    /// What the site's configuration forbids.
    pub fn policy(sentence: impl Into<String>) -> Self {
        Self { code: "policy", sentence: sentence.into() }
    }

    /// What cannot be done here.
    pub fn unsupported(sentence: impl Into<String>) -> Self {
        Self { code: "unsupported", sentence: sentence.into() }
    }

    /// An object that the pod names and that did not come with it.
    pub fn missing(sentence: impl Into<String>) -> Self {
        Self { code: "missing", sentence: sentence.into() }
    }
}
