//! The container's own view of the node's files: the node's tree with the pod's volumes in it.
//!
//! ```text
//! <stage>            tmpfs, never part of a copy (MS_UNBINDABLE)
//!   src/0, src/1 …   the volumes, bound before anything can hide them
//!   root             the node's `/`, bound; volumes are bound into it; it becomes the new `/`
//! ```
//!
//! Where a volume's target does not exist, nothing is made on the node: the nearest existing directory is replaced by a
//! tmpfs that shows the same entries (see [`explode`](super::explode)). What a container writes straight into such a
//! directory is gone when it ends, as in a container's own layer.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, chroot, pivot_root};

use super::explode::explode;
use super::{StartFailure, namespace};
use crate::launch::Mount;

const NONE: Option<&str> = None;
/// As many as the kernel follows (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// Moves the process into a view of its own that has `mounts` in it.
pub(super) fn enter(stage: &Path, mounts: &[Mount]) -> Result<(), StartFailure> {
    let targets = mounts.iter().map(|m| components(&m.target).map(|t| (m, t))).collect::<Result<Vec<_>, _>>()?;
    namespace::enter()?;
    // the node's later mounts (automounted homes) still arrive, ours never leave
    mount(NONE, "/", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE).map_err(namespace::refused)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), stage, Some("tmpfs"), flags, Some("mode=0755")).map_err(namespace::refused)?;
    mount(NONE, stage, NONE, MsFlags::MS_UNBINDABLE, NONE).map_err(namespace::refused)?;

    let mut sources = Vec::new();
    for (number, volume) in mounts.iter().enumerate() {
        sources.push(hold(&volume.source, &stage.join("src"), number)?);
    }
    let root = stage.join("root");
    let made = |what: &Path, error: io::Error| failed("make", what, &error);
    fs::create_dir(&root).map_err(|e| made(&root, e))?;
    bind(Path::new("/"), &root).map_err(|e| failed("bind", &root, &e))?;

    let mut order: Vec<usize> = (0..targets.len()).collect();
    // a volume inside another's target comes after it, as container runtimes do
    order.sort_by_key(|i| targets[*i].1.len());
    let mut view = View { root: root.clone(), ours: Vec::new(), volumes: Vec::new(), seal: Vec::new() };
    for i in order {
        let (volume, target) = &targets[i];
        view.place(&sources[i], target, volume.read_only)
            .map_err(|why| StartFailure::setup(format!("volume mount {:?} is not possible: {why}", volume.target)))?;
    }
    for directory in &view.seal {
        make_read_only(directory).map_err(|e| failed("seal", directory, &e))?;
    }
    switch_root(&root).map_err(|e| failed("enter", &root, &e))
}

/// The components of an absolute path without `.`.
fn components(target: &str) -> Result<Vec<String>, StartFailure> {
    let wrong = |rule: &str| Err(StartFailure::setup(format!("mountPath {target:?} {rule}")));
    if !target.starts_with('/') {
        return wrong("must be absolute");
    }
    let mut parts = Vec::new();
    for component in Path::new(target).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => return wrong("must not contain '..'"),
            _ => {}
        }
    }
    if parts.is_empty() {
        wrong("must not be / with the host runtime: use a directory below it, or a container runtime")
    } else {
        Ok(parts)
    }
}

/// Binds a volume where later mounts cannot hide it.
fn hold(source: &Path, directory: &Path, number: usize) -> Result<PathBuf, StartFailure> {
    let at = directory.join(number.to_string());
    let what = fs::metadata(source).map_err(|error| {
        StartFailure::setup(format!("volume source {} cannot be used on the node: {error}", source.display()))
    })?;
    fs::create_dir_all(directory)
        .and_then(|()| if what.is_dir() { fs::create_dir(&at) } else { File::create(&at).map(drop) })
        .and_then(|()| bind(source, &at))
        .map_err(|e| failed("bind", source, &e))?;
    Ok(at)
}

struct View {
    /// Where the new root is, as seen from outside.
    root: PathBuf,
    /// Directories of the view that lie on a tmpfs of ours.
    ours: Vec<PathBuf>,
    /// Targets that were placed, and whether they are read-only.
    volumes: Vec<(PathBuf, bool)>,
    /// Directories that replaced one of a read-only volume.
    seal: Vec<PathBuf>,
}

impl View {
    /// Binds `source` at a target of the view, whatever part of the target is missing.
    fn place(&mut self, source: &Path, target: &[String], read_only: bool) -> Result<(), String> {
        let directory = fs::metadata(source).map_err(|e| e.to_string())?.is_dir();
        let at = self.resolve(target, directory)?;
        bind(source, &at).map_err(|e| e.to_string())?;
        if read_only {
            make_read_only(&at).map_err(|e| e.to_string())?;
        }
        // what was made there is hidden now
        self.ours.retain(|directory| !directory.starts_with(&at));
        self.volumes.push((at, read_only));
        Ok(())
    }

