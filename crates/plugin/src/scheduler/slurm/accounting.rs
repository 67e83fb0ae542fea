//! The end of a job in detail: `sacct -X -n -P -o JobID,State,ExitCode,NodeList,JobName`, or `scontrol -o show job`.

use interlink_wire::PodUid;

use super::squeue::is_of;
use super::states;
use crate::scheduler::{JobRecord, JobState};

/// What to print of each job.
pub(super) const FORMAT: &str = "JobID,State,ExitCode,NodeList,JobName";

/// The record of a pod's job in sacct's answer.
#[must_use]
pub fn sacct(text: &str, job: &str, uid: &PodUid) -> Option<JobRecord> {
    text.lines().rev().find_map(|line| {
        let fields: Vec<&str> = line.splitn(5, '|').map(str::trim).collect();
        let [id, state, exit, nodes, name] = fields.as_slice() else { return None };
        (*id == job && is_of(name, uid)).then(|| record(state, "", exit, nodes)).flatten()
    })
}

/// The record of a pod's job in scontrol's answer.
#[must_use]
pub fn scontrol(text: &str, job: &str, uid: &PodUid) -> Option<JobRecord> {
    text.lines().find_map(|line| {
        // Values with blanks come late (Command, Comment); the fields below have none.
        let field = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        if field("JobId") != Some(job) || !field("JobName").is_some_and(|name| is_of(name, uid)) {
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
    const SCONTROL: &str = "JobId=2 JobName=0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d UserId=hpcuser(1001) JobState=FAILED Reason=NonZeroExitCode Dependency=(null) ExitCode=42:0 RunTime=00:00:00 ReqNodeList=(null) NodeList=n1 BatchHost=n1 Command=/tmp/hp/s.sh WorkDir=/tmp/hp Comment=JobState=RUNNING Power= \n";

    fn uid() -> PodUid {
        PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap()
    }

    #[test]
    fn scontrol_tells_exit_code_and_reason() {
        let record = scontrol(SCONTROL, "2", &uid()).unwrap();
        assert_eq!(
            (record.end(), record.exit_code, record.signal, record.nodes.as_str()),
            (Some(End::Failed), 42, 0, "n1")
        );
        assert_eq!(record.words, "FAILED (NonZeroExitCode), exit code 42, signal 0");
        assert_eq!(scontrol(SCONTROL, "1", &uid()), None);
        assert_eq!(scontrol("slurm_load_jobs error: Invalid job id specified", "2", &uid()), None);
    }

    #[test]
    fn sacct_tells_it_long_after() {
        let rows = [
            ("7|CANCELLED by 1001|0:0|None assigned", true),
            ("8|OUT_OF_MEMORY|0:125|n3", true),
            ("8.batch|OUT_OF_MEMORY|0:125|n3", true),
            ("9|COMPLETED|0:0|n3", false),
        ];
        let name = |ours| if ours { uid().to_string() } else { "another|'s".to_owned() };
        let text: String = rows.iter().map(|(row, ours)| format!("{row}|{}\n", name(*ours))).collect();
        assert_eq!(sacct(&text, "7", &uid()).unwrap().end(), Some(End::Cancelled));
        let record = sacct(&text, "8", &uid()).unwrap();
        assert_eq!((record.end(), record.signal, record.nodes.as_str()), (Some(End::OutOfMemory), 125, "n3"));
        // The number went to another job.
        assert_eq!(sacct(&text, "9", &uid()), None);
        assert_eq!(sacct("Slurm accounting storage is disabled\n", "9", &uid()), None);
    }
}
