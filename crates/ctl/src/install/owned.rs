//! Mode and owner of what is there, given to the thing itself: root, who installs, never follows a symbolic link that an
//! account could have put in its place, nor looks at a name twice.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// Links of root's and of our own that are followed, one leading to the other.
const LINKS: usize = 8;

/// A directory that is held open: whatever becomes of its name, paths below [`Held::path`] are in it.
#[derive(Debug)]
pub struct Held {
    file: File,
    name: PathBuf,
}

impl Held {
    /// Opens the directory at `name`; `None` where there is nothing.
    ///
    /// # Errors
    /// One sentence, also where it is a link that another than root or we have made.
    pub fn open(name: &Path) -> Result<Option<Self>, String> {
        let file = open(name, OFlag::O_DIRECTORY, LINKS)?;
        Ok(file.map(|file| Self { file, name: name.to_owned() }))
    }

    /// Stands for it at the beginning of a path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// The words of a file in it, which must be a file itself; `None` where there is none.
    ///
    /// # Errors
    /// One sentence.
    pub fn read(&self, file: &str) -> Result<Option<String>, String> {
        let opened = open(&self.path().join(file), OFlag::empty(), 0).map_err(|why| self.named(&why))?;
        let read = opened.map(|file| {
            if file.metadata()?.is_file() { io::read_to_string(file) } else { Err(io::Error::other("it is no file")) }
        });
        read.transpose().map_err(|e| format!("{} can't be read: {e}", self.name.join(file).display()))
    }

    /// A sentence about a path below [`Held::path`], with the name that people know.
    #[must_use]
    pub fn named(&self, sentence: &str) -> String {
        sentence.replace(&self.path().display().to_string(), &self.name.display().to_string())
    }
}

/// Gives a directory its mode and owner.
///
/// # Errors
/// One sentence.
pub fn give_directory(path: &Path, mode: u32, owner: (u32, u32)) -> Result<(), String> {
    give(path, OFlag::O_DIRECTORY, mode, owner)
}

/// Gives a file its mode and owner.
///
/// # Errors
/// One sentence.
pub fn give_file(path: &Path, mode: u32, owner: (u32, u32)) -> Result<(), String> {
    give(path, OFlag::empty(), mode, owner)
}

fn give(path: &Path, flags: OFlag, mode: u32, (uid, gid): (u32, u32)) -> Result<(), String> {
    let file = open(path, flags, LINKS)?.ok_or_else(|| format!("{} is gone", path.display()))?;
    // the owner first, whose change clears bits
    let given = fchown(&file, Some(uid), Some(gid)).and_then(|()| file.set_permissions(Permissions::from_mode(mode)));
    given.map_err(|e| format!("{}: mode and owner can't be set: {e}", path.display()))
}

fn open(path: &Path, flags: OFlag, links: usize) -> Result<Option<File>, String> {
    // nothing that a pipe in its place could hold up
    let flags = (flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let error = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => return Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => error,
    };
    let link = fs::symlink_metadata(path).ok().filter(|there| there.is_symlink());
    let Some(link) = link else { return Err(format!("{} can't be opened: {error}", path.display())) };
    let trusted = link.uid() == 0 || link.uid() == nix::unistd::geteuid().as_raw();
    match fs::read_link(path) {
        Ok(to) if trusted && links > 0 => {
            open(&path.parent().unwrap_or(Path::new("/")).join(to), OFlag::from_bits_truncate(flags), links - 1)
        }
        _ => Err(format!(
            "{} is a symbolic link of the account with the number {}, which could lead anywhere: put what it leads to in \
             its place, and run this again",
            path.display(),
            link.uid()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{lchown, symlink};

    const OTHER: u32 = 12_345;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// Only root can make a link another's.
    #[test]
    fn a_link_of_another_account_is_not_followed_and_one_of_our_own_is() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o755)).unwrap();
        symlink(&real, &link).unwrap();
        give_directory(&link, 0o750, (0, 0)).unwrap();
        assert_eq!(mode(&real), 0o750);
        lchown(&link, Some(OTHER), None).unwrap();
        let why = give_directory(&link, 0o700, (OTHER, OTHER)).unwrap_err();
        assert!(why.contains("symbolic link of the account with the number 12345"), "{why}");
        assert_eq!((mode(&real), fs::metadata(&real).unwrap().uid()), (0o750, 0));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let link = dir.path().join("link-to-file");
        symlink(&file, &link).unwrap();
        lchown(&link, Some(OTHER), None).unwrap();
        assert!(give_file(&link, 0o600, (OTHER, OTHER)).unwrap_err().contains("symbolic link"));
        give_file(&file, 0o640, (0, 0)).unwrap();
        assert_eq!(mode(&file), 0o640);
    }

    #[test]
    fn a_held_directory_is_the_same_under_another_name_and_reads_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("a"), dir.path().join("b"));
        assert!(Held::open(&before).unwrap().is_none());
        fs::create_dir(&before).unwrap();
        let held = Held::open(&before).unwrap().unwrap();
        fs::rename(&before, &after).unwrap();
        fs::write(after.join("keys"), "words").unwrap();
        symlink(after.join("keys"), after.join("link")).unwrap();
        assert_eq!(held.read("keys").unwrap().as_deref(), Some("words"));
        assert_eq!(held.read("none").unwrap(), None);
        let why = held.read("link").unwrap_err();
        assert!(why.starts_with(&before.join("link").display().to_string()) && why.contains("symbolic link"), "{why}");
    }
}
