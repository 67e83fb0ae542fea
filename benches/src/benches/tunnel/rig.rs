//! A server, and tunnels through it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use interlink_testkit::dirs::TestDir;
use interlink_testkit::network::Link;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::sshd::{KeyPair, KeyType, Options, Sshd};
use interlink_testkit::users::User;
use interlink_testkit::{binaries, wait};
use tokio::process::Child;

use super::service::Order;

/// The name of what a user would pick instead.
pub(super) const PEER: &str = "ssh -L";
/// Stands where there is nobody to compare with, but a figure to keep to.
pub(super) const LIMIT: &str = "the limit";
/// The first choice of ssh-tunnel where the processor computes AES.
pub(super) const CIPHER: &str = "aes256-gcm@openssh.com";

/// For anything that works.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A server, on loopback or behind a link.
#[derive(Debug)]
pub(super) struct Site {
    sshd: Sshd,
    user: String,
    key: KeyPair,
    link: Option<Link>,
    dir: TestDir,
}

impl Site {
    /// On loopback, with lines of sshd_config.
    pub(super) async fn new(lines: &[&str]) -> Self {
        Self::behind(None, lines).await
    }

    /// At the far end of a link.
    pub(super) async fn behind(link: Option<Link>, lines: &[&str]) -> Self {
        let lines = lines.iter().copied().chain(["LogLevel ERROR"]).map(str::to_owned).collect();
        let namespace = link.as_ref().map(|link| (link.far().clone(), Link::FAR));
        let sshd =
            Sshd::start(Options { lines, namespace, host_keys: vec![KeyType::Ed25519], ..Options::default() }).await;
        let user = User::current().name;
        let key = sshd.key_pair("key", KeyType::Ed25519);
        sshd.authorize(&user, "", &key);
        Self { sshd, user, key, link, dir: TestDir::new() }
    }

    /// The server.
    pub(super) fn sshd(&self) -> &Sshd {
        &self.sshd
    }

    /// What is between here and the server, if anything.
    pub(super) fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// ssh-tunnel to a port at the server, once it carries connections.
    pub(super) async fn ours(&self, name: &str, port: u16, extra: &[&str]) -> anyhow::Result<Tunnel> {
        let (socket, log) = (self.dir.join(format!("{name}.sock")), self.dir.join(format!("{name}.log")));
        let mut launch = Launch::new(binaries::path("ssh-tunnel"), &log)
            .args(["-addr", &format!("{}:{}", self.sshd.address(), self.sshd.port()), "-user", &self.user])
            .arg("-keyfile")
            .arg(self.key.private())
            .arg("-hostkeyfile")
            .arg(self.dir.write("host_key", self.sshd.known_hosts()))
            .arg("-lsock")
            .arg(&socket)
            .args(["-rport", &port.to_string()])
            .arg("-state")
            .arg(self.dir.join(format!("{name}.state")))
            .args(extra.iter().copied())
            .env("RUNTIME_DIRECTORY", self.dir.path());
        if let Some(link) = &self.link {
            launch = launch.namespace(link.near().clone());
        }
        Tunnel::once_ready(Program::Ours(launch.start()), socket, &log).await
    }

    /// `ssh -N -L` to the same port, once it carries connections.
    pub(super) async fn peer(&self, name: &str, port: u16, extra: &[&str]) -> anyhow::Result<Tunnel> {
        let (socket, log) = (self.dir.join(format!("{name}.sock")), self.dir.join(format!("{name}.log")));
        let mut command = match &self.link {
            Some(link) => self.sshd.ssh_from(link.near(), &self.user, &self.key),
            None => self.sshd.ssh(&self.user, &self.key),
        };
        let ssh = command
            .args(extra)
            .args(["-N", "-o", "ExitOnForwardFailure=yes", "-L"])
            .arg(format!("{}:localhost:{port}", socket.display()))
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("ssh can't be started")?;
        Tunnel::once_ready(Program::Ssh(ssh), socket, &log).await
    }
}

#[derive(Debug)]
enum Program {
    Ours(Daemon),
    Ssh(Child),
}

/// A tunnel that runs. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Tunnel {
    program: Program,
    /// Where it listens.
    pub(super) socket: PathBuf,
    /// Where ours tells how it is.
    pub(super) state: PathBuf,
}

impl Tunnel {
    async fn once_ready(program: Program, socket: PathBuf, log: &Path) -> anyhow::Result<Self> {
        let state = socket.with_extension("state");
        let tunnel = Self { program, socket, state };
        wait::until(&format!("{} to carry a connection", tunnel.socket.display()), PATIENCE, async || {
            tunnel
                .probe(PATIENCE)
                .await
                .map_err(|error| format!("{error:#}; its log: {}", std::fs::read_to_string(log).unwrap_or_default()))
        })
        .await;
        Ok(tunnel)
    }

    /// The number of its process.
    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        match &self.program {
            Program::Ours(daemon) => Ok(daemon.pid()),
            Program::Ssh(child) => child.id().context("ssh has ended"),
        }
    }

    /// A connection through it with that order given.
    pub(super) fn ask(&self, order: Order) -> anyhow::Result<UnixStream> {
        ask(&self.socket, order)
    }

    /// Whether a new connection is carried there and back within `patience`.
    pub(super) async fn probe(&self, patience: Duration) -> anyhow::Result<()> {
        let socket = self.socket.clone();
        tokio::task::spawn_blocking(move || {
            let mut stream = ask(&socket, Order::Echo)?;
            stream.set_read_timeout(Some(patience))?;
            stream.write_all(&[1])?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            ensure!(answer == [1], "the answer is another one");
            Ok(())
        })
        .await?
    }
}

/// A connection to that socket with that order given.
pub(super) fn ask(socket: &Path, order: Order) -> anyhow::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    // A tunnel that hangs is an error, not an endless benchmark.
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&order.header())?;
    Ok(stream)
}
