//! The private key that logs in: one file, its passphrase in another if it has one, both judged by their mode as `ssh`
//! does. A certificate beside it (`KEY-cert.pub`) is shown first.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, decode_secret_key};

/// A key file is some kilobytes; anything longer is the wrong file.
const MAX_BYTES: u64 = 1 << 20;

/// A key that can log in.
#[derive(Clone)]
pub struct Identity {
    /// The file it was read from.
    pub path: PathBuf,
    /// The key itself.
    pub key: Arc<PrivateKey>,
    /// The site's certificate for it.
    pub certificate: Option<Certificate>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.describe()).finish()
    }
}

/// Why a key file can't be used. A person must mend each of these.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not there, or closed to us.
    #[error("the key file {} can't be read ({err}); -keyfile names the private key that logs in, readable by this user", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        err: io::Error,
    },
    /// Its mode lets others read it.
    #[error("the key file {} is open to others (mode {mode:04o}); chmod 600 {}", .path.display(), .path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It needs a passphrase.
    #[error("the key file {} is protected by a passphrase, which a service can't type; give it with -passphrasefile, make a key of \
             its own for the tunnel (ssh-keygen -t ed25519 -N ''), or remove the passphrase (ssh-keygen -p -f {})", .path.display(), .path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase given is not its own.
    #[error("the passphrase in {} does not open the key file {}", .passphrase.display(), .path.display())]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
        /// The passphrase's file.
        passphrase: PathBuf,
    },
    /// Encrypted in a way that has long been weak.
    #[error("the key file {} is encrypted as OpenSSL did it of old, which this program can't read; rewrite it in OpenSSH's own format: \
             ssh-keygen -p -f {}", .path.display(), .path.display())]
    OldEncryption {
        /// The file.
        path: PathBuf,
    },
    /// Its passphrase can't be had.
    #[error("the passphrase file {} can't be used ({err}); it holds the passphrase in one line and is readable by this user alone", .path.display())]
    Passphrase {
        /// The passphrase's file.
        path: PathBuf,
        /// Why.
        err: io::Error,
    },
    /// The certificate beside it is not for it.
    #[error("the certificate {} can't be used ({err}); have the site sign the key anew, or remove the file", .path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        err: String,
    },
    /// It is the public half.
    #[error("{} is a public key; -keyfile wants the private one{hint}", .path.display())]
    Public {
        /// The file.
        path: PathBuf,
        /// Where it probably is.
        hint: String,
    },
    /// It is something else.
    #[error("{} is not a private key ({err}); OpenSSH, PEM and PKCS#8 files of RSA, ECDSA and Ed25519 keys are read", .path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        err: String,
    },
    /// A kind of key that this program can't sign with.
    #[error("{} holds a key of type {kind}; make an Ed25519, ECDSA or RSA key", .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The type.
        kind: String,
    },
}

impl Identity {
    /// Reads a key file, with the passphrase that is in the other file if one is given.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load(path: &Path, passphrase_file: Option<&Path>) -> Result<Self, IdentityError> {
        let text = match read_private(path) {
            Ok(text) => text,
            Err(Unreadable::TooOpen(mode)) => return Err(IdentityError::TooOpen { path: path.to_owned(), mode }),
            Err(Unreadable::Io(err)) if err.kind() == io::ErrorKind::InvalidData => {
                return Err(IdentityError::NotAKey { path: path.to_owned(), err: "it is not text".into() });
            }
            Err(Unreadable::Io(err)) => return Err(IdentityError::Unreadable { path: path.to_owned(), err }),
        };
        let passphrase = passphrase_file.map(|file| passphrase(file).map(|words| (file, words))).transpose()?;
        let opened = passphrase.as_ref().map(|(file, words)| (*file, words.as_str()));
        let mut identity = parse(path, &text, opened)?;
        identity.certificate = certificate(path, &identity.key)?;
        Ok(identity)
    }

    /// Type and fingerprint, and the certificate's name, for logs.
    #[must_use]
    pub fn describe(&self) -> String {
        let key = super::hostkeys::verify::describe(self.key.public_key());
        match &self.certificate {
            Some(certificate) => format!("{key}, certified as {:?} {}", certificate.key_id(), validity(certificate)),
            None => key,
        }
    }
}

