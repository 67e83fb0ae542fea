//! Standalone mode: the pods of a directory instead of a cluster, as the real kubelet's `--pod-manifest-path`.
//!
//! ```text
//!   *.yaml, *.yml, *.json ─▶ look (every second) ─▶ manifests, defaults ─▶ Snapshot ─▶ Objects (ConfigMaps, Secrets)
//!                                                                             │
//!   <state>/<uid>.json ◀─ Records ◀── Store (status, job id)                  └─▶ PodSource ─▶ PodEvents
//! ```
//!
//! - A pod's UID is made of node, file and content: another content is another pod, the same content is the same pod,
//!   over restarts too. What must survive a restart (status, job id) is in its [record](records).
//! - A file that can't be read keeps the pods that it last had; only a file that is gone takes its pods with it.
//! - A file is read once it has been left alone for a second, so that a half-written one is not taken for a whole one.

mod defaults;
mod look;
mod manifests;
mod objects;
mod records;
mod source;
mod store;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use interlink_wire::names::is_dns_subdomain;

use crate::pod_table::PodTable;
use look::Snapshot;
use records::Records;

pub use objects::DirectoryObjects;
pub use source::DirectorySource;
pub use store::DirectoryStore;

/// The three faces of a directory of manifests.
#[derive(Debug)]
pub struct Standalone {
    /// Where pods come from.
    pub source: DirectorySource,
    /// Where their status goes.
    pub store: DirectoryStore,
    /// Where ConfigMaps and Secrets come from.
    pub objects: DirectoryObjects,
}

impl Standalone {
    /// Opens the directory `manifests` for the node named `node`. Records are kept in a directory below `state`.
    ///
    /// # Errors
    /// One sentence for the operator: what is wrong with which directory.
    pub fn open(manifests: &Path, node: &str, state: &Path, table: Arc<PodTable>) -> Result<Self, String> {
        let shown = manifests.display();
        let directory = manifests.canonicalize().map_err(|e| {
            format!("--pod-manifest-path {shown} can't be opened: {e}; make the directory or correct the path")
        })?;
        if !directory.is_dir() {
            return Err(format!(
                "--pod-manifest-path {shown} is not a directory; name the directory that holds the manifests"
            ));
        }
        if !is_dns_subdomain(node) {
            return Err(format!("the node name {node:?} is not valid; use lower-case letters, digits, - and ."));
        }
        let records = Arc::new(Records::open(state.join("standalone").join(node))?);
        let shared = Arc::new(Shared::default());
        Ok(Self {
            source: DirectorySource::new(directory, node, shared.clone(), records.clone(), table),
            store: DirectoryStore::new(shared.clone(), records),
            objects: DirectoryObjects::new(shared),
        })
    }
}

/// Whose pods these are (`InterLink-Owner`): this user's. Several programs of one user may share it, so jobs of such an
/// owner must never be swept as orphans; the records do that work here.
#[must_use]
pub fn owner() -> String {
    format!("local/{}", nix::unistd::geteuid())
}

/// Where the kubelet API listens in this mode.
#[must_use]
pub fn socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("kubelet.sock")
}

/// What the last look found; `None` before the first.
#[derive(Debug, Default)]
struct Shared(Mutex<Option<Arc<Snapshot>>>);

impl Shared {
    fn get(&self) -> Option<Arc<Snapshot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, snapshot: Arc<Snapshot>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }
}
