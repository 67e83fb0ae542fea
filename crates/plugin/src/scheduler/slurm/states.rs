//! Slurm's job states, long and short, as squeue(1), sacct(1) and scontrol(1) write them.

use crate::scheduler::{End, JobState};

/// What a state means; anchored, so `CF` is never taken for `F`. An unknown word is none.
#[must_use]
pub fn parse(text: &str) -> Option<JobState> {
    // sacct: "CANCELLED by 1001"; truncated columns end in "+".
    let word = text.split_whitespace().next()?.trim_end_matches('+');
    Some(match word {
        "PENDING" | "PD" | "REQUEUED" | "RQ" | "REQUEUE_HOLD" | "RH" | "REQUEUE_FED" | "RF" | "RESV_DEL_HOLD"
        | "RD" | "SPECIAL_EXIT" | "SE" => JobState::Queued,
        "CONFIGURING" | "CF" => JobState::Configuring,
        "RUNNING" | "R" | "RESIZING" | "RS" | "SIGNALING" | "SI" => JobState::Running,
        "SUSPENDED" | "S" | "STOPPED" | "ST" => JobState::Suspended,
        "COMPLETING" | "CG" | "STAGE_OUT" | "SO" => JobState::Completing,
        "COMPLETED" | "CD" => JobState::Ended(End::Completed),
        "FAILED" | "F" => JobState::Ended(End::Failed),
        "TIMEOUT" | "TO" => JobState::Ended(End::TimedOut),
        "OUT_OF_MEMORY" | "OOM" | "OUT_OF_ME" => JobState::Ended(End::OutOfMemory),
        "NODE_FAIL" | "NF" | "BOOT_FAIL" | "BF" => JobState::Ended(End::NodeFailed),
        "LAUNCH_FAILED" | "LF" | "RECONFIG_FAIL" => JobState::Ended(End::LaunchFailed),
        "CANCELLED" | "CA" => JobState::Ended(End::Cancelled),
        "PREEMPTED" | "PR" => JobState::Ended(End::Preempted),
        "DEADLINE" | "DL" => JobState::Ended(End::Deadline),
        "REVOKED" | "RV" | "EXPIRED" | "EX" => JobState::Ended(End::Other),
        _ => return None,
    })
}

/// The state in words for the status: `PENDING (Resources)`.
#[must_use]
pub fn words(state: &str, reason: &str) -> String {
    match reason {
        "" | "None" | "(null)" => state.to_owned(),
        reason => format!("{state} ({reason})"),
    }
}

/// Exit code and signal: `42:0` of newer Slurm, or the raw wait status `10752` of Slurm up to 22.05's squeue.
#[must_use]
pub fn exit(text: &str) -> Option<(i32, i32)> {
    match text.trim().split_once(':') {
        Some((code, signal)) => Some((code.parse().ok()?, signal.parse().ok()?)),
        None => text.trim().parse::<i32>().ok().map(|raw| ((raw >> 8) & 0xff, raw & 0x7f)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_meaning() {
        let cases = [
            ("CF", Some(JobState::Configuring)),
            ("CONFIGURING", Some(JobState::Configuring)),
            ("NF", Some(JobState::Ended(End::NodeFailed))),
            ("BOOT_FAIL", Some(JobState::Ended(End::NodeFailed))),
            ("RQ", Some(JobState::Queued)),
            ("RV", Some(JobState::Ended(End::Other))),
            ("SO", Some(JobState::Completing)),
            ("SI", Some(JobState::Running)),
            ("ST", Some(JobState::Suspended)),
            ("CANCELLED by 1001", Some(JobState::Ended(End::Cancelled))),
            ("CANCELLED+", Some(JobState::Ended(End::Cancelled))),
            ("OUT_OF_ME+", Some(JobState::Ended(End::OutOfMemory))),
            ("DL", Some(JobState::Ended(End::Deadline))),
            ("", None),
            ("FX", None),
            ("XF", None),
        ];
        for (text, state) in cases {
            assert_eq!(parse(text), state, "{text}");
        }
    }

    #[test]
    fn both_forms_of_exit_codes_are_read() {
        for (text, exit_) in [
            ("42:0", Some((42, 0))),
            ("0:15", Some((0, 15))),
            ("10752", Some((42, 0))),
            ("139", Some((0, 11))),
            ("15", Some((0, 15))),
            ("0", Some((0, 0))),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(exit(text), exit_, "{text}");
        }
    }
}
