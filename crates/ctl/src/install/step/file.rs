//! A file: a program, a unit, a configuration.

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use similar::{ChangeTag, TextDiff};

use super::account::Owner;
use super::directory::differences;
use super::{Seen, Site, Step, removed};
use crate::install::record::{Record, digest};
use crate::install::{atomic, owned};

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These words.
    Text(String),
    /// A copy of that file.
    CopyOf(PathBuf),
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub content: Content,
    /// Its mode.
    pub mode: u32,
    /// Whose it is.
    pub owner: Owner,
    /// Whether an operator's edit stays, and the new one is laid beside it.
    pub keeps_edits: bool,
    /// Whether both roles have it.
    pub common: bool,
}

impl File {
    /// A program; always replaced.
    #[must_use]
    pub fn program(path: impl Into<PathBuf>, from: impl Into<PathBuf>, owner: Owner) -> Self {
        Self {
            path: path.into(),
            content: Content::CopyOf(from.into()),
            mode: 0o755,
            owner,
            keeps_edits: false,
            common: false,
        }
    }

    /// Words that an operator may edit.
    #[must_use]
    pub fn text(path: impl Into<PathBuf>, text: impl Into<String>, mode: u32, owner: Owner) -> Self {
        Self { path: path.into(), content: Content::Text(text.into()), mode, owner, keeps_edits: true, common: false }
    }

    fn wanted(&self) -> Result<Vec<u8>, String> {
        match &self.content {
            Content::Text(text) => Ok(text.clone().into_bytes()),
            Content::CopyOf(from) => fs::read(from).map_err(|e| format!("{} can't be read: {e}", from.display())),
        }
    }

    fn shown(&self, old: &[u8], new: &[u8]) -> Vec<String> {
        match &self.content {
            Content::Text(text) => diff(&String::from_utf8_lossy(old), text),
            Content::CopyOf(from) => vec![format!("{} bytes, as {}", new.len(), from.display())],
        }
    }
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is what is wanted.
    Same,
    /// It is written.
    Written,
    /// An operator has edited it, and knows the version that is wanted: it stays.
    Kept,
    /// An operator has edited it, and the wanted version is new: that is laid beside it.
    Beside,
}

/// Decides from what is there, what is wanted, and the digest of what was last laid down or beside.
#[must_use]
pub fn fate(there: Option<&[u8]>, wanted: &[u8], last: Option<&str>, keeps_edits: bool) -> Fate {
    match there {
        None => Fate::Written,
        Some(there) if there == wanted => Fate::Same,
        Some(_) if !keeps_edits => Fate::Written,
        Some(there) if last == Some(digest(there).as_str()) => Fate::Written,
        Some(_) if last == Some(digest(wanted).as_str()) => Fate::Kept,
        Some(_) => Fate::Beside,
    }
}

#[async_trait]
impl Step for File {
    fn title(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn file(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }

    async fn look(&self, site: &Site) -> Result<Seen, String> {
        let (there, wanted) = (read(&self.path)?, self.wanted()?);
        let last = last(&site.record, &self.path);
        match fate(there.as_deref(), &wanted, last, self.keeps_edits) {
            Fate::Beside => Ok(Seen::Edited(format!(
                "{} was edited and stays; the new version is laid beside it as {}: compare them, and take over what you need",
                self.path.display(),
                beside(&self.path).display()
            ))),
            Fate::Written => {
                let lines = self.shown(there.as_deref().unwrap_or_default(), &wanted);
                Ok(if there.is_none() { Seen::Missing(lines) } else { Seen::Differs(lines) })
            }
            Fate::Same | Fate::Kept => {
                let metadata = fs::metadata(&self.path).map_err(|e| format!("{}: {e}", self.path.display()))?;
                let differences = differences(&metadata, self.mode, self.owner.numbers()?, &self.owner);
                Ok(if differences.is_empty() { Seen::AsWanted } else { Seen::Differs(differences) })
            }
        }
    }

    async fn make(&self, site: &mut Site) -> Result<(), String> {
        let (there, wanted) = (read(&self.path)?, self.wanted()?);
        let owner = self.owner.resolved()?;
        let wanted_digest = digest(&wanted);
        let fate = fate(there.as_deref(), &wanted, last(&site.record, &self.path), self.keeps_edits);
        let written = match fate {
            Fate::Written => atomic::write(&self.path, &wanted, self.mode, Some(owner)),
            Fate::Beside => atomic::write(&beside(&self.path), &wanted, self.mode, Some(owner)),
            Fate::Same | Fate::Kept => owned::give_file(&self.path, self.mode, owner),
        };
        written?;
        site.record.files.insert(self.path.clone(), wanted_digest);
        if fate == Fate::Written {
            site.changed.insert(self.path.clone());
        }
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        let _ = removed(fs::remove_file(beside(&self.path)), &self.path)?;
        // one that was not there before, and whose run died before it could note what it laid down
        let begun = site.record.made.contains(&self.title());
        if (site.record.files.remove(&self.path).is_none() && !begun) || (self.common && site.shared) {
            return Ok(false);
        }
        removed(fs::remove_file(&self.path), &self.path)
    }
}

fn last<'a>(record: &'a Record, path: &Path) -> Option<&'a str> {
    record.files.get(path).map(String::as_str)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} can't be read: {error}", path.display())),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The lines that go and come.
pub(super) fn diff(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(old, new);
    let lines = diff.iter_all_changes().filter_map(|change| {
        let sign = match change.tag() {
            ChangeTag::Equal => return None,
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        Some(format!("{sign} {}", change.value().trim_end()))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_edit_stays_and_an_older_version_of_ours_is_replaced() {
        let last = digest(b"ours 1");
        for (there, wanted, last, keeps, fate_is) in [
            (None, "ours 1", None, true, Fate::Written),
            (Some("ours 1"), "ours 1", None, true, Fate::Same),
            (Some("ours 1"), "ours 2", Some(&last), true, Fate::Written),
            (Some("edited"), "ours 1", Some(&last), true, Fate::Kept),
            (Some("edited"), "ours 2", Some(&last), true, Fate::Beside),
            (Some("by hand"), "ours 1", None, true, Fate::Beside),
            (Some("by hand"), "ours 1", None, false, Fate::Written),
        ] {
            let found = fate(there.map(str::as_bytes), wanted.as_bytes(), last.map(String::as_str), keeps);
            assert_eq!(found, fate_is, "{there:?} {wanted}");
        }
    }

    #[test]
    fn a_diff_shows_what_goes_and_what_comes() {
        assert_eq!(diff("a\nb\nc\n", "a\nB\nc\nd\n"), ["- b", "+ B", "+ d"]);
    }
}
