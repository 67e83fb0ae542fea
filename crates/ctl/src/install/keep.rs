//! `interlinkctl internal keep`: keeps programs running as processes of a user who has no service manager. Each is
//! started again when it ends, but for a wrong command line or configuration, which a person must mend.
//!
//! One keeper a directory: it holds `keep.lock`, in which its process number and its machine are. TERM ends the programs
//! and then itself; HUP is passed on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use interlink_daemon::{Failure, exit, paths};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Before a program is started again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often, and how often at most, the lock is tried.
const TRY: Duration = Duration::from_millis(20);
const TRIES: u32 = 50;
/// For a program to end.
const GRACE: Duration = Duration::from_secs(30);

/// What is to be kept running: `config/keep.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The directory of the sockets.
    pub runtime: PathBuf,
    /// The programs, in the order of their start.
    pub programs: Vec<Program>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The name of its log.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables beside the user's own.
    pub environment: BTreeMap<String, String>,
}

/// A keeper that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    /// Its process number on its machine.
    pub pid: i32,
    /// Its machine, where that is another: many login nodes may share a home.
    pub elsewhere: Option<String>,
}

/// The keeper of a directory, where one runs.
#[must_use]
pub fn running(dir: &Path) -> Option<Keeper> {
    let file = File::open(dir.join("keep.lock")).ok()?;
    // who gets the lock knows that nobody has it
    let Err((mut file, _)) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return None };
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let mut words = text.split_whitespace();
    let pid = words.next()?.parse().ok()?;
    Some(Keeper { pid, elsewhere: words.next().filter(|host| *host != this_machine()).map(str::to_owned) })
}

fn this_machine() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Keeps the programs of `dir` running until TERM.
///
/// # Errors
/// [`Failure`] when there is nothing to keep, or another keeper.
pub async fn keep(dir: &Path) -> Result<(), Failure> {
    let file = dir.join("config/keep.json");
    let text = std::fs::read(&file).map_err(|e| Failure::config(format!("{}: {e}", file.display())))?;
    let kept: Kept = serde_json::from_slice(&text).map_err(|e| Failure::config(format!("{}: {e}", file.display())))?;
    let _lock = lock(dir)?;
    // in /tmp it does not outlive a reboot
    paths::private_dir(&kept.runtime)?;

    let (stop, stopping) = watch::channel(false);
    let (reload, reloads) = watch::channel(());
    let mut tasks = tokio::task::JoinSet::new();
    for program in kept.programs {
        let log = dir.join("logs").join(format!("{}.log", program.name));
        tasks.spawn(one(program, kept.runtime.clone(), log, stopping.clone(), reloads.clone()));
    }
    let wrong = |e| Failure::failed(format!("signals can't be received: {e}"));
    let mut term = signal(SignalKind::terminate()).map_err(wrong)?;
    let mut hup = signal(SignalKind::hangup()).map_err(wrong)?;
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = hup.recv() => drop(reload.send(())),
        }
    }
    let _ = stop.send(true);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

fn lock(dir: &Path) -> Result<Flock<File>, Failure> {
    let path = dir.join("keep.lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = opened.map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    let (mut tries, mut file) = (TRIES, file);
    let mut lock = loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => break lock,
            // who looks whether one runs has it for a moment
            Err((back, _)) if tries > 0 => (tries, file) = (tries - 1, back),
            Err(_) => return Err(Failure::failed(format!("another keeper runs in {} already", dir.display()))),
        }
        std::thread::sleep(TRY);
    };
    let written = lock.set_len(0).and_then(|()| writeln!(lock, "{} {}", std::process::id(), this_machine()));
    written.map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    Ok(lock)
}

async fn one(
    program: Program,
    runtime: PathBuf,
    log: PathBuf,
    mut stopping: watch::Receiver<bool>,
    mut reloads: watch::Receiver<()>,
) {
    while !*stopping.borrow() {
        if let Some(mut child) = start(&program, &runtime, &log) {
            loop {
                tokio::select! {
                    ended = child.wait() => {
                        let code = ended.ok().and_then(|status| status.code());
                        if [exit::USAGE, exit::CONFIG].iter().any(|mend| code == Some(i32::from(*mend))) {
                            return;
                        }
                        break;
                    }
                    // a sender that is gone is an end too
                    _ = stopping.changed() => return end(child).await,
                    changed = reloads.changed() => if changed.is_ok() { tell(&child, Signal::SIGHUP) },
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            _ = stopping.changed() => return,
        }
    }
}

fn start(program: &Program, runtime: &Path, log: &Path) -> Option<Child> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(log).ok()?;
    let (name, args) = program.command.split_first()?;
    let mut command = Command::new(name);
    command.args(args).envs(&program.environment).env("RUNTIME_DIRECTORY", runtime);
    command.stdin(Stdio::null()).stdout(log.try_clone().ok()?).stderr(log).process_group(0);
    command.spawn().ok()
}

fn tell(child: &Child, what: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), what);
    }
}

async fn end(mut child: Child) {
    tell(&child, Signal::SIGTERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_is_known_by_its_lock_and_there_is_one_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(running(dir.path()), None);
        let held = lock(dir.path()).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(running(dir.path()), Some(Keeper { pid, elsewhere: None }));
        assert!(lock(dir.path()).unwrap_err().sentence.contains("another keeper"));
        // as a keeper on another login node writes it, in a home that they share
        std::fs::write(dir.path().join("keep.lock"), "7 login2\n").unwrap();
        assert_eq!(running(dir.path()), Some(Keeper { pid: 7, elsewhere: Some("login2".into()) }));
        drop(held);
        assert_eq!(running(dir.path()), None);
    }

    #[test]
    fn a_look_whether_one_runs_keeps_none_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        drop(lock(dir.path()).unwrap());
        let file = File::open(dir.path().join("keep.lock")).unwrap();
        let look = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        let looking = std::thread::spawn(move || {
            std::thread::sleep(TRY * 3);
            drop(look);
        });
        assert!(lock(dir.path()).is_ok());
        looking.join().unwrap();
    }
}
