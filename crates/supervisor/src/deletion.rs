//! The file `deleted`: a delete was accepted. Written by the plugin before it signals the job, so that a supervisor
//! that starts later runs nothing, and one that is signalled knows why.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::layout;

/// A delete that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deletion {
    /// Seconds between TERM and KILL; without it the pod's own.
    #[serde(default)]
    pub grace_seconds: Option<u64>,
}

impl Deletion {
    /// The deletion of a pod directory; `None` when it was not deleted.
    ///
    /// A file without readable content is a deletion with the pod's own grace.
    #[must_use]
    pub fn load(pod_dir: &Path) -> Option<Self> {
        match crate::durable::read(&pod_dir.join(layout::DELETED)) {
            Ok(None) => None,
            Ok(Some(text)) => Some(serde_json::from_slice(&text).unwrap_or_default()),
            Err(_) => Some(Self::default()),
        }
    }

    /// Writes it (durable) into the pod directory.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn store(&self, pod_dir: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        crate::durable::replace(&pod_dir.join(layout::DELETED), &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_file_is_a_deletion_too() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Deletion::load(dir.path()), None);
        std::fs::write(dir.path().join(layout::DELETED), "").unwrap();
        assert_eq!(Deletion::load(dir.path()), Some(Deletion { grace_seconds: None }));
        Deletion { grace_seconds: Some(3) }.store(dir.path()).unwrap();
        assert_eq!(Deletion::load(dir.path()), Some(Deletion { grace_seconds: Some(3) }));
    }
}