/// Until when a certificate is good, in words.
fn validity(certificate: &Certificate) -> String {
    let time = |seconds: u64| i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    let now = Timestamp::now();
    match (time(certificate.valid_after()), time(certificate.valid_before())) {
        (Some(from), _) if now < from => format!("not before {from}"),
        (_, Some(until)) if now >= until => format!("until {until}, which is over: have it signed anew"),
        (_, Some(until)) => format!("until {until}"),
        (_, None) => "for ever".to_owned(),
    }
}

enum Unreadable {
    TooOpen(u32),
    Io(io::Error),
}

/// The text of a file that should be this user's alone.
fn read_private(path: &Path) -> Result<String, Unreadable> {
    let file = File::open(path).map_err(Unreadable::Io)?;
    let meta = file.metadata().map_err(Unreadable::Io)?;
    if !meta.is_file() {
        return Err(Unreadable::Io(io::Error::other("not a regular file")));
    }
    // Exactly ssh's rule: only the owner's own file is judged, for credentials that a service
    // manager hands over belong to root and are group-readable by way of an ACL.
    if meta.uid() == nix::unistd::getuid().as_raw() && meta.mode() & 0o077 != 0 {
        return Err(Unreadable::TooOpen(meta.mode() & 0o7777));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(Unreadable::Io)?;
    Ok(text)
}

fn passphrase(path: &Path) -> Result<String, IdentityError> {
    let unusable = |err| IdentityError::Passphrase { path: path.to_owned(), err };
    match read_private(path) {
        Ok(text) => match text.lines().next().filter(|line| !line.is_empty()) {
            Some(line) => Ok(line.to_owned()),
            None => Err(unusable(io::Error::other("it is empty"))),
        },
        Err(Unreadable::TooOpen(mode)) => Err(unusable(io::Error::other(format!(
            "it is open to others, mode {mode:04o}; chmod 600 {}",
            path.display()
        )))),
        Err(Unreadable::Io(err)) => Err(unusable(err)),
    }
}

/// `KEY-cert.pub`, where ssh looks for it too.
fn certificate(key_file: &Path, key: &PrivateKey) -> Result<Option<Certificate>, IdentityError> {
    let mut path = key_file.as_os_str().to_owned();
    path.push("-cert.pub");
    let path = PathBuf::from(path);
    let wrong = |err: String| IdentityError::Certificate { path: path.clone(), err };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(wrong(err.to_string())),
    };
    let certificate = Certificate::from_openssh(text.trim()).map_err(|err| wrong(err.to_string()))?;
    if certificate.public_key() != key.public_key().key_data() {
        return Err(wrong("it is for another key".into()));
    }
    if certificate.cert_type() != CertType::User {
        return Err(wrong("it is for a host, not for a user".into()));
    }
    if key.algorithm().is_rsa() {
        return Err(wrong("certificates of RSA keys are not supported, those of Ed25519 and ECDSA keys are".into()));
    }
    Ok(Some(certificate))
}

