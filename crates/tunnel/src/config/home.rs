//! `~` in paths. A shell expands it only where it is not quoted, and systemd never does.

use std::path::{Path, PathBuf};

/// Replaces a leading `~` or `~/`; `~name` and everything else stays as it is.
pub(super) fn expand(path: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    let rest = match path.strip_prefix('~') {
        None => return Ok(path.into()),
        Some("") => "",
        Some(rest) => match rest.strip_prefix('/') {
            Some(rest) => rest,
            None => return Ok(path.into()),
        },
    };
    match home {
        Some(home) => Ok(home.join(rest)),
        None => Err(format!(
            "{path} can't be expanded: this user has no home directory; write the whole path"
        )),
    }
}

/// `$HOME`, else what the user database says.
pub(super) fn directory() -> Option<PathBuf> {
    match std::env::var_os("HOME") {
        Some(home) if !home.is_empty() => Some(home.into()),
        _ => nix::unistd::User::from_uid(nix::unistd::getuid())
            .ok()
            .flatten()
            .map(|user| user.dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leading_tilde_of_our_own_is_expanded() {
        let home = Some(Path::new("/home/me"));
        for (given, expected) in [
            ("~", "/home/me"),
            ("~/.ssh/key", "/home/me/.ssh/key"),
            ("~other/key", "~other/key"),
            ("/a/~/b", "/a/~/b"),
            ("key", "key"),
            ("", ""),
        ] {
            assert_eq!(expand(given, home).unwrap(), Path::new(expected), "{given}");
        }
        assert!(expand("~/key", None).unwrap_err().contains("no home"));
        assert_eq!(expand("/key", None).unwrap(), Path::new("/key"));
    }
}
