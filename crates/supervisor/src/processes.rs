//! Which processes descend from this one, by `/proc/<pid>/stat` (proc_pid_stat(5)).

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    /// Ended, not yet reaped.
    dead: bool,
}

/// Rounds in which new processes may appear while the old ones are killed.
const ROUNDS: usize = 10;

/// Kills the living descendants of this process that are in a session or in the process group of that number.
pub(crate) fn kill_session(session: i32) {
    kill_where(|entry| entry.session == session || entry.group == session);
}

/// Kills all living descendants of this process; returns how many there were in the last round.
pub(crate) fn kill_all() -> usize {
    kill_where(|_| true)
}

fn kill_where(chosen: impl Fn(&Entry) -> bool) -> usize {
    let mut count = 0;
    for _ in 0..ROUNDS {
        let own = std::process::id().cast_signed();
        let found: Vec<Entry> = descendants(&table(), own).into_iter().filter(|e| !e.dead && chosen(e)).collect();
        count = found.len();
        if count == 0 {
            break;
        }
        for entry in found {
            let _ = kill(Pid::from_raw(entry.pid), Signal::SIGKILL);
        }
    }
    count
}

fn table() -> Vec<Entry> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
        .filter_map(|entry| fs::read(entry.path().join("stat")).ok())
        .filter_map(|stat| parse(&String::from_utf8_lossy(&stat)))
        .collect()
}

/// `pid (name) state ppid pgrp session …`; the name may hold anything, brackets included.
fn parse(stat: &str) -> Option<Entry> {
    let (pid, rest) = stat.split_once(' ')?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let dead = matches!(fields.next()?, "Z" | "X" | "x");
    let mut number = || fields.next()?.parse().ok();
    Some(Entry { pid: pid.parse().ok()?, parent: number()?, group: number()?, session: number()?, dead })
}

fn descendants(table: &[Entry], ancestor: i32) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for entry in table.iter().filter(|e| e.parent == parent && e.pid != parent) {
            parents.push(entry.pid);
            found.push(*entry);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let expected = Entry { pid: 12, parent: 3, group: 4, session: 5, dead: false };
        for name in ["sh", "a b", "x) R 9 9 9", "(", "é"] {
            assert_eq!(parse(&format!("12 ({name}) S 3 4 5 0 -1")), Some(expected), "{name}");
        }
        assert!(parse("12 (sh) Z 3 4 5 0").unwrap().dead);
        assert_eq!(parse("12 (sh) S 3"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        let entry = |pid, parent| Entry { pid, parent, group: 0, session: 0, dead: false };
        let table = [entry(1, 0), entry(5, 1), entry(6, 5), entry(9, 6), entry(7, 1), entry(8, 5)];
        let mut pids: Vec<i32> = descendants(&table, 5).iter().map(|e| e.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [6, 8, 9]);
        assert!(descendants(&table, 9).is_empty());
    }
}
