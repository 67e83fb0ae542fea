//! Everything that a demo has started, wherever it went: programs, sshd's sessions, detached supervisors of pods.
//!
//! A process belongs to a demo if it was [`note`]d in the demo's directory, if its environment names that directory in
//! [`MARK`] or, as sshd writes over that, its title names its configuration there, if its program file lies there (the
//! plugin's copy, which supervisors run), or if it descends from such a process. So a demo can be ended whoever started it, also after its own program was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable that every program of a demo has, with the demo's directory as its value.
pub const MARK: &str = "INTERLINK_DEMO";

/// The file with what was noted: number and start time, a line each.
const NOTES: &str = "processes";

/// How long a process may take to end after SIGTERM: our programs drain for up to 5 s.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(20);

/// A process, and when it was started, which tells it from a later one with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// In clock ticks since boot.
    started: u64,
    pid: i32,
}

/// Notes a process that has just been started in the demo's directory.
///
/// # Errors
/// The system's; then it is known by its mark only.
pub fn note(dir: &Path, pid: u32) -> io::Result<()> {
    let Some((process, _)) = look(pid.cast_signed()) else { return Ok(()) };
    let mut notes = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join(NOTES))?;
    notes.write_all(format!("{} {}\n", process.pid, process.started).as_bytes())
}

fn noted(dir: &Path) -> BTreeSet<Process> {
    let text = std::fs::read_to_string(dir.join(NOTES)).unwrap_or_default();
    let read = |line: &str| {
        let (pid, started) = line.split_once(' ')?;
        Some(Process { pid: pid.parse().ok()?, started: started.parse().ok()? })
    };
    text.lines().filter_map(read).collect()
}

/// The processes of the demo in `dir`, the oldest first.
#[must_use]
pub fn of(dir: &Path) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let mut alive: BTreeMap<i32, Process> = BTreeMap::new();
    let noted = noted(dir);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Some((process, parent)) = look(pid) else { continue };
        alive.insert(pid, process);
        children.entry(parent).or_default().push(pid);
        if noted.contains(&process) || belongs(pid, dir) {
            found.push(pid);
        }
    }
    let mut all = BTreeMap::new();
    while let Some(pid) = found.pop() {
        if let Some(process) = alive.get(&pid)
            && all.insert(pid, *process).is_none()
        {
            found.extend(children.get(&pid).into_iter().flatten());
        }
    }
    let own = std::process::id().cast_signed();
    let mut all: Vec<Process> = all.into_values().filter(|p| p.pid != own).collect();
    all.sort_unstable();
    all
}

/// Ends them, the youngest first: SIGTERM, and SIGKILL to what is still there after `patience`. Returns when none is
/// left, or cannot be ended.
pub async fn end(dir: &Path, patience: Duration) {
    let give_up = Instant::now() + 4 * patience;
    // A process may start another while it is being looked for.
    while let Some(youngest) = of(dir).pop() {
        youngest.end(patience).await;
        if Instant::now() >= give_up {
            break;
        }
    }
}

impl Process {
    async fn end(self, patience: Duration) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let sent = Instant::now();
            self.signal(signal);
            while self.runs() && sent.elapsed() < patience {
                tokio::time::sleep(GLANCE).await;
            }
        }
    }

    fn signal(self, signal: Signal) {
        if self.runs() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    fn runs(self) -> bool {
        look(self.pid).is_some_and(|(process, _)| process == self)
    }
}

/// A process that is not a zombie, and its parent.
fn look(pid: i32) -> Option<(Process, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields of proc_pid_stat(5) behind the last `)`: a program may have any name.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    if matches!(*state, "Z" | "X") {
        return None;
    }
    Some((Process { started: started.parse().ok()?, pid }, parent.parse().ok()?))
}

fn belongs(pid: i32, dir: &Path) -> bool {
    if std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(dir)) {
        return true;
    }
    let mark = format!("{MARK}={}", dir.display());
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    if environ.split(|b| *b == 0).any(|variable| variable == mark.as_bytes()) {
        return true;
    }
    let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    is_sshd_of(&String::from_utf8_lossy(&title), dir)
}

/// `sshd: /usr/sbin/sshd -D -e -f CONFIGURATION [listener] …`
fn is_sshd_of(title: &str, dir: &Path) -> bool {
    title.strip_prefix("sshd: ").is_some_and(|title| title.contains(&format!(" -f {}/", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn sshd_is_known_by_its_title_and_who_reads_its_files_is_not() {
        let dir = Path::new("/tmp/interlink-demo-1");
        let known = |title| is_sshd_of(title, dir);
        assert!(known("sshd: /usr/sbin/sshd -D -e -f /tmp/interlink-demo-1/login/sshd_config [listener] 0 of 10-100"));
        assert!(!known("sshd: /usr/sbin/sshd -D -e -f /tmp/interlink-demo-12/login/sshd_config [listener] 0 of 10"));
        assert!(!known("tail\0-f\0/tmp/interlink-demo-1/log/sshd.log"));
    }

    #[tokio::test]
    async fn a_noted_process_is_known_without_its_mark_and_a_later_one_with_its_number_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep").arg("60").env_clear().spawn().unwrap();
        let pid = child.id();
        std::fs::write(dir.path().join(NOTES), format!("{pid} 1\nnonsense\n")).unwrap();
        assert!(of(dir.path()).is_empty());
        note(dir.path(), pid).unwrap();
        assert_eq!(of(dir.path()).len(), 1);
        let reaped = std::thread::spawn(move || child.wait().unwrap());
        end(dir.path(), Duration::from_secs(20)).await;
        assert!(!reaped.join().unwrap().success());
    }

    #[tokio::test]
    async fn marked_processes_and_their_children_are_ended_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let shell =
            |mark: &Path, script: &str| Command::new("/bin/sh").args(["-c", script]).env(MARK, mark).spawn().unwrap();
        let mut deaf = shell(dir.path(), "trap '' TERM; env -u INTERLINK_DEMO sleep 60 & wait; wait");
        let mut other = shell(&dir.path().join("x"), "exec sleep 60");
        let started = Instant::now();
        while of(dir.path()).len() < 2 {
            assert!(started.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(GLANCE).await;
        }
        end(dir.path(), Duration::from_millis(200)).await;
        assert!(of(dir.path()).is_empty());
        deaf.wait().unwrap();
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
