//! `create.json`: a create that was accepted. Durable before anything is submitted.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;

use interlink_supervisor::durable;
use interlink_wire::RetrievedPodData;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::JobDir;

/// Name of the file.
pub const FILE: &str = "create.json";

/// A create that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The request as received.
    pub request: RetrievedPodData,
    /// `InterLink-Owner` of the create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it came.
    pub created_at: Timestamp,
}

impl Intent {
    /// Makes the pod's directory (0700) and writes the file: when this returns, the pod exists whatever happens.
    ///
    /// # Errors
    /// Whatever the file system says; then the pod does not exist.
    pub fn store(&self, dir: &JobDir) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        match DirBuilder::new().mode(0o700).create(dir.path()) {
            // What a crash before the file was written has left.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.path().is_dir() => {}
            other => other?,
        }
        durable::replace(&dir.join(FILE), &text)?;
        let parent = dir.path().parent().ok_or_else(|| io::Error::other("the directory has no parent"))?;
        std::fs::File::open(parent)?.sync_all()
    }

    /// Reads the file; `None` when there is none, so no pod.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn load(dir: &JobDir) -> io::Result<Option<Self>> {
        match std::fs::read(dir.join(FILE)) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
