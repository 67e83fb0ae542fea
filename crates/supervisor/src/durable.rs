//! Files that other processes, other machines and a later life of this one rely on: whole or not there at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces `path` by a file (0600) with this content: temporary name, sync, rename, sync of the directory.
///
/// After a crash at any point the old content or the new is there. On an error the old one is, and no temporary file.
///
/// # Errors
/// Whatever the file system says; a full disk is the common one.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    rename_in(path, content)?;
    sync_directory(path)
}

/// As [`replace`] without the syncs: for files whose loss in a crash of the machine does no harm.
///
/// # Errors
/// Whatever the file system says.
pub fn place(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary_beside(path);
    write_new(&temporary, content, false).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Reads a file that another machine may just have replaced; `None` when there is none.
///
/// Lists the directory first: on NFS that makes the names below it current, those that were not there a moment ago too.
///
/// # Errors
/// Whatever the file system says.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if let Some(directory) = path.parent() {
        match fs::read_dir(directory) {
            Ok(entries) => drop(entries.count()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn rename_in(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary_beside(path);
    write_new(&temporary, content, true).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// A name beside `path` that no other process and no other machine uses: readers skip names that begin with a dot.
pub(crate) fn temporary_beside(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let node = nix::unistd::gethostname().unwrap_or_default();
    path.with_file_name(format!(".{name}.{}.{}.{count}.tmp", node.to_string_lossy(), std::process::id()))
}

/// Writes a file (0600) that must not exist yet, or one that an earlier life of this very name left.
pub(crate) fn write_new(path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if sync { file.sync_all() } else { Ok(()) }
}

/// Makes a rename or link in the directory of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_new_content_replaces_the_old_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(read(&dir.path().join("none")).unwrap(), None);
        assert_eq!(read(&dir.path().join("none/none")).unwrap(), None);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"x").is_err());
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
