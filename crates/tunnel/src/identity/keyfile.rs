//! One key file: judged by its mode as `ssh` does, opened, and told from everything else that people give instead.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{Algorithm, Certificate, PrivateKey, PublicKey, decode_secret_key};

use super::error::IdentityError;
use super::sealed::{self, Shut};

/// A key file is some kilobytes; anything longer is the wrong file.
const MAX_BYTES: u64 = 1 << 20;

/// What a key file holds.
pub(super) enum Content {
    /// The private key.
    Private(Arc<PrivateKey>),
    /// The public half alone.
    Public(PublicKey),
    /// A certificate, with the public half inside.
    Certificate(Box<Certificate>),
}

/// Reads a key file, with the passphrase that is in the other file if one is given.
pub(super) fn read(path: &Path, passphrase_file: Option<&Path>) -> Result<Content, IdentityError> {
    let (text, open_to_others) = match read_text(path) {
        Ok(found) => found,
        Err(err) if err.kind() == io::ErrorKind::InvalidData => {
            return Err(IdentityError::NotAKey { path: path.to_owned(), err: "it is not text".into() });
        }
        Err(err) => return Err(IdentityError::Unreadable { path: path.to_owned(), err }),
    };
    if let Some(public) = public(&text) {
        return Ok(public);
    }
    if let Some(mode) = open_to_others {
        return Err(IdentityError::TooOpen { path: path.to_owned(), mode });
    }
    let words = passphrase_file.map(|file| passphrase(file).map(|words| (file, words))).transpose()?;
    parse(path, &text, words.as_ref().map(|(file, words)| (*file, words.as_str()))).map(Content::Private)
}

/// The public half beside a private key.
pub(super) fn read_public(private: &Path) -> Option<Content> {
    let mut path = private.as_os_str().to_owned();
    path.push(".pub");
    let (text, _) = read_text(Path::new(&path)).ok()?;
    public(&text)
}

/// The public half, or the certificate, that the text is; nobody minds who reads those.
fn public(text: &str) -> Option<Content> {
    match PublicKey::from_openssh(text.trim()) {
        Ok(key) => Some(Content::Public(key)),
        Err(_) => Certificate::from_openssh(text.trim()).ok().map(|found| Content::Certificate(Box::new(found))),
    }
}

/// The text of a file, and its mode if others than its owner may read it.
fn read_text(path: &Path) -> io::Result<(String, Option<u32>)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    // Exactly ssh's rule: only the owner's own file is judged, for credentials that a service
    // manager hands over belong to root and are group-readable by way of an ACL.
    let open = meta.uid() == nix::unistd::getuid().as_raw() && meta.mode() & 0o077 != 0;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok((text, open.then_some(meta.mode() & 0o7777)))
}

fn passphrase(path: &Path) -> Result<String, IdentityError> {
    let unusable = |err| IdentityError::Passphrase { path: path.to_owned(), err };
    match read_text(path) {
        Ok((_, Some(mode))) => Err(unusable(io::Error::other(format!(
            "it is open to others, mode {mode:04o}; chmod 600 {}",
            path.display()
        )))),
        Ok((text, None)) => match text.lines().next().filter(|line| !line.is_empty()) {
            Some(line) => Ok(line.to_owned()),
            None => Err(unusable(io::Error::other("it is empty"))),
        },
        Err(err) => Err(unusable(err)),
    }
}

fn parse(path: &Path, text: &str, passphrase: Option<(&Path, &str)>) -> Result<Arc<PrivateKey>, IdentityError> {
    let path = path.to_owned();
    // Editors of other systems leave \r at the ends of lines and blanks around them.
    let mut tidy: String = text.lines().map(|l| l.trim().to_owned() + "\n").collect();
    if let Some(block) = sealed::find(&tidy) {
        let Some((file, words)) = passphrase else { return Err(IdentityError::Encrypted { path }) };
        tidy = match sealed::open(&block, words) {
            Ok(plain) => plain,
            Err(Shut::Cipher(cipher)) => return Err(IdentityError::Cipher { path, cipher }),
            Err(Shut::Passphrase) => {
                return Err(IdentityError::WrongPassphrase { path, passphrase: file.to_owned() });
            }
        };
        // One wrong passphrase in 256 leaves a valid padding around noise.
        let wrong = |_| IdentityError::WrongPassphrase { path: path.clone(), passphrase: file.to_owned() };
        return decode_secret_key(&tidy, None).map_err(wrong).and_then(|key| usable(&path, key));
    }
    let key = match decode_secret_key(&tidy, None) {
        Ok(key) if !key.is_encrypted() => key,
        Ok(_) | Err(russh::keys::Error::KeyIsEncrypted) => {
            let Some((file, words)) = passphrase else { return Err(IdentityError::Encrypted { path }) };
            match decode_secret_key(&tidy, Some(words)) {
                Ok(key) if !key.is_encrypted() => key,
                Ok(_) | Err(_) => {
                    return Err(IdentityError::WrongPassphrase { path, passphrase: file.to_owned() });
                }
            }
        }
        Err(err) => {
            let err = if text.trim().is_empty() { "it is empty".into() } else { err.to_string() };
            return Err(IdentityError::NotAKey { path, err });
        }
    };
    usable(&path, key)
}

fn usable(path: &Path, key: PrivateKey) -> Result<Arc<PrivateKey>, IdentityError> {
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => Ok(Arc::new(key)),
        other => Err(IdentityError::Unsupported { path: path.to_owned(), kind: other.to_string() }),
    }
}

/// The file that probably holds the private half of `path`, as the end of a sentence.
pub(super) fn private_half(path: &Path) -> String {
    let private: PathBuf = path.with_extension("");
    let there = path.extension().is_some_and(|e| e == "pub") && fs::metadata(&private).is_ok();
    if there { format!(": {}", private.display()) } else { String::new() }
}
