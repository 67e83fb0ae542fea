//! The server.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::config::sshd_config;
use super::{KeyPair, KeyType};
use crate::dirs::TestDir;
use crate::network::Namespace;
use crate::ports::free_port;
use crate::process::{Daemon, Launch, Signal, leftovers};
use crate::users::{User, is_root};
use crate::wait;

/// How a server differs from the usual one.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who runs it; the user of the test unless said otherwise. Anyone but root lets only themselves in.
    pub user: Option<User>,
    /// Lines of sshd_config. They win over the testkit's own; `Match` blocks may follow.
    pub lines: Vec<String>,
    /// The host keys it has.
    pub host_keys: Vec<KeyType>,
    /// The network that it is in, and its address there; this machine's loopback unless said otherwise.
    pub namespace: Option<(Namespace, Ipv4Addr)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user: None,
            lines: Vec::new(),
            host_keys: vec![KeyType::Ed25519, KeyType::Ecdsa, KeyType::Rsa],
            namespace: None,
        }
    }
}

/// A running server. Dropped, it ends with all its sessions.
#[derive(Debug)]
pub struct Sshd {
    daemon: Daemon,
    port: u16,
    namespace: Option<(Namespace, Ipv4Addr)>,
    host_keys: Vec<KeyPair>,
    dir: TestDir,
}

impl Sshd {
    /// Starts one, and returns when it accepts connections. Nobody is authorized yet.
    ///
    /// # Panics
    /// When sshd is missing, refuses its configuration, or is not ready in time.
    pub async fn start(options: Options) -> Self {
        let program = Path::new("/usr/sbin/sshd");
        assert!(program.exists(), "sshd is missing: run scripts/setup once as root");
        let dir = TestDir::new();
        let port = free_port();
        let address = options.namespace.as_ref().map_or(Ipv4Addr::LOCALHOST, |(_, address)| *address);
        let config = sshd_config(dir.path(), address, port, &options.host_keys, &options.lines);
        let config = dir.write("sshd_config", config);
        let host_keys: Vec<KeyPair> = options
            .host_keys
            .iter()
            .map(|kind| KeyPair::generate(dir.join(format!("host_{}", kind.name())), *kind))
            .collect();
        let mut launch = Launch::new(program, dir.join("sshd.log"))
            .args(["-D", "-E"])
            .arg(dir.join("sshd.log"))
            .arg("-f")
            .arg(&config);
        if let Some((namespace, _)) = &options.namespace {
            launch = launch.namespace(namespace.clone());
        }
        match &options.user {
            Some(user) => {
                // it opens its log by itself
                let log = dir.write("sshd.log", "");
                for path in host_keys.iter().map(KeyPair::private).chain([dir.path(), &log]) {
                    chown(path, Some(user.uid), Some(user.gid)).expect("only root starts an sshd of another user");
                }
                launch = launch.user(&user.name);
            }
            // its home for privilege separation, which Debian's unit makes at boot
            None if is_root() => fs::create_dir_all("/run/sshd").expect("root may do that"),
            None => {}
        }
        let sshd = Self { daemon: launch.start(), port, namespace: options.namespace, host_keys, dir };
        sshd.ready().await;
        sshd
    }

    /// Waits until it accepts connections.
    ///
    /// # Panics
    /// When it has ended or time is up.
    pub async fn ready(&self) {
        wait::until("sshd to accept connections", Duration::from_secs(20), async || {
            self.daemon.assert_running();
            // without a byte sent, which it would log as a protocol error
            let dial = || TcpStream::connect_timeout(&(self.address(), self.port).into(), Duration::from_secs(1));
            match &self.namespace {
                Some((namespace, _)) => namespace.within(dial),
                None => dial(),
            }
        })
        .await;
    }

    /// Where it listens: 127.0.0.1, but for one in a network of its own.
    pub fn address(&self) -> Ipv4Addr {
        self.namespace.as_ref().map_or(Ipv4Addr::LOCALHOST, |(_, address)| *address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory with its files; the user who runs it may write there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The listener. Killing it leaves the sessions alone.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// What it has logged (at DEBUG1).
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Stops the listener and starts it again on the same port with the same keys; sessions go on.
    pub async fn restart(&self) {
        self.daemon.restart().await;
        self.ready().await;
    }

    /// Lets a key in as `user`, with the restrictions of an authorized_keys line (`restrict,command="…"`) or
    /// without (`""`). Earlier keys stay.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn authorize(&self, user: &str, restrictions: &str, key: &KeyPair) {
        let line = format!("{restrictions} {}\n", key.public());
        let before = fs::read_to_string(self.authorized_keys(user)).unwrap_or_default();
        self.set_authorized_keys(user, &(before + line.trim_start()));
    }

    /// Replaces all authorized keys of `user`.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set_authorized_keys(&self, user: &str, text: &str) {
        let path = self.authorized_keys(user);
        fs::write(&path, text).expect("a test's own directory must be writable");
        // sshd reads it as that user
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("the mode of one's own file can be set");
    }

    /// The file with the authorized keys of `user`.
    pub fn authorized_keys(&self, user: &str) -> PathBuf {
        self.dir.join(format!("authorized_keys.{user}"))
    }

    /// Makes a key pair beside the server's files.
    pub fn key_pair(&self, name: &str, kind: KeyType) -> KeyPair {
        KeyPair::generate(self.dir.join(name), kind)
    }

    /// The host keys it has.
    pub fn host_keys(&self) -> &[KeyPair] {
        &self.host_keys
    }

    /// The known_hosts lines for it, one per host key, by the names 127.0.0.1 and localhost, and its address
    /// where that is another one.
    pub fn known_hosts(&self) -> String {
        let port = self.port;
        let other = self.namespace.as_ref().map(|(_, address)| format!("[{address}]:{port},")).unwrap_or_default();
        let line = |key: &KeyPair| format!("{other}[127.0.0.1]:{port},[localhost]:{port} {}\n", key.public());
        self.host_keys.iter().map(line).collect()
    }

    /// The processes of its open sessions.
    ///
    /// # Panics
    /// When `ss` is missing.
    pub fn sessions(&self) -> BTreeSet<u32> {
        let mut command = match &self.namespace {
            Some((namespace, _)) => namespace.command("ss"),
            None => Command::new("ss"),
        };
        let output = command
            .args(["-Htnp", &format!("sport = :{}", self.port)])
            .output()
            .expect("ss is missing: run scripts/setup once as root");
        let text = String::from_utf8_lossy(&output.stdout);
        let pids = text.split("pid=").skip(1).filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        pids.filter_map(|pid| pid.parse().ok()).filter(|pid| *pid != self.daemon.pid()).collect()
    }

    /// Sends a signal to the processes of all sessions: SIGSTOP freezes them, SIGCONT thaws them.
    pub fn signal_sessions(&self, signal: Signal) {
        leftovers::signal(&self.sessions(), signal);
    }

    /// Kills all sessions with SIGKILL; the listener goes on, and so do the commands that the sessions run.
    pub fn kill_sessions(&self) {
        self.signal_sessions(Signal::SIGKILL);
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // first, so that nobody reconnects
        self.daemon.kill9();
        // with what they run, which outlives them otherwise
        let all = leftovers::with_descendants(self.sessions().into_iter().collect());
        leftovers::signal(&all, Signal::SIGKILL);
    }
}
