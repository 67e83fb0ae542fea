//! What an installation consists of. A step says what is wanted; it shows itself, tells whether it is already so, makes
//! it so, and undoes it.
//!
//! Undoing must work when half of it is gone, and takes away only what is ours.

pub mod account;
pub mod authorized;
pub mod directory;
pub mod file;
pub mod firewall;
pub mod keeper;
pub mod key;
pub mod kubernetes;
pub mod leftover;
pub mod linger;
pub mod node;
pub mod service;
pub mod sshd;

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;

use super::record::Record;

/// How it is now, compared with what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing to do.
    AsWanted,
    /// Not there; what would be made, line by line.
    Missing(Vec<String>),
    /// There, but different; the differences, line by line.
    Differs(Vec<String>),
    /// An operator has edited it: it stays, and this sentence says what happens instead.
    Edited(String),
}

/// What the steps of one run share.
#[derive(Debug, Default)]
pub struct Site {
    /// What earlier runs have made, and this one.
    pub record: Record,
    /// Files that this run has changed, or that a dry run would change.
    pub changed: BTreeSet<PathBuf>,
    /// Whether the other role is on this machine too: what both use stays.
    pub shared: bool,
    /// What pods that are left to themselves still need, and the record, for when they have ended: it stays, and so do
    /// the account and what it is in.
    pub kept: Vec<PathBuf>,
}

/// One step.
#[async_trait]
pub trait Step: std::fmt::Debug + Send + Sync {
    /// What it is, in a few words: `directory /opt/interlink (0755 root:root)`. The same in every run.
    fn title(&self) -> String;

    /// How it is now.
    ///
    /// # Errors
    /// One sentence where that can't be told.
    async fn look(&self, site: &Site) -> Result<Seen, String>;

    /// Makes it so.
    ///
    /// # Errors
    /// One sentence: what failed, why, and what to do.
    async fn make(&self, site: &mut Site) -> Result<(), String>;

    /// Takes it away; `true` where something was there.
    ///
    /// # Errors
    /// One sentence: what failed, why, and what to do.
    async fn undo(&self, site: &mut Site) -> Result<bool, String>;

    /// The file that changes with it, for what depends on it.
    fn file(&self) -> Option<PathBuf> {
        None
    }
}

/// A plan: steps in order.
pub type Plan = Vec<Box<dyn Step>>;

/// `Ok(false)` for what is gone already.
pub(super) fn removed(result: std::io::Result<()>, what: &std::path::Path) -> Result<bool, String> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(format!("{} can't be removed: {error}", what.display())),
    }
}
