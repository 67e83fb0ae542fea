//! The lock beside a socket: which of our own programs owns it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::owner;

/// The lock beside a socket.
#[derive(Debug)]
pub(super) struct Lock {
    _flock: Flock<File>,
    pub(super) path: PathBuf,
}

/// Why it was not taken.
pub(super) enum LockError {
    /// By whom it is held.
    Held(String),
    /// The system refused, or something else is in its place.
    System(io::Error),
}

impl Lock {
    /// Takes the lock of `socket`, without waiting.
    pub(super) fn take(socket: &Path) -> Result<Self, LockError> {
        let mut name = socket.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        loop {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC);
            let file = options.open(&path).map_err(LockError::System)?;
            let metadata = file.metadata().map_err(LockError::System)?;
            // In a directory that others may write to, it may be anything; it is about to be overwritten.
            if !metadata.is_file() || metadata.uid() != nix::unistd::geteuid().as_raw() {
                let words = format!("{} is not a file of this user; remove it, or choose another path", path.display());
                return Err(LockError::System(io::Error::other(words)));
            }
            let mut flock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(flock) => flock,
                Err((mut file, Errno::EWOULDBLOCK)) => {
                    let mut pid = String::new();
                    let _ = file.read_to_string(&mut pid);
                    let owner = pid.trim().parse().map_or_else(|_| "another process".to_owned(), owner::describe);
                    return Err(LockError::Held(owner));
                }
                Err((_, error)) => return Err(LockError::System(error.into())),
            };
            // The previous owner may have removed the file between our open and our lock: then it is nobody's lock.
            let same = std::fs::symlink_metadata(&path)
                .is_ok_and(|now| flock.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino())));
            if same {
                flock.set_len(0).map_err(LockError::System)?;
                writeln!(flock, "{}", std::process::id()).map_err(LockError::System)?;
                return Ok(Self { _flock: flock, path });
            }
        }
    }
}
