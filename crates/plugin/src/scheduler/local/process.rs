//! A supervisor on this machine, told from later processes with its number by its start time.

use interlink_wire::JobId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pid: i32,
    start: u64,
}

/// What `/proc/<pid>/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: i32,
    start: u64,
}

impl Process {
    /// The process that a job id names; `None` for another scheduler's id.
    pub(super) fn of(job: &JobId) -> Option<Self> {
        let (pid, start) = job.as_str().strip_prefix("local-")?.split_once('-')?;
        Some(Self { pid: pid.parse().ok().filter(|pid| *pid > 1)?, start: start.parse().ok()? })
    }

    /// This process.
    pub(super) fn own() -> Option<Self> {
        let pid = Pid::this().as_raw();
        Some(Self { pid, start: stat(pid)?.start })
    }

    /// Its job id.
    pub(super) fn job_id(self) -> Option<JobId> {
        JobId::parse(&format!("local-{}-{}", self.pid, self.start)).ok()
    }

    /// Whether it runs; one that only waits to be reaped does not.
    pub(super) fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start == self.start && !matches!(stat.state, 'Z' | 'X'))
    }

    /// SIGTERM.
    pub(super) fn terminate(self) {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
        }
    }

    /// SIGKILL to it and to all that it started. Stopped first, so that it starts nothing meanwhile.
    pub(super) fn kill_all(self) {
        if !self.is_alive() {
            return;
        }
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGSTOP);
        let children = descendants(self.pid);
        for pid in children.into_iter().chain([self.pid]) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn stat(pid: i32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in brackets may hold anything, so fields are counted from its end.
fn parse(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(") ")?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { state, parent, start: fields.nth(17)?.parse().ok()? })
}

/// Every process below `root`.
fn descendants(root: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents: Vec<(i32, i32)> = pids.filter_map(|pid| Some((pid, stat(pid)?.parent))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(pid, of)| *of == parent && *pid != root).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn fields_are_counted_behind_any_name() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 10\n";
        assert_eq!(parse(text), Some(Stat { state: 'S', parent: 7, start: 987_654 }));
        assert_eq!(parse("42 (a"), None);
    }

    #[test]
    fn a_job_is_its_process_and_no_later_one() {
        let own = Process::own().unwrap();
        assert!(own.is_alive());
        assert_eq!(Process::of(&own.job_id().unwrap()), Some(own));
        assert!(!Process { start: own.start + 1, ..own }.is_alive());
        for foreign in ["12", "local-x-1", "local-1-1", "local-5"] {
            assert_eq!(Process::of(&JobId::parse(foreign).unwrap()), None, "{foreign}");
        }
    }

    #[test]
    fn killing_reaches_grandchildren() {
        let mut child = Command::new("sh").args(["-c", "sh -c 'sleep 60; true' & wait"]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process { pid, start: stat(pid).unwrap().start };
        while descendants(pid).len() < 2 {
            std::thread::yield_now();
        }
        let below = descendants(pid);
        process.kill_all();
        child.wait().unwrap();
        assert!(!process.is_alive());
        for pid in below {
            while stat(pid).is_some_and(|s| s.state != 'Z') {
                std::thread::yield_now();
            }
        }
    }
}
