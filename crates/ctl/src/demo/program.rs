//! One program of the chain: started in its own process group with a clean environment, its words in a log.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::place::Place;
use super::processes::{self, MARK};

/// What programs may know of the caller's surroundings; everything else could change their configuration.
const KEPT: [&str; 9] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// How a program is started.
#[derive(Debug)]
pub struct Program {
    /// Its name: of its hop, its log and its runtime directory.
    pub name: &'static str,
    /// Its file.
    pub file: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its own variables.
    pub env: Vec<(&'static str, OsString)>,
}

/// One that was started.
#[derive(Debug)]
pub struct Running {
    /// Its name.
    pub name: &'static str,
    log: PathBuf,
    child: Child,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// The system's.
    pub fn start(self, place: &Place) -> io::Result<Running> {
        let log = place.log(self.name);
        let out = OpenOptions::new().create(true).append(true).mode(0o600).open(&log)?;
        let run = place.join("run").join(self.name);
        std::fs::create_dir_all(&run)?;
        std::fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let child = Command::new(&self.file)
            .args(self.args)
            .env_clear()
            .envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("RUNTIME_DIRECTORY", run)
            .env("STATE_DIRECTORY", place.join("state"))
            .env(MARK, place.path())
            .envs(self.env)
            .current_dir(place.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            // Ctrl-C is for us; we end them in order.
            .process_group(0)
            .spawn()?;
        if let Some(pid) = child.id() {
            processes::note(place.path(), pid)?;
        }
        Ok(Running { name: self.name, log, child })
    }
}

impl Running {
    /// How it ended, if it has: words for a person.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("it ended with {status}")),
            Err(error) => Some(format!("it is not known whether it runs: {error}")),
        }
    }

    /// The file with its words.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last of its words.
    #[must_use]
    pub fn last_words(&self, lines: usize) -> Vec<String> {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
    }
}
