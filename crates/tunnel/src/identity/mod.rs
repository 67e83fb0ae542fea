//! What logs in: a private key in a file, or one that an SSH agent signs with. A certificate beside the file
//! (`KEY-cert.pub`) is shown first.
//!
//! | module | what |
//! |---|---|
//! | `keyfile` | one key file, read and judged |
//! | `sealed` | encrypted files of OpenSSL |
//! | [`pen`] | signs, by itself or by the agent |
//! | [`error`] | why there is no key |

pub mod error;
mod keyfile;
pub mod pen;
mod sealed;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, PrivateKey, PublicKey};

pub use error::IdentityError;
use keyfile::Content;

/// Where the key comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The file with the private key, or with the public half of a key that the agent has. Without it, every key of the agent
    /// is tried.
    pub key_file: Option<PathBuf>,
    /// The file with its passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// The agent's socket.
    pub agent: Option<PathBuf>,
}

/// A key that can log in.
#[derive(Clone)]
pub struct Identity {
    /// The file it was read from.
    pub path: Option<PathBuf>,
    /// What signs.
    pub secret: Secret,
    /// The site's certificate for it.
    pub certificate: Option<Certificate>,
}

/// What signs.
#[derive(Clone)]
pub enum Secret {
    /// The key itself.
    Key(Arc<PrivateKey>),
    /// The agent that listens on `socket`.
    Agent {
        /// Its socket.
        socket: PathBuf,
        /// The one key of it that is meant; all of them if `None`.
        only: Option<Box<PublicKey>>,
    },
    /// The system's `ssh`, by its configuration.
    Ssh,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.describe()).finish()
    }
}

