//! What an installation has made, so that the next run knows an operator's edit from an older version of ours, and so
//! that `uninstall` takes away what was made and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::atomic;
use super::step::firewall::Rule;
use super::wishes::Wishes;

/// One role's record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The version that wrote it.
    pub version: String,
    /// What was asked for, so that an upgrade need not ask again.
    pub wishes: Wishes,
    /// SHA-256 of what was last laid down or laid beside, by path.
    pub files: BTreeMap<PathBuf, String>,
    /// SHA-256 over the files that a service was last started with, by unit.
    pub started: BTreeMap<String, String>,
    /// What was not there before: the titles of steps.
    pub made: BTreeSet<String>,
    /// Rules that were added to a firewall, by the titles of their steps.
    pub rules: BTreeMap<String, Rule>,
}

impl Record {
    /// Reads a record; `None` where there is none.
    ///
    /// # Errors
    /// One sentence where it can't be read.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("the record {} can't be read: {error}", path.display())),
        };
        serde_json::from_str(&text).map(Some).map_err(|e| {
            format!("the record {} is damaged ({e}); remove it, and what is there counts as yours", path.display())
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// One sentence where it can't be written.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        atomic::write(path, text.as_bytes(), 0o600, None)
    }
}

/// A digest for comparison.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
