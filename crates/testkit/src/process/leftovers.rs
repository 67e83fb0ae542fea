//! Processes that no [`Daemon`](super::Daemon) stands for any more: supervisors that detached themselves,
//! `slurmstepd`, job scripts. They are known by the test's directory, which nothing else on the machine names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The processes, other than the test's own, that name `dir` or something below it in their arguments, in
/// their environment or as their working directory, and all their descendants.
pub fn of(dir: &Path) -> BTreeSet<u32> {
    let own = std::process::id();
    with_descendants(pids().filter(|pid| *pid != own && names(*pid, dir)).collect())
}

/// Those processes and all that descend from them.
pub fn with_descendants(mut found: Vec<u32>) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in pids() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all = BTreeSet::new();
    while let Some(pid) = found.pop() {
        if all.insert(pid) {
            found.extend(children.get(&pid).into_iter().flatten());
        }
    }
    all
}

/// Kills what [`of`] finds, until it finds nothing or a second has passed.
pub fn end(dir: &Path) {
    for _ in 0..50 {
        let found = of(dir);
        if found.is_empty() {
            return;
        }
        signal(&found, Signal::SIGKILL);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to each; those that have ended in the meantime are none of its concern.
pub fn signal(pids: &BTreeSet<u32>, signal: Signal) {
    for pid in pids.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn names(pid: u32, dir: &Path) -> bool {
    let proc = Path::new("/proc").join(pid.to_string());
    fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
        || mentions(&fs::read(proc.join("cmdline")).unwrap_or_default(), dir)
        || mentions(&fs::read(proc.join("environ")).unwrap_or_default(), dir)
}

/// The field after the state, behind the last `)`: a program may have any name.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Whether `dir` occurs in `text`, and not as the beginning of a longer name (`/tmp/a/00` in `/tmp/a/001`).
fn mentions(text: &[u8], dir: &Path) -> bool {
    let dir = dir.as_os_str().as_bytes();
    text.windows(dir.len())
        .enumerate()
        .any(|(at, window)| window == dir && !text.get(at + dir.len()).is_some_and(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_found_as_a_whole_name_only() {
        let dir = Path::new("/tmp/il-1-ab/007");
        for (text, expected) in [
            ("/tmp/il-1-ab/007", true),
            ("A=b\0CONF=/tmp/il-1-ab/007/slurm.conf\0", true),
            ("--dir=/tmp/il-1-ab/007\0", true),
            ("/tmp/il-1-ab/0071", false),
            ("/tmp/il-1-ab/00", false),
            ("", false),
        ] {
            assert_eq!(mentions(text.as_bytes(), dir), expected, "{text}");
        }
    }
}
