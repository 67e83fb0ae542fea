//! The SSH server of the demo: the system's sshd, run by the current user on a loopback port, or our own where the
//! system's is missing or would refuse this user.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use interlink_daemon::Failure;
use nix::unistd::{User, geteuid};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Disconnect, client};

use super::keys::{Keys, write};
use super::place::Place;
use super::program::Program;

/// A server that can be started, and how it is reached.
#[derive(Debug)]
pub struct Server {
    /// To start.
    pub program: Program,
    /// On 127.0.0.1.
    pub port: u16,
    /// The account that the tunnel logs in as.
    pub user: String,
    /// What it is, for a person.
    pub what: String,
}

/// Prepares the system's sshd, or where there is none that would let this user in, our own.
///
/// # Errors
/// [`Failure`] where its files can't be written or no port is free.
pub fn prepare(place: &Place, keys: &Keys) -> Result<Server, Failure> {
    let account = User::from_uid(geteuid()).ok().flatten();
    let system = match &account {
        Some(user) => system_sshd().ok_or("there is no sshd").and_then(|file| admits(user).map(|()| (file, user))),
        None => Err("this user has no account"),
    };
    let (file, user) = match system {
        Ok((file, user)) => (file, user.name.clone()),
        Err(why) => return own(place, keys, why),
    };
    let port = free_port()?;
    let config = place.remote().join("sshd_config");
    write(&config, &sshd_config(place, keys, port, &user))?;
    let args = ["-D".into(), "-e".into(), "-f".into(), config.into()].into();
    let what = format!("{} on 127.0.0.1:{port}, as {user}", file.display());
    Ok(Server { program: Program { name: "sshd", file, args, env: Vec::new() }, port, user, what })
}

/// Prepares our own server, which stands in because of `why`.
///
/// # Errors
/// [`Failure`] where no port is free.
pub fn own(place: &Place, keys: &Keys, why: &str) -> Result<Server, Failure> {
    let port = free_port()?;
    let file = super::own_file()?;
    let files = [&keys.host, &keys.client_public, &place.remote_socket()].map(|p| p.clone().into_os_string());
    let args = ["internal", "sshd", &port.to_string()].map(Into::into).into_iter().chain(files).collect();
    let what = format!("our own on 127.0.0.1:{port}, because {why}");
    Ok(Server { program: Program { name: "sshd", file, args, env: Vec::new() }, port, user: "demo".into(), what })
}

fn system_sshd() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|dir| dir.join("sshd"));
    ["/usr/sbin/sshd", "/usr/local/sbin/sshd"]
        .map(PathBuf::from)
        .into_iter()
        .chain(places)
        // It refuses to run by a relative path.
        .find(|file| file.is_absolute() && nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok())
}

/// Whether sshd would let `user` in by key; else why not.
fn admits(user: &User) -> Result<(), &'static str> {
    if !user.shell.as_os_str().is_empty() && !user.shell.exists() {
        return Err("sshd refuses accounts whose shell does not exist");
    }
    if !user.uid.is_root() {
        return Ok(());
    }
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    let password = shadow.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| *name == user.name);
    if password.is_some_and(|(_, rest)| rest.starts_with('!')) {
        return Err("sshd refuses locked accounts and root's is locked");
    }
    // Where sshd of root puts its unprivileged half; Debian's unit makes it at boot.
    match std::fs::create_dir_all("/run/sshd") {
        Ok(()) => Ok(()),
        Err(_) => Err("sshd of root needs /run/sshd"),
    }
}

fn sshd_config(place: &Place, keys: &Keys, port: u16, user: &str) -> String {
    let (host, authorized) = (keys.host.display(), keys.authorized.display());
    let pid = place.remote().join("sshd.pid");
    format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nPidFile {pid}\nAuthorizedKeysFile {authorized}\nAllowUsers {user}\n\
         # its directory lies below /tmp, which all may write\nStrictModes no\n\
         UsePAM no\nUseDNS no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPubkeyAuthentication yes\n\
         PermitRootLogin prohibit-password\nAllowTcpForwarding local\nAllowStreamLocalForwarding local\nGatewayPorts no\n\
         PermitTTY no\nX11Forwarding no\nAllowAgentForwarding no\nPermitTunnel no\nMaxSessions 100\nLogLevel VERBOSE\n",
        pid = pid.display(),
    )
}

/// A port that nobody has now. Another process may take it before sshd does; then sshd says so and the demo ends.
fn free_port() -> Result<u16, Failure> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| Failure::failed(format!("no port on 127.0.0.1 is free: {e}")))
}

/// A login that opens nothing: only then does it count as up, because sshd refuses accounts for many reasons, and in
/// some sandboxes dies after its greeting.
#[derive(Debug)]
pub struct Login {
    port: u16,
    user: String,
    key: Arc<PrivateKey>,
    host: PublicKey,
}

impl Login {
    /// Of the tunnel's key at `server`.
    ///
    /// # Errors
    /// [`Failure`] where the keys can't be read.
    pub fn new(server: &Server, keys: &Keys) -> Result<Self, Failure> {
        let wrong = |e: russh::keys::ssh_key::Error| Failure::failed(format!("the demo's SSH keys can't be read: {e}"));
        let key = PrivateKey::from_openssh(read(&keys.client)?).map_err(wrong)?;
        let host = PublicKey::from_openssh(read(&keys.host_public)?.trim()).map_err(wrong)?;
        Ok(Self { port: server.port, user: server.user.clone(), key: Arc::new(key), host })
    }

    /// Logs in once.
    ///
    /// # Errors
    /// Why it didn't.
    pub async fn once(&self) -> Result<(), String> {
        let config = Arc::new(client::Config::default());
        let host = HostKey(self.host.clone());
        let connecting = client::connect(config, ("127.0.0.1", self.port), host).await;
        let mut session = connecting.map_err(|e| format!("the handshake failed: {e}"))?;
        let key = PrivateKeyWithHashAlg::new(self.key.clone(), None);
        let answer =
            session.authenticate_publickey(&self.user, key).await.map_err(|e| format!("the login failed: {e}"))?;
        let _ = session.disconnect(Disconnect::ByApplication, "checked", "").await;
        if answer.success() { Ok(()) } else { Err(format!("it does not let {} in", self.user)) }
    }
}

/// The only host key that is the demo's.
struct HostKey(PublicKey);

impl client::Handler for HostKey {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = offered else { return Ok(false) };
        Ok(key.key_data() == self.0.key_data())
    }
}

/// Reads a file of [`Keys`].
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|e| Failure::failed(format!("can't read {}: {e}", file.display())))
}
