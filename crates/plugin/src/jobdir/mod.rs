//! The durable record of pods: one directory each, below one root.
//!
//! - [`root`]: the root, its lock, its spool and the copy of our own program that jobs exec.
//! - [`intent`]: `create.json`, written before anything else; the pod exists from there on.
//! - [`record`]: what became of the submission (`JobID.jid`, `refused.json`, `claim`, `verdict.json`, `submit.lock`).
//! - [`volumes`]: the pod's volumes as files.

pub mod intent;
pub mod record;
pub mod root;
pub mod volumes;

use std::path::{Path, PathBuf};

use interlink_wire::PodUid;

/// Directory with the pod's volumes.
const VOLUMES: &str = "volumes";

/// The directory of one pod. Whether it exists is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDir {
    path: PathBuf,
}

impl JobDir {
    /// The directory of this pod below `root`. Both names are validated, so it is a child of `root`.
    #[must_use]
    pub fn of(root: &Path, namespace: &str, uid: &PodUid) -> Self {
        Self { path: root.join(format!("{namespace}-{uid}")) }
    }

    /// A directory that is known to be a pod's.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or directory inside.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Directory with the pod's volumes.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.path.join(VOLUMES)
    }
}
