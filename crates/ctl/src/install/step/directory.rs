//! A directory with its mode and owner.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use async_trait::async_trait;

use super::account::Owner;
use super::{Seen, Site, Step, removed};
use crate::install::owned;
use crate::install::run::say;

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Where.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Whose it is.
    pub owner: Owner,
    /// Whether one that is there gets this mode and owner.
    pub strict: bool,
}

impl Directory {
    /// A directory.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, mode: u32, owner: Owner) -> Self {
        Self { path: path.into(), mode, owner, strict: true }
    }
}

#[async_trait]
impl Step for Directory {
    fn title(&self) -> String {
        format!("directory {}", self.path.display())
    }

    async fn look(&self, _: &Site) -> Result<Seen, String> {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Seen::Missing(vec![format!("+ mode {:04o}, owner {}", self.mode, self.owner)]));
            }
            Err(error) => return Err(format!("{} can't be looked at: {error}", self.path.display())),
        };
        if !metadata.is_dir() {
            return Err(format!("{} is in the way: it is no directory; move it away", self.path.display()));
        }
        if !self.strict {
            return Ok(Seen::AsWanted);
        }
        let differences = differences(&metadata, self.mode, self.owner.numbers()?, &self.owner);
        Ok(if differences.is_empty() { Seen::AsWanted } else { Seen::Differs(differences) })
    }

    async fn make(&self, _: &mut Site) -> Result<(), String> {
        let (uid, gid) = self.owner.resolved()?;
        fs::create_dir_all(&self.path).map_err(|e| format!("{} can't be made: {e}", self.path.display()))?;
        owned::give_directory(&self.path, self.mode, (uid, gid))
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        if site.kept.iter().any(|kept| kept.starts_with(&self.path)) {
            say(format!("left      {}: jobs that go on need it", self.title()));
            return Ok(false);
        }
        if site.record.made.contains(&self.title()) && !self.strict {
            // others put things there as well
            return match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(false),
                result => removed(result, &self.path),
            };
        }
        if site.record.made.contains(&self.title()) {
            return removed(fs::remove_dir_all(&self.path), &self.path);
        }
        // it was there before: what is in it is not ours
        Ok(false)
    }
}

/// Mode and owner that differ, as lines of a diff.
pub(super) fn differences(metadata: &fs::Metadata, mode: u32, owner: Option<(u32, u32)>, name: &Owner) -> Vec<String> {
    let mut lines = Vec::new();
    let found = metadata.permissions().mode() & 0o7777;
    if found != mode {
        lines.extend([format!("- mode {found:04o}"), format!("+ mode {mode:04o}")]);
    }
    if owner != Some((metadata.uid(), metadata.gid())) {
        lines.extend([format!("- owner {}:{}", metadata.uid(), metadata.gid()), format!("+ owner {name}")]);
    }
    lines
}
