//! Room for the last word: a file of some size that goes before the final report is written, so that a pod that filled
//! the disk or its quota with output can still say how it ended.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::{durable, layout};

/// Room for some reports and exit codes of the largest pods.
const SIZE: u64 = 128 * 1024;

/// The file; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Ballast(PathBuf);

impl Ballast {
    /// Takes the room. Without it the pod runs all the same.
    pub(crate) fn take(pod_dir: &Path) -> Self {
        let path = pod_dir.join(layout::BALLAST);
        if let Err(error) = fill(&path) {
            tracing::warn!(err = %error, "cannot reserve room in {}", pod_dir.display());
        }
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn fill(path: &Path) -> io::Result<()> {
    // random, or a compressing file system would reserve nothing
    let mut content = Vec::new();
    fs::File::open("/dev/urandom")?.take(SIZE).read_to_end(&mut content)?;
    durable::write_new(path, &content, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_taken_until_it_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::take(dir.path());
        assert_eq!(fs::metadata(dir.path().join(layout::BALLAST)).unwrap().len(), SIZE);
        drop(ballast);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
