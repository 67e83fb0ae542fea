//! What the supervisor tells the shim, and what the shim answers when it cannot start the program.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::launch::Mount;

/// What to become. Goes through a pipe: it holds secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Process number of the supervisor: without it nothing is started.
    pub(crate) supervisor: i32,
    /// Program and arguments; a bare name is looked up in the PATH that the program gets.
    pub(crate) argv: Vec<String>,
    /// The program's whole environment; `None` leaves the supervisor's.
    pub(crate) env: Option<Vec<(String, String)>>,
    /// Working directory as the program sees it; `/` without one.
    pub(crate) working_dir: Option<String>,
    /// Empty directory to stage the mounts over.
    pub(crate) stage: PathBuf,
    /// Mounts to make in a namespace of the program's own.
    pub(crate) mounts: Vec<Mount>,
    /// Where the program comes from, for the sentence that says that it is not there.
    pub(crate) origin: String,
}

/// A container's program could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartFailure {
    /// What to report: 127 not found, 126 not executable, 128 anything else before the program ran.
    pub(crate) exit_code: i32,
    /// One CamelCase word.
    pub(crate) reason: String,
    /// One sentence: cause and remedy.
    pub(crate) message: String,
}

impl StartFailure {
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { exit_code: 127, reason: "StartError".into(), message: message.into() }
    }

    pub(crate) fn not_executable(message: impl Into<String>) -> Self {
        Self { exit_code: 126, reason: "StartError".into(), message: message.into() }
    }

    /// Everything around the program: namespaces, mounts, directories. 128 is what container runtimes report.
    pub(crate) fn setup(message: impl Into<String>) -> Self {
        Self { exit_code: 128, reason: "StartError".into(), message: message.into() }
    }

    pub(crate) fn image(message: impl Into<String>) -> Self {
        Self { exit_code: 125, reason: "ErrImagePull".into(), message: message.into() }
    }
}
