//! The demo's two SSH key pairs, made afresh for each: the server's and the tunnel's.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use interlink_daemon::Failure;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};

use super::place::Place;

/// Files of the keys.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The server's private key.
    pub host: PathBuf,
    /// The server's public key, for `-hostkeyfile`.
    pub host_public: PathBuf,
    /// The tunnel's private key.
    pub client: PathBuf,
    /// The tunnel's public key, for our own server.
    pub client_public: PathBuf,
    /// The tunnel's public key with what it may do, for sshd.
    pub authorized: PathBuf,
}

impl Keys {
    /// Makes both pairs.
    ///
    /// # Errors
    /// [`Failure`] where a file can't be written.
    pub fn make(place: &Place) -> Result<Self, Failure> {
        let keys = Self {
            host: place.remote().join("host_key"),
            host_public: place.join("host_key.pub"),
            client: place.join("tunnel_key"),
            client_public: place.join("tunnel_key.pub"),
            authorized: place.remote().join("authorized_keys"),
        };
        let host = pair(&keys.host)?;
        let client = pair(&keys.client)?;
        write(&keys.host_public, &format!("{host}\n"))?;
        write(&keys.client_public, &format!("{client}\n"))?;
        // Forwarding is all that it may do. sshd can't narrow it to one socket.
        write(&keys.authorized, &format!("restrict,port-forwarding,command=\"/bin/false\" {client}\n"))?;
        Ok(keys)
    }
}

/// Writes a new private key; the public one as text.
fn pair(file: &Path) -> Result<String, Failure> {
    let failed = |e: russh::keys::ssh_key::Error| Failure::failed(format!("can't make an SSH key: {e}"));
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(failed)?;
    write(file, &key.to_openssh(LineEnding::LF).map_err(failed)?)?;
    key.public_key().to_openssh().map_err(failed)
}

/// Writes a private file.
///
/// # Errors
/// [`Failure`] naming it.
pub fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    opened
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .map_err(|e| Failure::failed(format!("can't write {}: {e}", file.display())))
}
