//! Whether the kernel killed for want of memory: the count that it keeps for this job's control group.
//!
//! Slurm limits the memory of a whole job, so a kill comes as a bare SIGKILL that nothing else explains.

use std::fs;
use std::path::{Path, PathBuf};

/// Kills in this process's control group so far; `None` where the kernel doesn't say.
pub(crate) fn kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    files(&groups).into_iter().find_map(|file| count(&fs::read_to_string(Path::new("/sys/fs/cgroup").join(file)).ok()?))
}

/// Where the count may be, below the usual mount point (cgroups(7)).
fn files(groups: &str) -> Vec<PathBuf> {
    let file = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?.trim_start_matches('/'));
        if controllers.is_empty() {
            Some(Path::new(path).join("memory.events"))
        } else if controllers.split(',').any(|c| c == "memory") {
            Some(Path::new("memory").join(path).join("memory.oom_control"))
        } else {
            None
        }
    };
    groups.lines().filter_map(file).collect()
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_both_versions() {
        let cases = [
            (
                "0::/system.slice/slurmstepd.scope/job_7/step_batch/user/task_0\n",
                vec!["system.slice/slurmstepd.scope/job_7/step_batch/user/task_0/memory.events"],
            ),
            (
                "9:name=systemd:/\n8:memory:/slurm/uid_1001/job_7/step_batch\n2:cpu,cpuacct:/x\n0::/\n",
                vec!["memory/slurm/uid_1001/job_7/step_batch/memory.oom_control", "memory.events"],
            ),
            ("garbage\n", vec![]),
        ];
        for (groups, expected) in cases {
            assert_eq!(files(groups), expected.iter().map(PathBuf::from).collect::<Vec<_>>());
        }
        assert_eq!(count("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"), Some(5));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
