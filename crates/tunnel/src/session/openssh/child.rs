//! One `ssh`, in a process group of its own, with a configuration and a socket in a private directory. Dropped, it ends and
//! its files go.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use interlink_daemon::paths;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::{guard, setup};
use crate::config::{Forward, Settings, System};

/// How long `ssh` may take to end after SIGTERM.
const GOODBYE: Duration = Duration::from_millis(500);

/// The longest line; what is longer comes in pieces.
const LINE: u64 = 8 << 10;

/// Numbers the files of this process.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Files for one `ssh`; gone when dropped.
pub(super) struct Files {
    /// Its configuration.
    config: PathBuf,
    /// The socket between it and us.
    pub(super) socket: PathBuf,
}

impl Files {
    /// Writes the configuration.
    pub(super) fn make(settings: &Settings, system: &System) -> Result<Self, String> {
        // Where ssh looks itself, whatever HOME says.
        let home = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.dir);
        let text = setup::config(settings, system, home.as_deref())?;
        let dir = paths::runtime_dir().map_err(|failure| failure.to_string())?.join("ssh");
        paths::private_dir(&dir).map_err(|failure| failure.to_string())?;
        sweep(&dir);
        let stem = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let files = Self { config: dir.join(format!("{stem}.conf")), socket: dir.join(format!("{stem}.sock")) };
        let write = || -> io::Result<()> {
            let _ = fs::remove_file(&files.socket);
            let _ = fs::remove_file(&files.config);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&files.config)?;
            file.write_all(text.as_bytes())
        };
        write().map_err(|err| format!("{} can't be written ({err})", files.config.display()))?;
        Ok(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.config);
        let _ = fs::remove_file(&self.socket);
    }
}

/// Removes what processes left behind that were killed.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split_once('-')).map(|(owner, _)| owner);
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A running `ssh`.
pub(super) struct Child {
    process: tokio::process::Child,
    group: Option<Pid>,
    stderr: BufReader<ChildStderr>,
    line: Vec<u8>,
    /// Kept for as long as it runs.
    _files: Files,
}

impl Child {
    /// Starts `ssh` for `forward`; with pipes to the command at the server if `piped`.
    pub(super) fn start(
        settings: &Settings,
        system: &System,
        forward: &Forward,
        files: Files,
        piped: bool,
    ) -> io::Result<Self> {
        let (program, mut args): (_, Vec<OsString>) = guard::prefix(system.program.as_os_str());
        args.extend(setup::arguments(settings, system, &files.config, forward, &files.socket));
        let pipe = || if piped { Stdio::piped() } else { Stdio::null() };
        let mut process = Command::new(program)
            .args(args)
            .stdin(pipe())
            .stdout(pipe())
            .stderr(Stdio::piped())
            // Ctrl-C at a terminal is ours to handle.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let stderr = process.stderr.take().ok_or_else(|| io::Error::other("ssh has no stderr"))?;
        let group = process.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok(Self { process, group, stderr: BufReader::new(stderr), line: Vec::new(), _files: files })
    }

    /// The next line that it says; `None` once it says nothing more. May be given up and called again.
    pub(super) async fn says(&mut self) -> Option<String> {
        let room = LINE.saturating_sub(self.line.len() as u64);
        let read = (&mut self.stderr).take(room).read_until(b'\n', &mut self.line).await;
        if !matches!(read, Ok(1..)) && self.line.is_empty() {
            return None;
        }
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        Some(line)
    }

    /// The pipes to the command at the server.
    pub(super) fn pipes(&mut self) -> Option<(ChildStdout, ChildStdin)> {
        Some((self.process.stdout.take()?, self.process.stdin.take()?))
    }

    /// Waits for its end; its exit status.
    pub(super) async fn ended(&mut self) -> Option<i32> {
        let status = self.process.wait().await.ok()?;
        // The number may belong to another process from now on.
        self.group = None;
        status.code()
    }

    /// Asks it to end, then makes it.
    pub(super) async fn end(&mut self) {
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGTERM);
        }
        let _ = timeout(GOODBYE, self.ended()).await;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // With what it started itself. What ends on its own is reaped by the runtime.
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGTERM);
        }
    }
}
