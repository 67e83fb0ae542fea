//! From a container's end to its `terminated` state.
//!
//! Older virtual kubelets replace the reason by their own and judge by the exit code alone: 0 is success. So whatever
//! is not a success has another code, and the message carries what matters.

use interlink_wire::status::Terminated;
use jiff::Timestamp;

use super::{End, How};
use crate::report::{EndReason, Ending};

/// 128 + SIGTERM: what a program that TERM ended would have.
pub(super) const TERMINATED: i32 = 143;

/// 128 + SIGKILL.
pub(super) const KILLED: i32 = 137;

/// The state of a container that ended, possibly because the whole pod was.
pub(super) fn terminated(end: End, started_at: Option<Timestamp>, ending: Option<&Ending>) -> Terminated {
    let mut notes = end.notes;
    let (exit_code, signal, reason) = match end.how {
        How::NotStarted(failure) => {
            notes.insert(0, failure.message);
            (failure.exit_code, None, failure.reason)
        }
        How::OutOfMemory { signal } => {
            notes.insert(
                0,
                "the kernel killed it because the job's memory was used up: raise resources.limits.memory".to_owned(),
            );
            (KILLED, signal, "OOMKilled".to_owned())
        }
        How::GivenUp => {
            notes.insert(0, "it was not started".to_owned());
            (TERMINATED, None, ending.map_or("Error", |e| word(e.reason)).to_owned())
        }
        How::Exited { code, signal } => {
            let success = ending.is_none_or(|e| e.reason == EndReason::Deleted);
            match (code, ending) {
                (0, _) if success => (0, signal, "Completed".to_owned()),
                (0, _) => {
                    notes.insert(
                        0,
                        format!("its program ended with 0 after it was told to stop, reported as {TERMINATED}"),
                    );
                    (TERMINATED, signal, ending.map_or("Error", |e| word(e.reason)).to_owned())
                }
                (code, None) => (code, signal, "Error".to_owned()),
                (code, Some(ending)) => (code, signal, word(ending.reason).to_owned()),
            }
        }
    };
    if let Some(ending) = ending.filter(|_| exit_code != 0) {
        notes.insert(0, ending.message.clone());
    }
    Terminated {
        exit_code,
        signal,
        reason,
        message: notes.join("; "),
        started_at,
        finished_at: Some(end.at),
        container_id: None,
    }
}

/// The reason of a container that was ended with its pod.
fn word(reason: EndReason) -> &'static str {
    match reason {
        EndReason::DeadlineExceeded => "DeadlineExceeded",
        EndReason::Deleted | EndReason::Terminated => "Terminated",
        EndReason::SupervisorFailed => "SupervisorFailed",
        EndReason::SupervisorLost => "SupervisorLost",
    }
}

/// The state of a container that never ran.
pub(super) fn never_ran(exit_code: i32, reason: &str, message: String, at: Timestamp) -> Terminated {
    Terminated { exit_code, reason: reason.to_owned(), message, finished_at: Some(at), ..Terminated::default() }
}

/// The state of a container that was not started because its pod was ended.
pub(super) fn not_reached(ending: &Ending, at: Timestamp) -> Terminated {
    never_ran(TERMINATED, word(ending.reason), format!("{}; it was not started", ending.message), at)
}

/// The state of a container that an earlier supervisor had started.
pub(super) fn lost(started_at: Option<Timestamp>, message: &str, at: Timestamp) -> Terminated {
    Terminated { started_at, ..never_ran(255, word(EndReason::SupervisorLost), message.to_owned(), at) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contain::StartFailure;

    #[test]
    fn only_a_success_has_code_0() {
        let ending = |reason| Some(Ending { reason, message: "WHY".into() });
        let exited = |code, signal| How::Exited { code, signal };
        let failure = StartFailure::not_found("no such program");
        let cases = [
            (exited(0, None), None, 0, "Completed", ""),
            (exited(3, None), None, 3, "Error", ""),
            (exited(137, Some(9)), None, 137, "Error", ""),
            (How::OutOfMemory { signal: Some(9) }, None, 137, "OOMKilled", "the kernel killed it"),
            (How::NotStarted(failure), None, 127, "StartError", "no such program"),
            (exited(143, Some(15)), ending(EndReason::Deleted), 143, "Terminated", "WHY"),
            (exited(0, None), ending(EndReason::Deleted), 0, "Completed", ""),
            (exited(3, None), ending(EndReason::Deleted), 3, "Terminated", "WHY"),
            (
                exited(0, None),
                ending(EndReason::DeadlineExceeded),
                143,
                "DeadlineExceeded",
                "WHY; its program ended with 0",
            ),
            (exited(137, Some(9)), ending(EndReason::DeadlineExceeded), 137, "DeadlineExceeded", "WHY"),
            (exited(0, None), ending(EndReason::Terminated), 143, "Terminated", "WHY; its program ended with 0"),
            (How::GivenUp, ending(EndReason::Deleted), 143, "Terminated", "WHY; it was not started"),
        ];
        for (how, ending, code, reason, message) in cases {
            let end = End { how: how.clone(), at: Timestamp::UNIX_EPOCH, notes: vec![] };
            let found = terminated(end, None, ending.as_ref());
            assert_eq!((found.exit_code, found.reason.as_str()), (code, reason), "{how:?} {ending:?}");
            assert!(found.message.starts_with(message), "{}", found.message);
            assert_eq!(found.message.is_empty(), message.is_empty(), "{}", found.message);
        }
    }

    #[test]
    fn notes_are_part_of_the_message() {
        let end =
            End { how: How::Exited { code: 0, signal: None }, at: Timestamp::UNIX_EPOCH, notes: vec!["NOTE".into()] };
        assert_eq!(terminated(end, None, None).message, "NOTE");
    }
}
