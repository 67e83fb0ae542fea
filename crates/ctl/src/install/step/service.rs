//! A unit that is enabled and runs what lies on the disk now.

use std::path::PathBuf;

use async_trait::async_trait;

use super::{Seen, Site, Step};
use crate::install::record::digest;
use crate::install::system::{self, PATIENT, QUICK};

/// Which service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// The machine's.
    System,
    /// The user's own.
    User,
}

impl Manager {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::System => &[],
            Self::User => &["--user"],
        }
    }

    /// `systemctl` of this manager.
    ///
    /// # Errors
    /// One sentence with what it said.
    pub async fn ctl(self, args: &[&str]) -> Result<String, String> {
        system::must("systemctl", self.flags().iter().chain(args), PATIENT).await
    }

    async fn show(self, unit: &str) -> Result<(bool, bool), String> {
        let wanted = ["show", "-p", "UnitFileState,ActiveState", unit];
        let said = system::must("systemctl", self.flags().iter().chain(&wanted), QUICK).await?;
        let has = |line: &str| said.lines().any(|found| found == line);
        Ok((has("UnitFileState=enabled"), has("ActiveState=active")))
    }
}

/// A service or timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The unit: `interlink-tunnel.service`.
    pub unit: String,
    /// What it is made of: unit file, program, configuration. A change of one restarts it.
    pub files: Vec<PathBuf>,
    /// Who runs it.
    pub manager: Manager,
}

impl Service {
    /// Over all that it is made of, as it lies on the disk.
    fn digest(&self) -> String {
        let all: Vec<String> = self.files.iter().map(|file| digest(&std::fs::read(file).unwrap_or_default())).collect();
        digest(all.join("\n").as_bytes())
    }
}

#[async_trait]
impl Step for Service {
    fn title(&self) -> String {
        format!("service {}", self.unit)
    }

    async fn look(&self, site: &Site) -> Result<Seen, String> {
        let (enabled, active) = self.manager.show(&self.unit).await?;
        let mut lines = Vec::new();
        if !enabled {
            lines.push("+ enabled".to_owned());
        }
        if !active {
            lines.push("+ started".to_owned());
        } else if let Some(file) = self.files.iter().find(|file| site.changed.contains(*file)) {
            lines.push(format!("+ restarted, for {} is new", file.display()));
        } else if site.record.started.get(&self.unit) != Some(&self.digest()) {
            lines.push("+ restarted, as it was started with other files".to_owned());
        }
        Ok(if lines.is_empty() { Seen::AsWanted } else { Seen::Differs(lines) })
    }

    async fn make(&self, site: &mut Site) -> Result<(), String> {
        let unit = self.unit.as_str();
        self.manager.ctl(&["daemon-reload"]).await?;
        self.manager.ctl(&["enable", unit]).await?;
        let digest = self.digest();
        let restarted = self.manager.ctl(&["restart", unit]).await;
        if restarted.is_err() || !self.manager.show(unit).await?.1 {
            let args = ["-u", unit, "-n", "4", "-o", "cat", "--no-pager", "-q"];
            let said = system::run("journalctl", self.manager.flags().iter().chain(&args), QUICK).await?;
            let words = said.out.lines().collect::<Vec<_>>().join(" | ");
            return Err(format!("{unit} does not start; its journal ends: {words}; mend that and run this again"));
        }
        site.record.started.insert(self.unit.clone(), digest);
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        site.record.started.remove(&self.unit);
        let (enabled, active) = self.manager.show(&self.unit).await?;
        let there = self.files.first().is_some_and(|unit| unit.exists());
        if !there && !active {
            return Ok(false);
        }
        self.manager.ctl(&["disable", "--now", &self.unit]).await?;
        // one that failed is remembered otherwise
        let _ = self.manager.ctl(&["reset-failed", &self.unit]).await;
        Ok(enabled || active)
    }
}
