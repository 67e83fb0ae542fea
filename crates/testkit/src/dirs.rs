//! A directory that belongs to one test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process::{leftovers, warden};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// An empty directory, removed when dropped unless the variable `KEEP` is set.
///
/// Its path is short (`/tmp/il-<pid>-<random>/007`), so that a Unix socket some levels below stays under the
/// 108 bytes that the kernel allows, and every user may pass through it, so that another account's jobs and
/// sshd find their files.
///
/// Dropping it also ends every process that still names the directory in its arguments, its environment or as
/// its working directory: supervisors, `slurmstepd`, and whatever else a daemon under test has let go of.
#[derive(Debug)]
pub struct TestDir {
    path: PathBuf,
}

impl TestDir {
    /// Makes the directory.
    ///
    /// # Panics
    /// When `/tmp` is not writable.
    #[expect(clippy::new_without_default, reason = "making a directory is no default")]
    pub fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = warden::root().join(format!("{number:03}"));
        fs::create_dir_all(&path).expect("/tmp must be writable");
        // whatever umask the test runs under
        open_to_all(&path);
        Self { path }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path below the directory; nothing is created.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file below the directory, with the folders that lead to it, and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a test's own directory must be writable");
        }
        fs::write(&path, content).expect("a test's own directory must be writable");
        path
    }

    /// Makes a folder below the directory that every user may read and pass, and returns its path.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn folder(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).expect("a test's own directory must be writable");
        open_to_all(&path);
        path
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        leftovers::end(&self.path);
        if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty()) {
            eprintln!("kept {}", self.path.display());
        } else {
            // a job that still writes its last line must not turn a passed test into a failed one
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the mode of a directory just made can be set");
}