fn parse(path: &Path, text: &str, passphrase: Option<(&Path, &str)>) -> Result<Identity, IdentityError> {
    let path = path.to_owned();
    if is_encrypted(text) && passphrase.is_none() {
        return Err(IdentityError::Encrypted { path });
    }
    // Editors of other systems leave \r at the ends of lines and blanks around them.
    let tidy: String = text.lines().map(|l| l.trim().to_owned() + "\n").collect();
    let key = match decode_secret_key(&tidy, passphrase.map(|(_, words)| words)) {
        Ok(key) if key.is_encrypted() => return Err(IdentityError::Encrypted { path }),
        Ok(key) => key,
        Err(_) if passphrase.is_some() && tidy.lines().any(|l| l.starts_with("Proc-Type:")) => {
            return Err(IdentityError::OldEncryption { path });
        }
        // It is a key, for without a passphrase it says that it wants one.
        Err(_) if passphrase.is_some() && wants_passphrase(&tidy) => {
            let passphrase = passphrase.map_or_else(PathBuf::new, |(file, _)| file.to_owned());
            return Err(IdentityError::WrongPassphrase { path, passphrase });
        }
        Err(russh::keys::Error::KeyIsEncrypted) => return Err(IdentityError::Encrypted { path }),
        Err(_) if russh::keys::PublicKey::from_openssh(text.trim()).is_ok() => {
            let private = path.with_extension("");
            let hint = if path.extension().is_some_and(|e| e == "pub") && fs::metadata(&private).is_ok() {
                format!(": {}", private.display())
            } else {
                String::new()
            };
            return Err(IdentityError::Public { path, hint });
        }
        Err(err) => {
            return Err(IdentityError::NotAKey {
                path,
                err: if text.trim().is_empty() { "it is empty".into() } else { err.to_string() },
            });
        }
    };
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => {
            Ok(Identity { path, key: Arc::new(key), certificate: None })
        }
        other => Err(IdentityError::Unsupported { path, kind: other.to_string() }),
    }
}

fn wants_passphrase(text: &str) -> bool {
    is_encrypted(text)
        || match decode_secret_key(text, None) {
            Ok(key) => key.is_encrypted(),
            Err(err) => matches!(err, russh::keys::Error::KeyIsEncrypted),
        }
}

/// The three ways a PEM file says so; OpenSSH's own format is known only after decoding.
fn is_encrypted(text: &str) -> bool {
    text.lines()
        .any(|l| l.starts_with("-----BEGIN ENCRYPTED") || (l.starts_with("Proc-Type:") && l.contains("ENCRYPTED")))
}

