//! A program that runs.

use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::Launch;
use crate::wait;

/// A program that a test started, in a process group of its own.
///
/// Dropped, it gets SIGTERM, and after [`Launch::patience`] its whole group gets SIGKILL.
#[derive(Debug)]
pub struct Daemon {
    launch: Launch,
    child: Mutex<Child>,
}

impl Daemon {
    pub(super) fn new(launch: Launch) -> Self {
        let child = Mutex::new(launch.spawn());
        Self { launch, child }
    }

    /// The number of the process, or the one it had if it has ended.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// The file that holds what it has printed.
    pub fn log_path(&self) -> &Path {
        self.launch.log()
    }

    /// What it has printed so far, on both streams, over all its restarts.
    pub fn log(&self) -> String {
        std::fs::read(self.launch.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("a child of one's own can be waited for")
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Sends it a signal; one that has ended gets none.
    pub fn signal(&self, signal: Signal) {
        let mut child = self.child();
        // an unreaped child keeps its number, so this cannot hit a stranger
        if matches!(child.try_wait(), Ok(None)) {
            let _ = kill(pid_of(&child), signal);
        }
    }

    /// Kills the process, not its group, with SIGKILL and returns when it is gone.
    pub fn kill9(&self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.child().wait().expect("a child of one's own can be waited for")
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Panics
    /// When it still runs after `grace`; the message has the end of its log.
    pub async fn terminate(&self, grace: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.exited(grace).await
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it still runs after `timeout`; the message has the end of its log.
    pub async fn exited(&self, timeout: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.launch.name().display());
        wait::until(&what, timeout, async || {
            self.exit_status().ok_or_else(|| format!("it still runs; its log ends:\n{}", self.log_tail(15)))
        })
        .await
    }

    /// Starts it again with the same arguments.
    ///
    /// # Panics
    /// When it still runs.
    pub fn start_again(&self) {
        let mut child = self.child();
        let ended = child.try_wait().expect("a child of one's own can be waited for");
        assert!(ended.is_some(), "{} still runs", self.launch.name().display());
        *child = self.launch.spawn();
    }

    /// Ends it by SIGTERM and starts it again with the same arguments.
    ///
    /// # Panics
    /// When it is still there after ten seconds.
    pub async fn restart(&self) {
        if self.is_running() {
            self.terminate(Duration::from_secs(10)).await;
        }
        self.start_again();
    }

    /// The last lines of what it has printed.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// What a readiness probe asks first: there is nothing to wait for when the daemon has ended.
    pub(crate) fn assert_running(&self) {
        if let Some(status) = self.exit_status() {
            panic!("{} ended ({status}); its log ends:\n{}", self.launch.name().display(), self.log_tail(15));
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let deadline = Instant::now() + self.launch.patience;
        self.signal(Signal::SIGTERM);
        while self.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut child = self.child();
        // its group may outlive it; the number of a group is not given away while a member lives
        let _ = killpg(pid_of(&child), Signal::SIGKILL);
        let _ = child.wait();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("the kernel's process numbers fit"))
}
