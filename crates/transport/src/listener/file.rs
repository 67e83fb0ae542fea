//! The socket's file: one that nobody answers is removed, ours leaves with its listener.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::lock::Lock;
use super::{BindError, owner};
use crate::endpoint::Endpoint;

/// Removes a socket file that nobody answers.
pub(super) fn clear_stale(path: &Path, endpoint: &Endpoint) -> Result<(), BindError> {
    let system = |source: io::Error| BindError::System { endpoint: endpoint.to_string(), source };
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    let in_use = |owner| Err(BindError::InUse { endpoint: endpoint.to_string(), owner });
    // Not blocking: an owner that hangs lets its queue fill up, and who waits for a place in it hangs, too.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(|e| system(e.into()))?;
    let address = UnixAddr::new(path).map_err(|e| system(e.into()))?;
    match connect(fd.as_raw_fd(), &address) {
        Ok(()) => in_use(owner::of(&fd)),
        Err(Errno::EAGAIN) => in_use("a process that accepts no connections".to_owned()),
        Err(Errno::ECONNREFUSED) => std::fs::remove_file(path).map_err(system),
        Err(error) => Err(system(error.into())),
    }
}

/// The socket's file; removed with the listener, if it is still ours.
#[derive(Debug)]
pub(super) struct OwnedFile {
    path: PathBuf,
    inode: (u64, u64),
    lock: Lock,
    /// Not to be removed.
    pub(super) kept: bool,
}

impl OwnedFile {
    /// The socket that now is at `path`.
    pub(super) fn note(path: &Path, lock: Lock) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()), lock, kept: false })
    }
}

impl Drop for OwnedFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode);
        if ours && !self.kept {
            let _ = std::fs::remove_file(&self.path);
            let _ = std::fs::remove_file(&self.lock.path);
        }
    }
}
