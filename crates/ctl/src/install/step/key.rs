//! The tunnel's SSH key pair, made once and never replaced.

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};

use super::account::Owner;
use super::{Seen, Site, Step, removed};
use crate::install::atomic;

/// A key pair: `path`, and `path.pub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The private key's file.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: Owner,
}

/// The public key's file beside a private one.
#[must_use]
pub fn public(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

#[async_trait]
impl Step for Key {
    fn title(&self) -> String {
        format!("SSH key {}", self.path.display())
    }

    fn file(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }

    async fn look(&self, _: &Site) -> Result<Seen, String> {
        Ok(match (self.path.exists(), public(&self.path).exists()) {
            (true, true) => Seen::AsWanted,
            (true, false) => Seen::Differs(vec![format!("+ {}", public(&self.path).display())]),
            (false, _) => Seen::Missing(Vec::new()),
        })
    }

    async fn make(&self, site: &mut Site) -> Result<(), String> {
        let wrong = |e: russh::keys::ssh_key::Error| format!("the key {}: {e}", self.path.display());
        let owner = self.owner.resolved()?;
        let key = if self.path.exists() {
            PrivateKey::read_openssh_file(&self.path).map_err(wrong)?
        } else {
            let mut key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(wrong)?;
            key.set_comment("interlink-tunnel");
            let text = key.to_openssh(LineEnding::LF).map_err(wrong)?;
            atomic::write(&self.path, text.as_bytes(), 0o600, Some(owner))?;
            key
        };
        let text = key.public_key().to_openssh().map_err(wrong)?;
        atomic::write(&public(&self.path), format!("{text}\n").as_bytes(), 0o644, Some(owner))?;
        site.changed.insert(self.path.clone());
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        if !site.record.made.contains(&self.title()) {
            return Ok(false);
        }
        let file = public(&self.path);
        let _ = removed(fs::remove_file(&file), &file)?;
        removed(fs::remove_file(&self.path), &self.path)
    }
}
