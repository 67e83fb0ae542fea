//! Replacing a directory of the view by a tmpfs that shows the same entries, so that one can be added.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};

use super::view::bind;

/// Mounts a tmpfs over `directory`; symbolic links are made anew, all else is bound from what the tmpfs hides.
///
/// An entry that cannot be bound (a foreign FUSE mount) is left as an empty one.
pub(super) fn explode(directory: &Path) -> io::Result<()> {
    let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).bits();
    let hidden = OpenOptions::new().read(true).custom_flags(flags).open(directory)?;
    // the descriptor leads beneath the tmpfs, where the path no longer does
    let beneath = PathBuf::from(format!("/proc/self/fd/{}", hidden.as_raw_fd()));
    let entries = fs::read_dir(&beneath)?.collect::<io::Result<Vec<_>>>()?;
    let was = fs::metadata(directory)?;
    let options = format!("mode={:o}", was.mode() & 0o7777);
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))?;
    // in a user namespace only our own number exists; the owner is then ours
    let _ = chown(directory, Some(was.uid()), Some(was.gid()));
    for entry in entries {
        let (from, to) = (beneath.join(entry.file_name()), directory.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&to)?;
        } else {
            File::create_new(&to)?;
        }
        let _ = bind(&from, &to);
    }
    Ok(())
}
