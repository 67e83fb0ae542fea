//! A job as the plugin sees it, whatever runs it.

use serde::{Deserialize, Serialize};

/// One job, as its scheduler describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Where it is in its life.
    pub state: JobState,
    /// The scheduler's own words: state and reason, as in `PENDING (Resources)`.
    pub words: String,
    /// Exit code of the job script, where it has ended by itself.
    #[serde(default)]
    pub exit_code: i32,
    /// Signal that ended it; 0: none.
    #[serde(default)]
    pub signal: i32,
    /// Where it runs, as the scheduler names it.
    #[serde(default)]
    pub nodes: String,
}

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Waiting for its turn.
    Queued,
    /// Its node is being prepared.
    Configuring,
    /// Running.
    Running,
    /// Stopped for a while, or between two runs.
    Suspended,
    /// Ending.
    Completing,
    /// Over.
    Ended(End),
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Its script ended with 0.
    Completed,
    /// Its script ended with another code or by a signal.
    Failed,
    /// Its time limit.
    TimedOut,
    /// It used more memory than it had asked for.
    OutOfMemory,
    /// Its node failed or could not be started.
    NodeFailed,
    /// It could not be launched.
    LaunchFailed,
    /// Someone cancelled it.
    Cancelled,
    /// A more important job took its place.
    Preempted,
    /// It could not start before its deadline.
    Deadline,
    /// In a way that we have no word for.
    Other,
    /// The scheduler no longer knows it: it is over, or the scheduler has lost it.
    Forgotten,
}

impl JobRecord {
    /// A record without an end.
    #[must_use]
    pub fn living(state: JobState, words: impl Into<String>) -> Self {
        Self { state, words: words.into(), exit_code: 0, signal: 0, nodes: String::new() }
    }

    /// How it ended; `None` while it lives.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        match self.state {
            JobState::Ended(end) => Some(end),
            _ => None,
        }
    }
}
