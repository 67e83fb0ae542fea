//! Why there is no key to log in with, for the person who must mend it.

use std::io;
use std::path::PathBuf;

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
    #[error("the key file {} is protected by a passphrase, which a service can't type; give it with -passphrasefile, add the key to an SSH agent (ssh-add, and -identityagent), make a key of \
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
    /// Encrypted in a way that this program does not know.
    #[error("the key file {} is encrypted with {cipher}, which this program can't read; rewrite it in OpenSSH's own format: \
             ssh-keygen -p -f {}", .path.display(), .path.display())]
    Cipher {
        /// The file.
        path: PathBuf,
        /// How it is encrypted.
        cipher: String,
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
    /// It is the public half, and there is no agent that could have the private one.
    #[error("{} is a public key, so the private one must be in an SSH agent, but neither -identityagent nor SSH_AUTH_SOCK names \
             one; start an agent, or give -keyfile the private key{hint}", .path.display())]
    Public {
        /// The file.
        path: PathBuf,
        /// Where it probably is.
        hint: String,
    },
    /// Neither a file nor an agent.
    #[error(
        "there is no key to log in with: -keyfile names no file, and neither -identityagent nor SSH_AUTH_SOCK an SSH agent"
    )]
    Nothing,
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