    /// Where a target is in the view, following the view's own symbolic links, making what is missing.
    fn resolve(&mut self, target: &[String], directory: bool) -> Result<PathBuf, String> {
        let mut left: Vec<String> = target.iter().rev().cloned().collect();
        let mut at = self.root.clone();
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == ".." {
                if at != self.root {
                    at.pop();
                }
                continue;
            }
            let next = at.join(&part);
            let last = left.is_empty();
            match fs::symlink_metadata(&next) {
                Ok(found) if found.is_symlink() => {
                    links += 1;
                    if links > MAX_SYMLINKS {
                        return Err("too many symbolic links on the way".into());
                    }
                    let to = fs::read_link(&next).map_err(|e| e.to_string())?;
                    if to.is_absolute() {
                        at.clone_from(&self.root);
                    }
                    let parts = to.components().filter_map(|c| match c {
                        Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
                        Component::ParentDir => Some("..".into()),
                        _ => None,
                    });
                    left.extend(parts.collect::<Vec<_>>().into_iter().rev());
                    continue;
                }
                Ok(found) if last && found.is_dir() != directory => {
                    let (is, wants) = if directory { ("a file", "a directory") } else { ("a directory", "a file") };
                    return Err(format!("there is {is} and the volume is {wants}"));
                }
                Ok(found) if !last && !found.is_dir() => return Err(format!("{} is a file", self.shown(&next))),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.make(&at, &next, !last || directory)?;
                }
                Err(error) => return Err(format!("{}: {error}", self.shown(&next))),
            }
            at = next;
        }
        Ok(at)
    }

    /// Makes an entry of the view without touching the node.
    fn make(&mut self, parent: &Path, entry: &Path, directory: bool) -> Result<(), String> {
        let ours = self.ours.iter().any(|d| d == parent);
        let volume = self
            .volumes
            .iter()
            .filter(|(target, _)| parent.starts_with(target))
            .max_by_key(|(t, _)| t.as_os_str().len());
        match volume {
            _ if ours => {}
            // the pod's own storage: the mount point is made in it, as container runtimes do
            Some((_, false)) => {}
            read_only => {
                if read_only.is_some() {
                    self.seal.push(parent.to_owned());
                }
                explode(parent).map_err(|error| format!("{} cannot be extended: {error}", self.shown(parent)))?;
                self.ours.push(parent.to_owned());
            }
        }
        let made =
            if directory { fs::DirBuilder::new().mode(0o755).create(entry) } else { File::create_new(entry).map(drop) };
        made.map_err(|error| format!("{} cannot be made: {error}", self.shown(entry)))?;
        if directory && self.ours.iter().any(|d| d == parent) {
            self.ours.push(entry.to_owned());
        }
        Ok(())
    }

    fn shown(&self, at: &Path) -> String {
        format!("/{}", at.strip_prefix(&self.root).unwrap_or(at).display())
    }
}

pub(super) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    // in a user namespace a tree with mounts below can only be bound whole
    Ok(mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?)
}

/// Makes a bind mount read-only. Flags that the node set must stay: the kernel refuses to drop them.
fn make_read_only(at: &Path) -> io::Result<()> {
    let has = statvfs(at)?.flags();
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for (fs_flag, mount_flag) in kept {
        if has.contains(fs_flag) {
            flags |= mount_flag;
        }
    }
    Ok(mount(NONE, at, NONE, flags, NONE)?)
}

fn switch_root(root: &Path) -> io::Result<()> {
    chdir(root)?;
    match pivot_root(".", ".") {
        // the old root is now stacked over the new one
        Ok(()) => umount2(".", MntFlags::MNT_DETACH)?,
        // a diskless node's root is the initial ramfs, which cannot be pivoted away
        Err(Errno::EINVAL) => {
            mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE)?;
            chroot(".")?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(chdir("/")?)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> StartFailure {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => namespace::refused(namespace::errno(error)),
        _ => StartFailure::setup(format!(
            "the container's view of the node's files cannot be made: {what} {}: {error}",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_targets_below_the_root_are_taken() {
        let cases = [
            ("/etc/x", Ok(vec!["etc", "x"])),
            ("//etc/./x/", Ok(vec!["etc", "x"])),
            ("/", Err("must not be /")),
            ("etc", Err("must be absolute")),
            ("", Err("must be absolute")),
            ("/a/../b", Err("'..'")),
        ];
        for (target, expected) in cases {
            match (components(target), expected) {
                (Ok(found), Ok(parts)) => assert_eq!(found, parts, "{target}"),
                (Err(failure), Err(part)) => assert!(failure.message.contains(part), "{}", failure.message),
                (found, _) => panic!("{target}: {found:?}"),
            }
        }
    }
}
