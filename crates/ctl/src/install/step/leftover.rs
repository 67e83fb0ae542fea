//! What the services make themselves while they run, and nobody else takes away.

use std::fs;
use std::path::PathBuf;

use async_trait::async_trait;

use super::{Seen, Site, Step, removed};

/// A directory that systemd makes (`RuntimeDirectory=`, `StateDirectory=`), used by both roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover(pub PathBuf);

#[async_trait]
impl Step for Leftover {
    fn title(&self) -> String {
        format!("directory {}, made by the services", self.0.display())
    }

    async fn look(&self, _: &Site) -> Result<Seen, String> {
        Ok(Seen::AsWanted)
    }

    async fn make(&self, _: &mut Site) -> Result<(), String> {
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        if site.shared { Ok(false) } else { removed(fs::remove_dir_all(&self.0), &self.0) }
    }
}
