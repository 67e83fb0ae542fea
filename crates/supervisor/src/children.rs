//! The supervisor's processes: starting them, learning how they ended, and leaving none behind.
//!
//! The supervisor is a child subreaper: whatever its containers let go of becomes its child. So it reaps everything,
//! and tells the ends that somebody waits for from those of orphans.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::oneshot;

use crate::processes;

/// All processes that somebody waits for. Lives on the one thread of the supervisor.
#[derive(Clone, Default)]
pub(crate) struct Children(Rc<RefCell<HashMap<i32, Waited>>>);

struct Waited {
    child: Child,
    ended: oneshot::Sender<ExitStatus>,
}

/// A started process.
pub(crate) struct Process {
    pid: Pid,
    ended: oneshot::Receiver<ExitStatus>,
}

/// A started [shim](crate::contain) and its pipes.
pub(crate) struct Contained {
    pub(crate) process: Process,
    pub(crate) spec: pipe::Sender,
    pub(crate) output: pipe::Receiver,
    pub(crate) status: pipe::Receiver,
}

impl Children {
    /// Starts the shim from this very program's file, even if that was replaced since.
    pub(crate) fn spawn_contained(&self) -> io::Result<Contained> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("interlink-contain").arg("contain");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("a piped stream is missing"));
        };
        let process = self.wait_for(child);
        Ok(Contained {
            process,
            spec: pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?,
            output: pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?,
            status: pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?,
        })
    }

    /// Starts a program in a process group of its own, with stdout and stderr in one pipe.
    pub(crate) fn spawn_with_output(&self, command: &mut Command) -> io::Result<(Process, pipe::Receiver)> {
        let (reader, writer) = io::pipe()?;
        let child = command.process_group(0).stdout(writer.try_clone()?).stderr(writer).spawn();
        // the command keeps its ends of the pipe otherwise, and the pipe would never end
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok((self.wait_for(child?), pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?))
    }

    fn wait_for(&self, child: Child) -> Process {
        let pid = Pid::from_raw(child.id().cast_signed());
        let (sender, receiver) = oneshot::channel();
        self.0.borrow_mut().insert(pid.as_raw(), Waited { child, ended: sender });
        Process { pid, ended: receiver }
    }

    /// Reaps for ever. The first await of the future must come before the first process is started.
    pub(crate) async fn reap_always(self, mut deaths: Signals) {
        while deaths.recv().await.is_some() {
            self.reap();
        }
    }

    /// Reaps whatever has ended.
    pub(crate) fn reap(&self) {
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::All, peek) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                    // Only the peek tells whose end it is before the number is free again.
                    if !self.take(pid.as_raw()) {
                        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
                    }
                }
                Err(Errno::EINTR) => {}
                // ended by a signal that nix has no name for (a real-time one)
                Err(Errno::EINVAL) => {
                    let all: Vec<i32> = self.0.borrow().keys().copied().collect();
                    let known = all.into_iter().filter(|pid| self.take(*pid)).count();
                    if known == 0 {
                        let _ = waitpid(None, Some(WaitPidFlag::WNOHANG));
                    }
                }
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Takes the end of a process that somebody waits for; false when nobody does or it has not ended.
    fn take(&self, pid: i32) -> bool {
        let mut waited = self.0.borrow_mut();
        let Some(Ok(Some(status))) = waited.get_mut(&pid).map(|w| w.child.try_wait()) else {
            return false;
        };
        if let Some(entry) = waited.remove(&pid) {
            // what is left of its session goes before anyone hears of its end
            processes::kill_session(pid);
            let _ = entry.ended.send(status);
        }
        true
    }
}

/// The stream of SIGCHLD; to be made before anything is started.
pub(crate) fn deaths() -> io::Result<Signals> {
    signal(SignalKind::child())
}

impl Process {
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Signals the process alone.
    pub(crate) fn signal_alone(&self, signal: Signal) {
        let _ = kill(self.pid, signal);
    }

    /// Signals the process and its group. Before it has its own session there is no such group.
    pub(crate) fn signal(&self, signal: Signal) {
        if killpg(self.pid, signal).is_err() {
            let _ = kill(self.pid, signal);
        }
    }

    /// How it ended. May be awaited again after being given up, until it has answered.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        match (&mut self.ended).await {
            Ok(status) => status,
            // the sender goes only together with the whole supervisor
            Err(_) => std::future::pending().await,
        }
    }
}

/// Ends a process when it is no longer wanted.
pub(crate) struct KillOnDrop(Option<Process>);

impl KillOnDrop {
    pub(crate) fn new(process: Process) -> Self {
        Self(Some(process))
    }

    pub(crate) async fn ended(mut self) -> ExitStatus {
        let status = match &mut self.0 {
            Some(process) => process.ended().await,
            None => std::future::pending().await,
        };
        self.0 = None;
        status
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            process.signal(Signal::SIGKILL);
        }
    }
}
