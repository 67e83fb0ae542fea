//! squeue's narrow list: `%A|%T|%r|%N`, one job a line. No field of it holds a bar.

use std::collections::BTreeMap;

use interlink_wire::JobId;

use super::states;
use crate::scheduler::JobRecord;

/// What to print of each job.
pub(super) const FORMAT: &str = "%A|%T|%r|%N";
/// What to print to find a job by its name.
pub(super) const NAME_FORMAT: &str = "%A|%j";

/// Reads the list. Lines that are none (a site's greeting) are skipped; a state that we don't know is left out, so that
/// what was known of the job stays.
#[must_use]
pub fn parse(text: &str) -> BTreeMap<JobId, JobRecord> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(JobId, JobRecord)> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [id, state, reason, nodes] = fields.as_slice() else { return None };
    let record = JobRecord {
        nodes: (*nodes).to_owned(),
        ..JobRecord::living(states::parse(state)?, states::words(state, reason))
    };
    Some((job_id(id)?, record))
}

/// Slurm's job ids are numbers.
pub(super) fn job_id(text: &str) -> Option<JobId> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| JobId::parse(text).ok()).flatten()
}

/// The jobs of that name, oldest first.
#[must_use]
pub fn named(text: &str, name: &str) -> Vec<JobId> {
    let lines = text.lines().filter_map(|line| line.split_once('|'));
    let mut ids: Vec<JobId> =
        lines.filter(|(_, found)| found.trim() == name).filter_map(|(id, _)| job_id(id)).collect();
    ids.sort_by_key(|id| (id.as_str().len(), id.clone()));
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{End, JobState};

    /// Slurm 22.05.8.
    const REAL: &str = "8|CANCELLED|None|n2\n1|COMPLETED|None|n1\n2|FAILED|NonZeroExitCode|n1\n3|FAILED|JobLaunchFailure|n1\n6|PENDING|PartitionConfig|\n7|PENDING|BeginTime|\n5|PENDING|JobHeldUser|\n4|RUNNING|None|n1\n";

    #[test]
    fn a_real_list_is_read() {
        let jobs = parse(REAL);
        let of = |id: &str| jobs.get(&JobId::parse(id).unwrap()).unwrap();
        assert_eq!(jobs.len(), 8);
        assert_eq!((of("4").state, of("4").nodes.as_str()), (JobState::Running, "n1"));
        assert_eq!((of("6").state, of("6").words.as_str()), (JobState::Queued, "PENDING (PartitionConfig)"));
        assert_eq!(of("2").state, JobState::Ended(End::Failed));
        assert_eq!(of("8").words, "CANCELLED");
    }

    #[test]
    fn what_is_no_job_is_skipped() {
        let text = "Welcome to the cluster|of|dreams|!\n\n12|WONDERING|None|\n13|RUNNING|None|n[1-4,7]\n";
        let jobs = parse(text);
        assert_eq!(jobs.keys().map(JobId::as_str).collect::<Vec<_>>(), ["13"]);
    }

    #[test]
    fn jobs_are_found_by_their_whole_name() {
        assert_eq!(named("10|a\n9|a\n8|ab\nx|a\n", "a").iter().map(JobId::as_str).collect::<Vec<_>>(), ["9", "10"]);
    }
}