/// The signature of an RSA key: SHA-2 only, by what the server announced (RFC 8308). `None` = the
/// server knows SHA-1 signatures alone.
#[must_use]
pub fn rsa_hash(announced: Option<Option<HashAlg>>) -> Option<HashAlg> {
    match announced {
        // Servers from before RFC 8308 that know SHA-2 at all know both.
        None => Some(HashAlg::Sha512),
        Some(best) => best,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    fn run(program: &str, args: &[&str]) {
        let out = Command::new(program).args(args).output().unwrap();
        assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn private(path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn every_type_and_format_that_ssh_keygen_and_openssl_write_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for kind in ["ed25519", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "rsa -b 2048"] {
            for format in ["RFC4716", "PEM", "PKCS8"] {
                if kind == "ed25519" && format == "PEM" {
                    continue; // ssh-keygen writes its own format then.
                }
                let path = dir.path().join(format!("{kind} {format}"));
                let name = path.to_str().unwrap();
                let mut args = vec!["-q", "-N", "", "-m", format, "-f", name, "-t"];
                args.extend(kind.split(' '));
                run("ssh-keygen", &args);
                let public = fs::read_to_string(format!("{name}.pub")).unwrap();
                let identity = Identity::load(&path, None).unwrap_or_else(|e| panic!("{kind} {format}: {e}"));
                let expected = russh::keys::PublicKey::from_openssh(&public).unwrap();
                assert_eq!(identity.key.public_key().key_data(), expected.key_data(), "{kind} {format}");
            }
        }
        for (name, args) in [
            ("ed25519", vec!["genpkey", "-algorithm", "ed25519"]),
            ("rsa", vec!["genpkey", "-algorithm", "RSA"]),
            ("ec", vec!["ecparam", "-name", "prime256v1", "-genkey", "-noout"]),
        ] {
            let path = dir.path().join(format!("openssl-{name}"));
            let mut args = args;
            args.extend(["-out", path.to_str().unwrap()]);
            run("openssl", &args);
            private(&path);
            Identity::load(&path, None).unwrap_or_else(|e| panic!("openssl {name}: {e}"));
        }
    }

    #[test]
    fn a_passphrase_is_named_whatever_the_format() {
        let dir = tempfile::tempdir().unwrap();
        for format in ["RFC4716", "PEM", "PKCS8"] {
            let path = dir.path().join(format);
            let name = path.to_str().unwrap();
            run("ssh-keygen", &["-q", "-t", "ecdsa", "-N", "secret", "-m", format, "-f", name]);
            let err = Identity::load(&path, None).unwrap_err();
            assert!(matches!(err, IdentityError::Encrypted { .. }), "{format}: {err}");

            let words = dir.path().join("words");
            for (content, expected) in [("secret\n", ""), ("wrong\n", "does not open"), ("", "it is empty")] {
                fs::write(&words, content).unwrap();
                private(&words);
                // OpenSSL's old way is not read with any passphrase.
                let expected = if format == "PEM" && !content.is_empty() { "ssh-keygen -p" } else { expected };
                let said = Identity::load(&path, Some(&words)).err().map(|e| e.to_string()).unwrap_or_default();
                assert!(
                    said.contains(expected) && said.is_empty() == expected.is_empty(),
                    "{format} {content}: {said}"
                );
            }
            fs::set_permissions(&words, fs::Permissions::from_mode(0o644)).unwrap();
            let err = Identity::load(&path, Some(&words)).unwrap_err().to_string();
            assert!(err.contains("chmod 600"), "{err}");
        }
    }

    #[test]
    fn a_certificate_beside_the_key_is_read_and_must_be_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["ca", "key", "other"] {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", at(name).to_str().unwrap()]);
        }
        let sign = |more: &[&str], key: &str| {
            let (ca, public) = (at("ca"), at(&format!("{key}.pub")));
            let args =
                [&["-q", "-s", ca.to_str().unwrap(), "-I", "me@site"], more, &[public.to_str().unwrap()]].concat();
            run("ssh-keygen", &args);
        };
        sign(&["-n", "me", "-V", "-1h:+1h"], "key");
        let identity = Identity::load(&at("key"), None).unwrap();
        assert!(identity.certificate.is_some());
        assert!(identity.describe().contains("certified as \"me@site\" until 2"), "{}", identity.describe());
        sign(&["-n", "me", "-V", "-2h:-1h"], "key");
        let described = Identity::load(&at("key"), None).unwrap().describe();
        assert!(described.contains("which is over"), "{described}");

        sign(&["-h", "-n", "me"], "key");
        let err = Identity::load(&at("key"), None).unwrap_err().to_string();
        assert!(err.contains("it is for a host"), "{err}");
        sign(&["-n", "me"], "other");
        fs::rename(at("other-cert.pub"), at("key-cert.pub")).unwrap();
        let err = Identity::load(&at("key"), None).unwrap_err().to_string();
        assert!(err.contains("it is for another key"), "{err}");
    }

    #[test]
    fn a_file_that_is_no_private_key_is_refused_with_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let public = include_str!("hostkeys/testdata/known_hosts").lines().next().unwrap().split_once(' ').unwrap().1;
        for (content, expected) in [
            ("", "it is empty"),
            ("hello\n", "not a private key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "not a private key"),
            (public, "public key"),
        ] {
            let path = dir.path().join("key");
            fs::write(&path, content).unwrap();
            private(&path);
            let err = Identity::load(&path, None).unwrap_err().to_string();
            assert!(err.contains(expected), "{err}");
        }
        let err = Identity::load(&dir.path().join("none"), None).unwrap_err();
        assert!(matches!(err, IdentityError::Unreadable { .. }), "{err}");
        let err = Identity::load(dir.path(), None).unwrap_err();
        assert!(matches!(err, IdentityError::Unreadable { .. }), "{err}");
    }

    #[test]
    fn a_key_open_to_others_is_refused_as_ssh_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()]);
        for (mode, open) in [(0o600, false), (0o400, false), (0o640, true), (0o644, true), (0o601, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let err = Identity::load(&path, None).err();
            assert_eq!(matches!(err, Some(IdentityError::TooOpen { .. })), open, "{mode:o}: {err:?}");
        }
    }

    #[test]
    fn rsa_keys_sign_with_sha2_or_not_at_all() {
        assert_eq!(rsa_hash(None), Some(HashAlg::Sha512));
        assert_eq!(rsa_hash(Some(Some(HashAlg::Sha256))), Some(HashAlg::Sha256));
        assert_eq!(rsa_hash(Some(None)), None);
    }
}
