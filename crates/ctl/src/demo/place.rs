//! The demo's private directory and what lies where in it.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use interlink_daemon::Failure;
use nix::sys::statvfs::{FsFlags, statvfs};

/// Beginning of the directory's name; `--stop` takes no other.
const PREFIX: &str = "interlink-demo-";

/// The longest parent, in bytes, that leaves room for the sockets' own names in `sun_path`.
const LONGEST_PARENT: usize = 50;

/// A demo's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// Makes one, 0700, where programs may be executed (the plugin runs a copy of itself in it).
    ///
    /// # Errors
    /// [`Failure`] with what was tried.
    pub fn make() -> Result<Self, Failure> {
        let parents = ["/tmp".into(), std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default(), "/var/tmp".into()];
        let mut tried = Vec::new();
        for parent in parents.into_iter().map(PathBuf::from).filter(|p| p.is_absolute()) {
            let dir = parent.join(format!("{PREFIX}{:06x}", rand::random::<u32>() & 0xff_ffff));
            let made = usable(&parent).and_then(|()| {
                std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|e| e.to_string())?;
                let place = Self { dir };
                match place.furnish() {
                    Ok(()) => Ok(place),
                    Err(error) => {
                        let _ = std::fs::remove_dir_all(&place.dir);
                        Err(error.to_string())
                    }
                }
            });
            match made {
                Ok(place) => return Ok(place),
                Err(why) => tried.push(format!("{}: {why}", parent.display())),
            }
        }
        Err(Failure::failed(format!("no place for the demo's directory ({})", tried.join("; "))))
    }

    fn furnish(&self) -> std::io::Result<()> {
        for dir in [self.logs(), self.manifests(), self.remote(), self.dir.join("state"), self.dir.join("run")] {
            std::fs::DirBuilder::new().mode(0o700).create(dir)?;
        }
        Ok(())
    }

    /// An existing demo's directory, named by a person.
    ///
    /// # Errors
    /// [`Failure`] when it isn't one of this user.
    pub fn find(dir: &Path) -> Result<Self, Failure> {
        let wrong =
            |why: &str| Failure::failed(format!("{} {why}; give the directory that the demo printed", dir.display()));
        let Ok(dir) = dir.canonicalize() else { return Err(wrong("does not exist")) };
        let named = dir.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(PREFIX));
        let ours =
            std::fs::symlink_metadata(&dir).is_ok_and(|m| m.is_dir() && m.uid() == nix::unistd::geteuid().as_raw());
        if !named || !ours {
            return Err(wrong("is not a directory of a demo of this user"));
        }
        Ok(Self { dir })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Something in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Logs of the programs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The log of one program.
    #[must_use]
    pub fn log(&self, program: &str) -> PathBuf {
        self.logs().join(format!("{program}.log"))
    }

    /// Pods for the standalone kubelet.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.dir.join("manifests")
    }

    /// The login node's side.
    #[must_use]
    pub fn remote(&self) -> PathBuf {
        self.dir.join("login")
    }

    /// Job directories.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.remote().join("jobs")
    }

    /// The socket that the plugin listens on.
    #[must_use]
    pub fn remote_socket(&self) -> PathBuf {
        self.remote().join("plugin.sock")
    }

    /// The socket that the tunnel listens on.
    #[must_use]
    pub fn plugin_socket(&self) -> PathBuf {
        self.dir.join("plugin.sock")
    }

    /// The socket that the API server listens on.
    #[must_use]
    pub fn api_socket(&self) -> PathBuf {
        self.dir.join("api.sock")
    }

    /// The socket that the standalone kubelet serves its API on.
    #[must_use]
    pub fn kubelet_socket(&self) -> PathBuf {
        self.dir.join("run/virtual-kubelet/kubelet.sock")
    }

    /// Removes everything but the logs, or all.
    pub fn remove(&self, keep_logs: bool) {
        if !keep_logs {
            let _ = std::fs::remove_dir_all(&self.dir);
            return;
        }
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path != self.logs() {
                let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
            }
        }
    }
}

/// Whether a demo can live below `parent`.
fn usable(parent: &Path) -> Result<(), String> {
    if parent.as_os_str().len() > LONGEST_PARENT {
        return Err("too long for the path of a socket".into());
    }
    let flags = statvfs(parent).map_err(|e| e.desc().to_owned())?.flags();
    if flags.contains(FsFlags::ST_NOEXEC) {
        return Err("mounted noexec".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_place_is_private_and_its_sockets_are_short() {
        let place = Place::make().unwrap();
        let mode = std::fs::metadata(place.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(place.remote_socket().as_os_str().len() < interlink_transport::endpoint::SOCKET_PATH_LIMIT);
        assert_eq!(Place::find(place.path()).unwrap(), place);
        place.remove(true);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
        place.remove(false);
        assert!(!place.path().exists());
    }

    #[test]
    fn only_a_demos_directory_can_be_stopped() {
        let other = tempfile::tempdir().unwrap();
        for dir in [other.path(), Path::new("/tmp"), Path::new("/nowhere")] {
            assert!(Place::find(dir).unwrap_err().sentence.contains("give the directory that the demo printed"));
        }
    }
}
