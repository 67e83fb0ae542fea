//! The end of a job in detail: `sacct -X -n -P -o JobID,State,ExitCode,NodeList`, or `scontrol -o show job`.

use super::states;
use crate::scheduler::{JobRecord, JobState};

/// What to print of each job.
pub(super) const FORMAT: &str = "JobID,State,ExitCode,NodeList";

/// The record of one job in sacct's answer.
#[must_use]
pub fn sacct(text: &str, job: &str) -> Option<JobRecord> {
    text.lines().rev().find_map(|line| {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [id, state, exit, nodes] = fields.as_slice() else { return None };
        (*id == job).then(|| record(state, "", exit, nodes)).flatten()
    })
}

/// The record of one job in scontrol's answer.
#[must_use]
pub fn scontrol(text: &str, job: &str) -> Option<JobRecord> {
    text.lines().find_map(|line| {
        // Values with blanks come late (Command, Comment); the fields below have none.
        let field = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        if field("JobId") != Some(job) {
            return None;
        }
        record(
            field("JobState")?,
            field("Reason").unwrap_or(""),
            field("ExitCode").unwrap_or(""),
            field("NodeList").unwrap_or(""),
        )
    })
}

fn record(state: &str, reason: &str, exit: &str, nodes: &str) -> Option<JobRecord> {
    let meaning = states::parse(state)?;
    let (exit_code, signal) = states::exit(exit).unwrap_or_default();
    let mut words = states::words(state, reason);
    if matches!(meaning, JobState::Ended(_)) && (exit_code, signal) != (0, 0) {
        words.push_str(&format!(", exit code {exit_code}, signal {signal}"));
    }
    let nodes = if nodes == "(null)" || nodes == "None assigned" { "" } else { nodes };
    Some(JobRecord { state: meaning, words, exit_code, signal, nodes: nodes.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::End;

    /// Slurm 22.05.8, shortened.
    const SCONTROL: &str = "JobId=2 JobName=0b0c UserId=hpcuser(1001) JobState=FAILED Reason=NonZeroExitCode Dependency=(null) ExitCode=42:0 RunTime=00:00:00 ReqNodeList=(null) NodeList=n1 BatchHost=n1 Command=/tmp/hp/s.sh WorkDir=/tmp/hp Comment=JobState=RUNNING Power= \n";

    #[test]
    fn scontrol_tells_exit_code_and_reason() {
        let record = scontrol(SCONTROL, "2").unwrap();
        assert_eq!(
            (record.end(), record.exit_code, record.signal, record.nodes.as_str()),
            (Some(End::Failed), 42, 0, "n1")
        );
        assert_eq!(record.words, "FAILED (NonZeroExitCode), exit code 42, signal 0");
        assert_eq!(scontrol(SCONTROL, "1"), None);
        assert_eq!(scontrol("slurm_load_jobs error: Invalid job id specified", "2"), None);
    }

    #[test]
    fn sacct_tells_it_long_after() {
        let text = "7|CANCELLED by 1001|0:0|None assigned\n8|OUT_OF_MEMORY|0:125|n3\n8.batch|OUT_OF_MEMORY|0:125|n3\n";
        assert_eq!(sacct(text, "7").unwrap().end(), Some(End::Cancelled));
        let record = sacct(text, "8").unwrap();
        assert_eq!((record.end(), record.signal, record.nodes.as_str()), (Some(End::OutOfMemory), 125, "n3"));
        assert_eq!(sacct(text, "9"), None);
        assert_eq!(sacct("Slurm accounting storage is disabled\n", "9"), None);
    }
}
