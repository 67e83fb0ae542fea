//! `DataRootFolder`: prepared, locked against a second plugin, and read at the start.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use interlink_daemon::{Failure, VERSION};
use interlink_supervisor::durable;
use interlink_wire::PodUid;
use sha2::{Digest, Sha256};

use super::JobDir;
use super::record::has_no_locks;

/// How many start counts fit before a pod's sequence would leave what JSON numbers carry exactly.
const EPOCH_SHIFT: u32 = 32;

/// A predecessor that was killed may leave its lock for a moment with a child that has not yet become its program.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The root of all job directories, held by this process.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    epoch: u64,
    /// Our own number as this file system shows it, which squashing and mapping may make another.
    owner: u32,
    _lock: File,
}

impl Root {
    /// Makes the directory if needed, locks it, and counts this start.
    ///
    /// # Errors
    /// [`Failure`] with the directory: it can't be made or written, another plugin uses it, or another account could put
    /// jobs and programs into it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let wrong = |what: &str, e: io::Error| Failure::config(format!("DataRootFolder {shown}: {what}: {e}"));
        for dir in [path, &path.join(".spool"), &path.join(".bin"), &path.join(".trash")] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| wrong("can't make it", e))?;
        }
        let lock = lock(path)?;
        let epoch = count(&path.join(".epoch"))?;
        let owner = fs::metadata(path.join(".epoch")).map_err(|e| wrong("can't read it", e))?.uid();
        for dir in [path, &path.join(".spool"), &path.join(".bin"), &path.join(".trash"), &path.join(".images")] {
            private(dir, owner)?;
        }
        Ok(Self { path: path.to_owned(), epoch, owner, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Event files of supervisors.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.path.join(".spool")
    }

    /// Images that jobs pulled.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.path.join(".images")
    }

    /// The directory of a pod.
    #[must_use]
    pub fn pod(&self, namespace: &str, uid: &PodUid) -> JobDir {
        JobDir::of(&self.path, namespace, uid)
    }

    /// First value of every pod's sequence in this life of the plugin: larger than any of an earlier one.
    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.epoch << EPOCH_SHIFT
    }

    /// Every directory that may be a pod's.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn pods(&self) -> io::Result<Vec<JobDir>> {
        let mut pods = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") || !entry.file_type()?.is_dir() {
                continue;
            }
            if entry.metadata().is_ok_and(|found| found.uid() != self.owner) {
                tracing::warn!(path = %entry.path().display(), "belongs to another account and is left alone");
                continue;
            }
            pods.push(JobDir { path: entry.path() });
        }
        Ok(pods)
    }

    /// Removes a pod's directory. It leaves its place at once, so that a crash in between leaves no half of it there.
    ///
    /// # Errors
    /// Whatever the file system says; a directory that isn't there is no error.
    pub fn remove(&self, dir: &JobDir) -> io::Result<()> {
        let Some(name) = dir.path().file_name() else { return Ok(()) };
        let trash = self.path.join(".trash").join(name);
        let _ = fs::remove_dir_all(&trash);
        match fs::rename(dir.path(), &trash) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        remove_all(&trash)
    }

    /// Removes what a crash left in the middle of being removed.
    pub fn empty_trash(&self) {
        for entry in fs::read_dir(self.path.join(".trash")).into_iter().flatten().flatten() {
            if let Err(error) = remove_all(&entry.path()) {
                tracing::warn!(path = %entry.path().display(), err = %error, "what is left of a deleted pod can't be removed");
            }
        }
    }

    /// Copies this program to where jobs exec it; the path holds version, architecture and content.
    ///
    /// # Errors
    /// [`Failure`] when it can't be read or written.
    pub fn install_program(&self) -> Result<PathBuf, Failure> {
        let wrong = |e: io::Error| {
            Failure::failed(format!("can't copy this program to {}/.bin for the jobs: {e}", self.path.display()))
        };
        let own = Path::new("/proc/self/exe");
        let (key, length) = content_key(own).map_err(wrong)?;
        let dir = self.path.join(".bin").join(format!("{VERSION}-{}-{key}", std::env::consts::ARCH));
        let program = dir.join("interlink-plugin");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(wrong)?;
        private(&dir, self.owner)?;
        let whole = |m: fs::Metadata| m.is_file() && m.len() == length && m.mode() & 0o100 != 0;
        if fs::symlink_metadata(&program).is_ok_and(|m| m.uid() == self.owner && m.mode() & 0o022 == 0 && whole(m)) {
            return Ok(program);
        }
        let temporary = dir.join(format!(".interlink-plugin.{}", std::process::id()));
        let copy = || {
            fs::copy(own, &temporary)?;
            fs::set_permissions(&temporary, fs::Permissions::from_mode(0o700))?;
            File::open(&temporary)?.sync_all()?;
            fs::rename(&temporary, &program)?;
            File::open(&dir)?.sync_all()
        };
        copy().inspect_err(|_| drop(fs::remove_file(&temporary))).map_err(wrong)?;
        Ok(program)
    }

    /// Removes the copies of other builds. To be called only while there is no pod.
    pub fn remove_old_programs(&self, but: &Path) {
        for entry in fs::read_dir(self.path.join(".bin")).into_iter().flatten().flatten() {
            if !but.starts_with(entry.path()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Counts a start. A count that can't be read is not begun anew: who follows the pods would take every status for an
/// old one.
fn count(file: &Path) -> Result<u64, Failure> {
    let shown = file.display();
    let before = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(Failure::failed(format!("{shown} can't be read: {error}; mend the file system"))),
        Ok(text) => text.trim().parse::<u64>().ok().filter(|count| *count < 1 << (u64::BITS - EPOCH_SHIFT)).ok_or_else(|| {
            Failure::config(format!(
                "{shown} holds no count of starts; write a number into it that is larger than it can have been, such as 100000"
            ))
        })?,
    };
    durable::replace(file, (before + 1).to_string().as_bytes())
        .map_err(|e| Failure::config(format!("{shown} can't be written: {e}")))?;
    Ok(before + 1)
}

/// Sees to it that nobody else can write to a directory: what is in it is run with our rights.
fn private(dir: &Path, owner: u32) -> Result<(), Failure> {
    let shown = dir.display();
    let Ok(found) = fs::metadata(dir) else { return Ok(()) };
    if found.uid() != owner {
        return Err(Failure::config(format!(
            "{shown} belongs to another account (uid {}), which could have pods run as ours; set DataRootFolder to a directory that this account has made",
            found.uid()
        )));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 == 0 {
        return Ok(());
    }
    tracing::warn!("{shown} could be written by others, who could have had pods run as this account; it no longer can");
    fs::set_permissions(dir, fs::Permissions::from_mode(mode & !0o022))
        .map_err(|e| Failure::config(format!("{shown} can be written by others, and that can't be changed: {e}")))
}

/// A short key that differs between builds of one version, and the file's length. Beginning and end are enough: the
/// linker's build id is in the first, and a start must not wait for a hash of everything.
fn content_key(file: &Path) -> io::Result<(String, u64)> {
    use std::io::{Read, Seek, SeekFrom};
    const PART: u64 = 1 << 20;
    let mut file = File::open(file)?;
    let metadata = file.metadata()?;
    let length = metadata.len();
    let modified = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut parts = Vec::new();
    file.by_ref().take(PART).read_to_end(&mut parts)?;
    file.seek(SeekFrom::Start(length.saturating_sub(PART)))?;
    file.read_to_end(&mut parts)?;
    parts.extend(length.to_le_bytes());
    parts.extend(modified.as_nanos().to_le_bytes());
    let digest = Sha256::digest(&parts);
    Ok((digest.iter().take(4).map(|b| format!("{b:02x}")).collect(), length))
}

/// A pod may have taken its own directories' permissions away.
fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn open_up(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // A symbolic link is not followed: what it names is not ours.
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn lock(path: &Path) -> Result<File, Failure> {
    let name = path.join(".lock");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&name);
    let file =
        file.map_err(|e| Failure::config(format!("DataRootFolder {}: can't write to it: {e}", path.display())))?;
    let mut tried = file.try_lock();
    for _ in 0..LOCK_TRIES {
        if !matches!(tried, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(LOCK_PAUSE);
        tried = file.try_lock();
    }
    match tried {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::config(format!(
            "DataRootFolder {} is used by another interlink-plugin, maybe on another host; stop it, or choose another directory",
            path.display()
        ))),
        Err(TryLockError::Error(error)) if has_no_locks(&error) => {
            tracing::warn!(path = %path.display(), err = %error, "the file system has no locks; make sure that only one interlink-plugin uses this DataRootFolder");
            Ok(file)
        }
        Err(TryLockError::Error(error)) => {
            Err(Failure::failed(format!("DataRootFolder {}: can't lock it: {error}", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";

    #[test]
    fn one_plugin_at_a_time_and_sequences_that_only_grow() {
        let dir = tempfile::tempdir().unwrap();
        let first = Root::open(dir.path()).unwrap();
        let refused = Root::open(dir.path()).unwrap_err();
        assert!(refused.sentence.contains("another interlink-plugin"), "{refused}");
        let sequence = first.first_sequence();
        drop(first);
        assert!(Root::open(dir.path()).unwrap().first_sequence() > sequence);
    }

    #[test]
    fn a_count_that_cannot_be_read_is_not_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "x", "99999999999"] {
            fs::write(dir.path().join(".epoch"), text).unwrap();
            let refused = Root::open(dir.path()).unwrap_err();
            assert!(refused.sentence.contains(".epoch holds no count"), "{refused}");
        }
        fs::write(dir.path().join(".epoch"), "41\n").unwrap();
        assert_eq!(Root::open(dir.path()).unwrap().first_sequence(), 42 << EPOCH_SHIFT);
    }

    #[test]
    fn nobody_else_can_put_anything_there() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join(".bin");
        fs::create_dir(&bin).unwrap();
        for open in [dir.path(), &bin] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o777)).unwrap();
        }
        drop(Root::open(dir.path()).unwrap());
        for closed in [dir.path(), &bin] {
            assert_eq!(fs::metadata(closed).unwrap().mode() & 0o777, 0o755);
        }
        if !nix::unistd::geteuid().is_root() {
            // Nobody else can give a directory away.
            return;
        }
        let give = |path: &Path| std::os::unix::fs::chown(path, Some(54321), None).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let pod = root.pod("ns", &PodUid::parse(UID).unwrap());
        fs::create_dir(pod.path()).unwrap();
        assert_eq!(root.pods().unwrap().len(), 1);
        give(pod.path());
        assert!(root.pods().unwrap().is_empty());
        let program = root.install_program().unwrap();
        fs::write(&program, vec![0; usize::try_from(fs::metadata(&program).unwrap().len()).unwrap()]).unwrap();
        give(&program);
        root.install_program().unwrap();
        assert_eq!(fs::read(&program).unwrap(), fs::read("/proc/self/exe").unwrap());
        drop(root);
        give(&bin);
        let refused = Root::open(dir.path()).unwrap_err();
        assert!(refused.sentence.contains("another account (uid 54321)"), "{refused}");
    }

    #[test]
    fn a_removed_directory_is_gone_even_when_the_pod_locked_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let pod = root.pod("ns", &PodUid::parse(UID).unwrap());
        fs::create_dir_all(pod.join("volumes/e/sub")).unwrap();
        fs::write(pod.join("volumes/e/sub/f"), "x").unwrap();
        fs::set_permissions(pod.join("volumes/e/sub"), fs::Permissions::from_mode(0o500)).unwrap();
        assert_eq!(root.pods().unwrap().len(), 1);
        root.remove(&pod).unwrap();
        assert!(root.pods().unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path().join(".trash")).unwrap().count(), 0);
        root.remove(&pod).unwrap();
    }

    #[test]
    fn the_program_is_copied_once_and_can_be_run() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let program = root.install_program().unwrap();
        assert_eq!(root.install_program().unwrap(), program);
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read(&program).unwrap(), fs::read("/proc/self/exe").unwrap());
    }
}
