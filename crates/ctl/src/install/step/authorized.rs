//! The tunnel's key in `authorized_keys`, with its restriction. Other keys of the account stay.

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::account::Owner;
use super::file::diff;
use super::{Seen, Site, Step};
use crate::install::atomic;
use crate::install::owned::Held;

/// One line of an `authorized_keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorized {
    /// The file.
    pub path: PathBuf,
    /// The line: options, key, comment.
    pub line: String,
    /// The base64 of the key, by which its line is known.
    pub key: String,
    /// Whose the file is.
    pub owner: Owner,
}

/// The comment by which our lines are known.
pub const COMMENT: &str = "interlink-tunnel";

/// The file with the line in it, once, and no other of the same key or of ours. Nothing else is touched.
#[must_use]
pub fn with(text: &str, line: &str, key: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut placed = false;
    for old in text.lines() {
        if !is_ours(old, key) {
            lines.push(old);
        } else if !placed {
            placed = true;
            lines.push(line);
        }
    }
    if !placed {
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

/// The file without our lines.
#[must_use]
pub fn without(text: &str, key: &str) -> String {
    text.lines().filter(|line| !is_ours(line, key)).map(|line| format!("{line}\n")).collect()
}

fn is_ours(line: &str, key: &str) -> bool {
    !line.trim_start().starts_with('#') && line.split_whitespace().any(|word| word == key || word == COMMENT)
}

impl Authorized {
    /// Its directory, which is the account's own: what is there may be a link to what is root's alone.
    fn folder(&self) -> Result<Option<Held>, String> {
        Held::open(self.path.parent().unwrap_or(Path::new("/")))
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn there(&self, folder: Option<&Held>) -> Result<String, String> {
        Ok(folder.map(|folder| folder.read(&self.name())).transpose()?.flatten().unwrap_or_default())
    }

    fn write(&self, folder: &Held, text: &str) -> Result<(), String> {
        let path = folder.path().join(self.name());
        atomic::write(&path, text.as_bytes(), 0o600, Some(self.owner.resolved()?)).map_err(|why| folder.named(&why))
    }
}

#[async_trait]
impl Step for Authorized {
    fn title(&self) -> String {
        format!("the tunnel's key in {}", self.path.display())
    }

    async fn look(&self, _: &Site) -> Result<Seen, String> {
        let there = self.there(self.folder()?.as_ref())?;
        let wanted = with(&there, &self.line, &self.key);
        Ok(if there == wanted {
            Seen::AsWanted
        } else if there.is_empty() {
            Seen::Missing(diff("", &wanted))
        } else {
            Seen::Differs(diff(&there, &wanted))
        })
    }

    async fn make(&self, _: &mut Site) -> Result<(), String> {
        let folder = self.folder()?.ok_or_else(|| format!("the directory of {} is gone", self.path.display()))?;
        let text = with(&self.there(Some(&folder))?, &self.line, &self.key);
        self.write(&folder, &text)
    }

    async fn undo(&self, _: &mut Site) -> Result<bool, String> {
        let Some(folder) = self.folder()? else { return Ok(false) };
        let there = self.there(Some(&folder))?;
        let rest = without(&there, &self.key);
        if rest == there {
            return Ok(false);
        }
        if rest.is_empty() {
            return super::removed(fs::remove_file(folder.path().join(self.name())), &self.path);
        }
        self.write(&folder, &rest)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_there_once_and_other_keys_stay() {
        let line = "restrict,command=\"x\" ssh-ed25519 AAAA interlink-tunnel";
        for (before, after) in [
            ("", format!("{line}\n")),
            ("ssh-rsa OTHER me\n", format!("ssh-rsa OTHER me\n{line}\n")),
            ("ssh-ed25519 AAAA interlink-tunnel\nssh-rsa OTHER me\n", format!("{line}\nssh-rsa OTHER me\n")),
            ("ssh-ed25519 OLD interlink-tunnel\nssh-ed25519 AAAA\n", format!("{line}\n")),
            ("# interlink-tunnel AAAA\n", format!("# interlink-tunnel AAAA\n{line}\n")),
        ] {
            assert_eq!(with(before, line, "AAAA"), after);
            assert_eq!(with(&after, line, "AAAA"), after);
            assert!(!without(&after, "AAAA").contains("ssh-ed25519"), "{before}");
        }
    }

    /// What the account has put there is not root's to read for it, nor to write to.
    #[tokio::test]
    async fn links_of_the_accounts_lead_root_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, folder) = (dir.path().join("secret"), dir.path().join("home/.ssh"));
        fs::write(&secret, "a word of root's\n").unwrap();
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("authorized_keys");
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        let line = "restrict ssh-ed25519 AAAA interlink-tunnel".to_owned();
        let step = Authorized { path: path.clone(), line: line.clone(), key: "AAAA".into(), owner: Owner::Us };
        let mut site = Site::default();
        for why in [step.look(&site).await.unwrap_err(), step.make(&mut site).await.unwrap_err()] {
            assert!(why.starts_with(path.to_str().unwrap()) && why.contains("symbolic link"), "{why}");
        }
        assert_eq!(fs::read_to_string(&secret).unwrap(), "a word of root's\n");
        fs::remove_file(&path).unwrap();
        step.make(&mut site).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), line + "\n");
        assert!(step.undo(&mut site).await.unwrap() && !path.exists());
    }
}
