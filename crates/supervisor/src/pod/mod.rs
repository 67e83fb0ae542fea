//! One pod: which containers run when, what ends them, and what is said of them.
//!
//! [`Lifecycle`] decides, without I/O: what happened goes in, what to start and what to report comes out.
//! [`container`] does it for one container.

pub(crate) mod container;
mod ending;
mod lifecycle;

pub(crate) use lifecycle::{ContainerId, Lifecycle};

use jiff::Timestamp;

use crate::contain::StartFailure;

/// What a container did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Happening {
    /// Something that takes long, an image pull, keeps it from starting.
    Preparing(String),
    /// Its program runs.
    Started(Timestamp),
    /// It is over.
    Ended(End),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct End {
    pub(crate) how: How,
    pub(crate) at: Timestamp,
    /// Sentences for its message: lost output, doubts about the exit code.
    pub(crate) notes: Vec<String>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// By its program's end; the signal's number if one ended it.
    Exited { code: i32, signal: Option<i32> },
    /// By the kernel, for want of memory.
    OutOfMemory { signal: Option<i32> },
    /// Its program could not be started.
    NotStarted(StartFailure),
    /// The pod was ended while it was being prepared.
    GivenUp,
}
