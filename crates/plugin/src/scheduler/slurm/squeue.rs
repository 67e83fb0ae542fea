//! squeue's narrow list: `%A|%T|%r|%N|%j`, one job a line. Only the last field may hold a bar.

use std::collections::BTreeMap;

use interlink_wire::{JobId, PodUid};

use super::states;
use crate::scheduler::{JobRecord, JobState};

/// What to print of each job.
pub(super) const FORMAT: &str = "%A|%T|%r|%N|%j";
/// What to print to find a job by its name.
pub(super) const NAME_FORMAT: &str = "%A|%T|%j";

/// Reads the list: each job's name and record. Lines that are none (a site's greeting) are skipped; a state that we don't know is left out, so that
/// what was known of the job stays.
#[must_use]
pub fn parse(text: &str) -> BTreeMap<JobId, (String, JobRecord)> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(JobId, (String, JobRecord))> {
    let fields: Vec<&str> = line.splitn(5, '|').map(str::trim).collect();
    let [id, state, reason, nodes, name] = fields.as_slice() else { return None };
    let record = JobRecord {
        nodes: (*nodes).to_owned(),
        ..JobRecord::living(states::parse(state)?, states::words(state, reason))
    };
    Some((job_id(id)?, ((*name).to_owned(), record)))
}

/// Whether a job of this name is a pod's. A controller that lost its state hands out its numbers again, so the number
/// alone says nothing; a site's own rule may have added to the name.
pub(super) fn is_of(name: &str, uid: &PodUid) -> bool {
    name.contains(uid.as_str())
}

/// Slurm's job ids are numbers.
pub(super) fn job_id(text: &str) -> Option<JobId> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| JobId::parse(text).ok()).flatten()
}

/// The living jobs of that name, oldest first. A state that we don't know is taken for living.
#[must_use]
pub fn named(text: &str, name: &str) -> Vec<JobId> {
    let ended = |state: &str| matches!(states::parse(state), Some(JobState::Ended(_)));
    let jobs = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.splitn(3, '|').map(str::trim).collect();
        let [id, state, found] = fields.as_slice() else { return None };
        (*found == name && !ended(state)).then(|| job_id(id)).flatten()
    });
    let mut ids: Vec<JobId> = jobs.collect();
    ids.sort_by_key(|id| (id.as_str().len(), id.clone()));
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::End;

    /// Slurm 22.05.8.
    const REAL: &str = "8|CANCELLED|None|n2|a\n1|COMPLETED|None|n1|a|b\n2|FAILED|NonZeroExitCode|n1|a\n3|FAILED|JobLaunchFailure|n1|a\n6|PENDING|PartitionConfig||a\n7|PENDING|BeginTime||a\n5|PENDING|JobHeldUser||a\n4|RUNNING|None|n1|a\n";

    #[test]
    fn a_real_list_is_read() {
        let jobs = parse(REAL);
        let of = |id: &str| &jobs.get(&JobId::parse(id).unwrap()).unwrap().1;
        assert_eq!(jobs.len(), 8);
        assert_eq!((of("4").state, of("4").nodes.as_str()), (JobState::Running, "n1"));
        assert_eq!((of("6").state, of("6").words.as_str()), (JobState::Queued, "PENDING (PartitionConfig)"));
        assert_eq!(of("2").state, JobState::Ended(End::Failed));
        assert_eq!(of("8").words, "CANCELLED");
    }

    #[test]
    fn what_is_no_job_is_skipped() {
        let text = "Welcome to the cluster|of|dreams|!\n\n12|WONDERING|None||a\n13|RUNNING|None|n[1-4,7]|a\n";
        let jobs = parse(text);
        assert_eq!(jobs.keys().map(JobId::as_str).collect::<Vec<_>>(), ["13"]);
    }

    #[test]
    fn living_jobs_are_found_by_their_whole_name() {
        let text = "10|PENDING|a\n9|RUNNING|a\n8|RUNNING|ab\nx|RUNNING|a\n7|COMPLETED|a\n6|CANCELLED|a\n";
        assert_eq!(named(text, "a").iter().map(JobId::as_str).collect::<Vec<_>>(), ["9", "10"]);
    }
}
