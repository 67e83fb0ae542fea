//! Who wants a pod to end, and what is said of it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::deletion::Deletion;
use crate::launch::Launch;
use crate::report::{EndReason, Ending};

/// Who wants the pod to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// TERM, INT or USR1.
    Stop,
    /// USR2: Slurm's `--signal=B:USR2@…`.
    TimeLimit,
    /// The pod's own deadline.
    ActiveDeadline,
}

pub(crate) fn deleted() -> Ending {
    Ending { reason: EndReason::Deleted, message: "the pod was deleted".to_owned() }
}

/// Why a pod is being ended. A delete explains whatever signal came with it.
pub(crate) fn ending(asked: Asked, deletion: Option<Deletion>, launch: &Launch) -> Ending {
    let (reason, message) = match (asked, deletion) {
        (_, Some(_)) => return deleted(),
        (Asked::Stop, None) => {
            (EndReason::Terminated, "the job was told to stop (scancel, preemption or shutdown of the node)".to_owned())
        }
        (Asked::TimeLimit, None) => (EndReason::DeadlineExceeded, "the job reached its time limit".to_owned()),
        (Asked::ActiveDeadline, None) => (
            EndReason::DeadlineExceeded,
            format!(
                "the pod ran longer than its activeDeadlineSeconds ({})",
                launch.active_deadline_seconds.unwrap_or_default()
            ),
        ),
    };
    Ending { reason, message }
}

/// The signals that end a pod.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            Some(()) = self.terminate.recv() => Asked::Stop,
            Some(()) = self.interrupt.recv() => Asked::Stop,
            Some(()) = self.user1.recv() => Asked::Stop,
            Some(()) = self.user2.recv() => Asked::TimeLimit,
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_explains_every_signal() {
        let launch: Launch = serde_json::from_str(
            r#"{"uid":"0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d","namespace":"n","name":"p","spool":"/s","image_cache":"/i",
                "active_deadline_seconds":7,"containers":[]}"#,
        )
        .unwrap();
        let cases = [
            (Asked::Stop, None, EndReason::Terminated, "told to stop"),
            (Asked::TimeLimit, None, EndReason::DeadlineExceeded, "time limit"),
            (Asked::ActiveDeadline, None, EndReason::DeadlineExceeded, "activeDeadlineSeconds (7)"),
            (Asked::Stop, Some(Deletion::default()), EndReason::Deleted, "deleted"),
            (Asked::TimeLimit, Some(Deletion::default()), EndReason::Deleted, "deleted"),
        ];
        for (asked, deletion, reason, message) in cases {
            let found = ending(asked, deletion, &launch);
            assert_eq!(found.reason, reason);
            assert!(found.message.contains(message), "{}", found.message);
        }
    }
}
