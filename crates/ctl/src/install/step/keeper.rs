//! The background process that keeps the programs running where a user has no service manager.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;

use super::{Seen, Site, Step};
use crate::install::keep;
use crate::install::record::digest;

/// A program that is told to stop gives its connections a moment, and so does the one that waits for it.
const STOP: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);
const RECORD: &str = "keep";

/// The keeper of one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    /// The role's directory.
    pub dir: PathBuf,
    /// What it is made of. A change of one restarts it.
    pub files: Vec<PathBuf>,
}

impl Keeper {
    fn digest(&self) -> String {
        let all: Vec<String> = self.files.iter().map(|file| digest(&std::fs::read(file).unwrap_or_default())).collect();
        digest(all.join("\n").as_bytes())
    }

    async fn stop(&self) -> Result<bool, String> {
        let Some(keeper) = keep::running(&self.dir) else { return Ok(false) };
        if let Some(host) = keeper.elsewhere {
            return Err(format!("it runs on {host}, which shares this directory: run this there"));
        }
        let pid = nix::unistd::Pid::from_raw(keeper.pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).map_err(|e| format!("process {pid}: {e}"))?;
        let stopped = tokio::time::timeout(STOP, async {
            while keep::running(&self.dir).is_some() {
                tokio::time::sleep(PAUSE).await;
            }
        });
        stopped.await.map_err(|_| format!("process {pid} does not end; see {}/logs", self.dir.display()))?;
        Ok(true)
    }
}

#[async_trait]
impl Step for Keeper {
    fn title(&self) -> String {
        format!("background process of {}", self.dir.display())
    }

    async fn look(&self, site: &Site) -> Result<Seen, String> {
        if keep::running(&self.dir).is_none() {
            return Ok(Seen::Differs(vec!["+ started".into()]));
        }
        let same = site.record.started.get(RECORD) == Some(&self.digest());
        let changed = self.files.iter().any(|file| site.changed.contains(file));
        Ok(if same && !changed {
            Seen::AsWanted
        } else {
            Seen::Differs(vec!["+ restarted, for its files are new".into()])
        })
    }

    async fn make(&self, site: &mut Site) -> Result<(), String> {
        self.stop().await?;
        let digest = self.digest();
        let program = self.dir.join("bin/interlinkctl");
        let mut command = tokio::process::Command::new("setsid");
        command.arg("--fork").arg(&program).args(["internal", "keep"]).arg(&self.dir).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = command.status().await.map_err(|e| format!("setsid can't be started: {e}"))?;
        let started = tokio::time::timeout(START, async {
            while keep::running(&self.dir).is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        });
        if !ended.success() || started.await.is_err() {
            return Err(format!(
                "it does not start; try it by hand: {} internal keep {}",
                program.display(),
                self.dir.display()
            ));
        }
        site.record.started.insert(RECORD.into(), digest);
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        site.record.started.remove(RECORD);
        self.stop().await
    }
}
