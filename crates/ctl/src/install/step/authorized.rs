//! The tunnel's key in `authorized_keys`, with its restriction. Other keys of the account stay.

use std::fs;
use std::path::PathBuf;

use async_trait::async_trait;

use super::account::Owner;
use super::file::diff;
use super::{Seen, Site, Step};
use crate::install::atomic;

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
    fn there(&self) -> Result<String, String> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(format!("{} can't be read: {error}", self.path.display())),
        }
    }
}

#[async_trait]
impl Step for Authorized {
    fn title(&self) -> String {
        format!("the tunnel's key in {}", self.path.display())
    }

    async fn look(&self, _: &Site) -> Result<Seen, String> {
        let there = self.there()?;
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
        let text = with(&self.there()?, &self.line, &self.key);
        atomic::write(&self.path, text.as_bytes(), 0o600, Some(self.owner.resolved()?))
    }

    async fn undo(&self, _: &mut Site) -> Result<bool, String> {
        let there = self.there()?;
        let rest = without(&there, &self.key);
        if rest == there {
            return Ok(false);
        }
        if rest.is_empty() {
            return super::removed(fs::remove_file(&self.path), &self.path);
        }
        atomic::write(&self.path, rest.as_bytes(), 0o600, Some(self.owner.resolved()?))?;
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
}