impl Identity {
    /// Reads the files. Whether the agent is there, and has the key, is seen only when it is to log in: it may come later.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load(source: &Source) -> Result<Self, IdentityError> {
        let Some(path) = &source.key_file else {
            let socket = source.agent.clone().ok_or(IdentityError::Nothing)?;
            return Ok(Self { path: None, secret: Secret::Agent { socket, only: None }, certificate: None });
        };
        let agent = |only: PublicKey| match &source.agent {
            Some(socket) => Ok(Secret::Agent { socket: socket.clone(), only: Some(Box::new(only)) }),
            None => Err(IdentityError::Public { path: path.clone(), hint: keyfile::private_half(path) }),
        };
        let read = match keyfile::read(path, source.passphrase_file.as_deref()) {
            // As ssh does: the agent may have it open.
            Err(IdentityError::Encrypted { path }) if source.agent.is_some() => {
                keyfile::read_public(&path).ok_or(IdentityError::Encrypted { path })?
            }
            read => read?,
        };
        let (secret, certificate) = match read {
            Content::Private(key) => {
                let certificate = certificate(path, key.public_key().key_data())?;
                (Secret::Key(key), certificate)
            }
            Content::Public(key) => {
                let certificate = certificate(path, key.key_data())?;
                (agent(key)?, certificate)
            }
            Content::Certificate(found) => {
                let key = PublicKey::new(found.public_key().clone(), "");
                let found = for_key(*found, key.key_data())
                    .map_err(|err| IdentityError::Certificate { path: path.clone(), err })?;
                (agent(key)?, Some(found))
            }
        };
        Ok(Self { path: Some(path.clone()), secret, certificate })
    }

    /// What the system's `ssh` logs in with.
    #[must_use]
    pub fn of_ssh(source: &Source) -> Self {
        Self { path: source.key_file.clone(), secret: Secret::Ssh, certificate: None }
    }

    /// Its public half, where one key is meant.
    #[must_use]
    pub fn public(&self) -> Option<&PublicKey> {
        match &self.secret {
            Secret::Key(key) => Some(key.public_key()),
            Secret::Agent { only, .. } => only.as_deref(),
            Secret::Ssh => None,
        }
    }

    /// Type and fingerprint, and the certificate's name, for logs.
    #[must_use]
    pub fn describe(&self) -> String {
        if matches!(self.secret, Secret::Ssh) {
            return self.name();
        }
        let key = match self.public() {
            Some(key) => super::hostkeys::verify::describe(key),
            None => "any key".to_owned(),
        };
        let held = match &self.secret {
            Secret::Key(_) | Secret::Ssh => String::new(),
            Secret::Agent { socket, .. } => format!(" of the SSH agent at {}", socket.display()),
        };
        match &self.certificate {
            Some(certificate) => {
                format!("{key}{held}, certified as {:?} {}", certificate.key_id(), validity(certificate))
            }
            None => format!("{key}{held}"),
        }
    }

    /// How a person calls it.
    #[must_use]
    pub fn name(&self) -> String {
        match (&self.path, &self.secret) {
            (Some(path), _) => format!("the key {}", path.display()),
            (None, Secret::Agent { socket, .. }) => format!("the keys of the SSH agent at {}", socket.display()),
            (None, Secret::Key(_)) => "the key".to_owned(),
            (None, Secret::Ssh) => "whatever ssh_config says".to_owned(),
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

/// `KEY-cert.pub`, where ssh looks for it too.
fn certificate(key_file: &Path, key: &KeyData) -> Result<Option<Certificate>, IdentityError> {
    let stem = match key_file.extension() {
        Some(extension) if extension == "pub" => key_file.with_extension(""),
        _ => key_file.to_owned(),
    };
    let mut path = stem.into_os_string();
    path.push("-cert.pub");
    let path = PathBuf::from(path);
    let wrong = |err: String| IdentityError::Certificate { path: path.clone(), err };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(wrong(err.to_string())),
    };
    let certificate = Certificate::from_openssh(text.trim()).map_err(|err| wrong(err.to_string()))?;
    for_key(certificate, key).map(Some).map_err(wrong)
}

/// The certificate, if it is one of a user for this key.
fn for_key(certificate: Certificate, key: &KeyData) -> Result<Certificate, String> {
    if certificate.public_key() != key {
        return Err("it is for another key".into());
    }
    if certificate.cert_type() != CertType::User {
        return Err("it is for a host, not for a user".into());
    }
    Ok(certificate)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    fn file(path: &Path) -> Source {
        Source { key_file: Some(path.to_owned()), ..Source::default() }
    }

    fn sealed(path: &Path, words: &Path) -> Source {
        Source { passphrase_file: Some(words.to_owned()), ..file(path) }
    }

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
                let identity = Identity::load(&file(&path)).unwrap_or_else(|e| panic!("{kind} {format}: {e}"));
                let expected = russh::keys::PublicKey::from_openssh(&public).unwrap();
                assert_eq!(identity.public().unwrap().key_data(), expected.key_data(), "{kind} {format}");
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
            Identity::load(&file(&path)).unwrap_or_else(|e| panic!("openssl {name}: {e}"));
        }
    }

    #[test]
    fn a_passphrase_is_named_whatever_the_format() {
        let dir = tempfile::tempdir().unwrap();
        for format in ["RFC4716", "PEM", "PKCS8"] {
            let path = dir.path().join(format);
            let name = path.to_str().unwrap();
            run("ssh-keygen", &["-q", "-t", "ecdsa", "-N", "secret", "-m", format, "-f", name]);
            let err = Identity::load(&file(&path)).unwrap_err();
            assert!(matches!(err, IdentityError::Encrypted { .. }), "{format}: {err}");

            let words = dir.path().join("words");
            for (content, expected) in [("secret\n", ""), ("wrong\n", "does not open"), ("", "it is empty")] {
                fs::write(&words, content).unwrap();
                private(&words);
                let said = Identity::load(&sealed(&path, &words)).err().map(|e| e.to_string()).unwrap_or_default();
                assert!(
                    said.contains(expected) && said.is_empty() == expected.is_empty(),
                    "{format} {content}: {said}"
                );
            }
            fs::set_permissions(&words, fs::Permissions::from_mode(0o644)).unwrap();
            let err = Identity::load(&sealed(&path, &words)).unwrap_err().to_string();
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
        let identity = Identity::load(&file(&at("key"))).unwrap();
        assert!(identity.certificate.is_some());
        assert!(identity.describe().contains("certified as \"me@site\" until 2"), "{}", identity.describe());
        sign(&["-n", "me", "-V", "-2h:-1h"], "key");
        let described = Identity::load(&file(&at("key"))).unwrap().describe();
        assert!(described.contains("which is over"), "{described}");

        sign(&["-h", "-n", "me"], "key");
        let err = Identity::load(&file(&at("key"))).unwrap_err().to_string();
        assert!(err.contains("it is for a host"), "{err}");
        sign(&["-n", "me"], "other");
        fs::rename(at("other-cert.pub"), at("key-cert.pub")).unwrap();
        let err = Identity::load(&file(&at("key"))).unwrap_err().to_string();
        assert!(err.contains("it is for another key"), "{err}");
    }

    #[test]
    fn a_file_that_is_no_private_key_is_refused_with_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let public =
            include_str!("../hostkeys/testdata/known_hosts").lines().next().unwrap().split_once(' ').unwrap().1;
        for (content, expected) in [
            ("", "it is empty"),
            ("hello\n", "not a private key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "not a private key"),
            (public, "must be in an SSH agent"),
        ] {
            let path = dir.path().join("key");
            fs::write(&path, content).unwrap();
            private(&path);
            let err = Identity::load(&file(&path)).unwrap_err().to_string();
            assert!(err.contains(expected), "{err}");
        }
        let err = Identity::load(&file(&dir.path().join("none"))).unwrap_err();
        assert!(matches!(err, IdentityError::Unreadable { .. }), "{err}");
        let err = Identity::load(&file(dir.path())).unwrap_err();
        assert!(matches!(err, IdentityError::Unreadable { .. }), "{err}");
    }

    #[test]
    fn a_key_open_to_others_is_refused_as_ssh_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()]);
        for (mode, open) in [(0o600, false), (0o400, false), (0o640, true), (0o644, true), (0o601, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let err = Identity::load(&file(&path)).err();
            assert_eq!(matches!(err, Some(IdentityError::TooOpen { .. })), open, "{mode:o}: {err:?}");
        }
    }
}
