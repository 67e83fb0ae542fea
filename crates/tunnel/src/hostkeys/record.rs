//! Puts the key of a new host on record, as OpenSSH's `StrictHostKeyChecking accept-new` does.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use russh::keys::PublicKey;

/// Appends the key to the first of `places` that can be written and says which it was; otherwise what
/// each of them answered.
///
/// # Errors
/// When no place could be written: then the host must not be accepted, or the next change of its key
/// would go unnoticed.
pub fn record(places: &[PathBuf], name: &str, key: &PublicKey) -> Result<PathBuf, Vec<(PathBuf, String)>> {
    let mut tried = Vec::new();
    for place in places {
        match append(place, name, key) {
            Ok(()) => return Ok(place.clone()),
            Err(err) => tried.push((place.clone(), err.to_string())),
        }
    }
    Err(tried)
}

fn append(path: &Path, name: &str, key: &PublicKey) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    // A last line without its newline would swallow ours.
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(-1)).is_ok() {
        file.read_exact(&mut last)?;
    }
    let newline = if last == *b"\n" { "" } else { "\n" };
    let key = PublicKey::new(key.key_data().clone(), "").to_openssh().map_err(io::Error::other)?;
    // One write: several programs may append to the file at once.
    file.write_all(format!("{newline}{name} {}\n", key.trim()).as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::known_hosts::{Hosts, parse};
    use super::*;

    fn key() -> PublicKey {
        parse(include_str!("testdata/known_hosts")).lines[0].key.clone()
    }

    #[test]
    fn the_record_is_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/.ssh/known_hosts");
        record(std::slice::from_ref(&path), "[login]:2222", &key()).unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let lines = parse(&std::fs::read_to_string(&path).unwrap()).lines;
        assert_eq!(lines[0].hosts, Hosts::Patterns(vec!["[login]:2222".into()]));
        assert_eq!(lines[0].key.key_data(), key().key_data());
    }

    #[test]
    fn a_last_line_without_newline_is_kept_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        std::fs::write(&path, "# mine").unwrap();
        record(std::slice::from_ref(&path), "login", &key()).unwrap();
        record(std::slice::from_ref(&path), "other", &key()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some("# mine"));
        assert_eq!(parse(&text).lines.len(), 2);
    }

    #[test]
    fn the_next_place_is_taken_where_the_first_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let places = [file.join("home/known_hosts"), dir.path().join("state/known_hosts")];
        assert_eq!(record(&places, "login", &key()).unwrap(), places[1]);
        let tried = record(&places[..1], "login", &key()).unwrap_err();
        assert_eq!(tried.len(), 1);
    }
}
