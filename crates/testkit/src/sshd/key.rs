//! Key pairs, by ssh-keygen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kinds of keys that sites have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// `ssh-ed25519`
    Ed25519,
    /// `ecdsa-sha2-nistp256`
    Ecdsa,
    /// `ssh-rsa`, 3072 bits
    Rsa,
}

impl KeyType {
    /// What `ssh-keygen -t` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        }
    }
}

/// A key pair without a passphrase, in two files.
#[derive(Debug, Clone)]
pub struct KeyPair {
    private: PathBuf,
    public: String,
}

impl KeyPair {
    /// Makes `path` and `path.pub`, owned by the user of the test.
    ///
    /// # Panics
    /// When ssh-keygen is missing or fails.
    pub fn generate(path: impl Into<PathBuf>, kind: KeyType) -> Self {
        let private = path.into();
        let output = Command::new("ssh-keygen")
            .args(["-q", "-t", kind.name(), "-N", "", "-C", "testkit", "-f"])
            .arg(&private)
            .output()
            .expect("ssh-keygen is missing: run scripts/setup once as root");
        assert!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
        let mut file = private.clone().into_os_string();
        file.push(".pub");
        let public = fs::read_to_string(file).expect("ssh-keygen has just written it").trim().to_owned();
        Self { private, public }
    }

    /// The file of the private key.
    pub fn private(&self) -> &Path {
        &self.private
    }

    /// The public key's line: type, base64, comment.
    pub fn public(&self) -> &str {
        &self.public
    }
}
