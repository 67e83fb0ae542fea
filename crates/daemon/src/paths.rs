//! Where sockets and state live.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// The directory for sockets: `$RUNTIME_DIRECTORY` (systemd's, its first entry), else `$XDG_RUNTIME_DIR/interlink`,
/// else `/tmp/interlink-<uid>`. Made if missing, 0700, and refused if it is another user's or open to others.
///
/// # Errors
/// [`Failure`] naming the directory and what to do.
pub fn runtime_dir() -> Result<PathBuf, Failure> {
    if let Some(dir) = first_of("RUNTIME_DIRECTORY") {
        return Ok(dir);
    }
    let dir = match first_of("XDG_RUNTIME_DIR").filter(|dir| dir.is_dir()) {
        Some(dir) => dir.join("interlink"),
        None => PathBuf::from(format!("/tmp/interlink-{}", nix::unistd::geteuid())),
    };
    private_dir(&dir)?;
    Ok(dir)
}

/// The directory for what must survive a restart: `$STATE_DIRECTORY` (systemd's), else `$XDG_STATE_HOME/interlink`,
/// else `$HOME/.local/state/interlink`. Made if missing.
///
/// # Errors
/// [`Failure`] naming the directory and what to do.
pub fn state_dir() -> Result<PathBuf, Failure> {
    if let Some(dir) = first_of("STATE_DIRECTORY") {
        return Ok(dir);
    }
    let base = first_of("XDG_STATE_HOME").or_else(|| first_of("HOME").map(|home| home.join(".local/state")));
    let Some(base) = base else {
        return Err(Failure::config("neither STATE_DIRECTORY nor HOME is set; set one of them"));
    };
    let dir = base.join("interlink");
    private_dir(&dir)?;
    Ok(dir)
}

/// Makes `dir` (with parents) 0700, or checks that an existing one is ours alone.
///
/// # Errors
/// [`Failure`] naming the directory and what to do.
pub fn private_dir(dir: &Path) -> Result<(), Failure> {
    let shown = dir.display();
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Ok(()) => {}
        Err(error) => return Err(Failure::config(format!("can't make the directory {shown}: {error}"))),
    }
    let metadata = std::fs::symlink_metadata(dir)
        .map_err(|e| Failure::config(format!("can't look at the directory {shown}: {e}")))?;
    if !metadata.is_dir() || metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Failure::config(format!(
            "{shown} is not a directory of this user; remove it or set RUNTIME_DIRECTORY"
        )));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Failure::config(format!("{shown} is open to other users; run chmod 700 {shown}")));
    }
    Ok(())
}

/// A `~` at the beginning means the home directory, also where quotes kept the shell from expanding it.
#[must_use]
pub fn expand_tilde(path: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").filter(|home| !home.is_empty());
    match path.strip_prefix('~') {
        Some("") => home().map_or_else(|| path.into(), PathBuf::from),
        Some(rest) if rest.starts_with('/') => {
            home().map_or_else(|| path.into(), |home| PathBuf::from(home).join(rest.trim_start_matches('/')))
        }
        _ => path.into(),
    }
}

/// systemd joins several directories with colons.
fn first_of(variable: &str) -> Option<PathBuf> {
    let value = std::env::var(variable).ok()?;
    let first = value.split(':').next()?;
    (!first.is_empty()).then(|| PathBuf::from(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let ours = dir.path().join("a/b");
        private_dir(&ours).unwrap();
        assert_eq!(std::fs::metadata(&ours).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private_dir(&ours).unwrap_err().sentence.contains("chmod 700"));
    }

    #[test]
    fn only_a_leading_tilde_is_the_home() {
        let home = PathBuf::from(std::env::var("HOME").unwrap());
        assert_eq!(expand_tilde("~/.ssh/key"), home.join(".ssh/key"));
        assert_eq!(expand_tilde("~"), home);
        for other in ["/a/~/b", "~user/x", "relative"] {
            assert_eq!(expand_tilde(other), PathBuf::from(other));
        }
    }
}
