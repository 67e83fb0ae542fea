//! A server, a service behind it, and the tunnel between.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interlink_daemon::state::ProgramState;
use interlink_testkit::dirs::TestDir;
use interlink_testkit::network::Link;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::sshd::{KeyPair, KeyType, Options, Sshd};
use interlink_testkit::users::User;
use interlink_testkit::wait;
use interlink_transport::{Call, Client, Endpoint};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// Long enough for a machine that runs other tests beside this one.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The user that logs in: the one of the test, so that an sshd of any user lets it in.
pub(crate) fn me() -> String {
    User::current().name
}

/// A server that lets `key` in.
pub(crate) struct Site {
    pub(crate) sshd: Sshd,
    pub(crate) key: KeyPair,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with("", &[]).await
    }

    /// With restrictions in authorized_keys and lines in sshd_config.
    pub(crate) async fn with(restrictions: &str, lines: &[&str]) -> Self {
        let lines = lines.iter().map(ToString::to_string).collect();
        Self::of(restrictions, Options { lines, ..Options::default() }).await
    }

    /// At the far end of a link.
    pub(crate) async fn beyond(link: &Link) -> Self {
        Self::of("", Options { namespace: Some((link.far().clone(), Link::FAR)), ..Options::default() }).await
    }

    async fn of(restrictions: &str, options: Options) -> Self {
        let sshd = Sshd::start(options).await;
        let key = sshd.key_pair("tunnel_key", KeyType::Ed25519);
        sshd.authorize(&me(), restrictions, &key);
        Self { sshd, key }
    }

    /// The flags of a tunnel through this server, but for the far end.
    pub(crate) fn flags(&self, dir: &TestDir) -> Vec<String> {
        let hosts = dir.write("hosts", self.sshd.known_hosts());
        flags(&[
            ("addr", &format!("{}:{}", self.sshd.address(), self.sshd.port())),
            ("user", &me()),
            ("keyfile", &self.key.private().display().to_string()),
            ("lsock", &dir.join("t.sock").display().to_string()),
            ("state", &dir.join("t.state").display().to_string()),
            ("hostkeyfile", &hosts.display().to_string()),
        ])
    }

    /// A running tunnel to `remote` (`-rport=…` or `-rsock=…`) that is up.
    pub(crate) async fn tunnel(&self, remote: &str) -> Tunnel {
        let tunnel = Tunnel::start(|dir| [self.flags(dir), vec![remote.to_owned()]].concat());
        tunnel.up().await;
        tunnel
    }
}

pub(crate) fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("-{name}={value}")).collect()
}

/// A running tunnel.
pub(crate) struct Tunnel {
    pub(crate) daemon: Daemon,
    pub(crate) dir: TestDir,
}

impl Tunnel {
    /// Starts the program with the flags that `flags` makes; its home is the test's directory.
    pub(crate) fn start(flags: impl FnOnce(&TestDir) -> Vec<String>) -> Self {
        let dir = TestDir::new();
        let daemon = launch(&dir, flags(&dir)).start();
        Self { daemon, dir }
    }

    /// The same from the near end of a link.
    pub(crate) fn start_before(link: &Link, flags: impl FnOnce(&TestDir) -> Vec<String>) -> Self {
        let dir = TestDir::new();
        let daemon = launch(&dir, flags(&dir)).namespace(link.near().clone()).start();
        Self { daemon, dir }
    }

    pub(crate) async fn state(&self) -> Result<ProgramState, String> {
        state(&self.dir.join("t.state")).await
    }

    /// Waits until the state's own hop is as `wanted` says.
    pub(crate) async fn becomes(&self, what: &str, wanted: impl Fn(&ProgramState) -> bool) -> ProgramState {
        wait::until(what, SOON, async || match self.state().await {
            Ok(state) if wanted(&state) => Ok(state),
            Ok(state) => Err(format!("{:?}; log:\n{}", state.hops, self.daemon.log_tail(8))),
            Err(err) => Err(format!("{err}; log:\n{}", self.daemon.log_tail(8))),
        })
        .await
    }

    pub(crate) async fn up(&self) -> ProgramState {
        self.becomes("the tunnel to come up", |s| s.hops[0].state.to_string() == "up").await
    }

    pub(crate) async fn down(&self) -> ProgramState {
        self.becomes("the tunnel to go down", |s| s.hops[0].state.to_string() == "down").await
    }

    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.dir.join("t.sock")).await.expect("the tunnel listens")
    }

    /// Sends a word through the tunnel and returns what comes back.
    pub(crate) async fn ask(&self, word: &str) -> String {
        ask(self.connect().await, word).await
    }
}

pub(crate) async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, word: &str) -> String {
    let mut answer = String::new();
    let asked = async {
        // It may be closed already, with or without an answer.
        let _ = stream.write_all(word.as_bytes()).await;
        let _ = stream.shutdown().await;
        stream.read_to_string(&mut answer).await
    };
    match tokio::time::timeout(SOON, asked).await.expect("an answer or an end in time") {
        Ok(_) => answer,
        Err(err) => format!("error: {err}"),
    }
}

/// Whether the long rounds are to be run, where time itself is the subject.
pub(crate) fn soak() -> bool {
    std::env::var_os("INTERLINK_SOAK").is_some()
}

pub(crate) fn launch(dir: &TestDir, flags: Vec<String>) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_ssh-tunnel"), dir.join("tunnel.log"))
        .clean_env()
        .env("HOME", dir.path())
        .env("XDG_RUNTIME_DIR", dir.path())
        .args(flags)
        .patience(Duration::from_secs(10))
}

/// Runs the program to its end and returns its exit code and what it said.
pub(crate) async fn run(dir: &TestDir, flags: Vec<String>) -> (Option<i32>, String) {
    let daemon = launch(dir, flags).start();
    let status = daemon.exited(SOON).await;
    (status.code(), daemon.log())
}

async fn state(path: &Path) -> Result<ProgramState, String> {
    let client = Client::new(Endpoint::unix(path).map_err(|e| e.to_string())?);
    let answer = client.send(Call::new(http::Method::GET, "/", "")).await.map_err(|e| e.to_string())?;
    let body = answer.bytes(1 << 20, Duration::from_secs(5)).await.map_err(|e| e.to_string())?;
    serde_json::from_slice(&body).map_err(|e| e.to_string())
}

/// What a service does with a connection.
#[derive(Clone, Copy)]
pub(crate) enum Habit {
    /// Sends back what comes, as it comes.
    Echo,
    /// Reads to the end, then answers with the number of bytes.
    Count,
    /// Sends bytes for ever and reads nothing.
    Flood,
}

/// A service behind the server; ends when dropped.
pub(crate) struct Service {
    task: JoinHandle<()>,
    /// The flag that leads the tunnel to it.
    pub(crate) flag: String,
}

impl Service {
    pub(crate) async fn tcp(habit: Habit) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        Self::on_tcp(listener, port, habit)
    }

    pub(crate) async fn on_port(port: u16, habit: Habit) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is free");
        Self::on_tcp(listener, port, habit)
    }

    fn on_tcp(listener: TcpListener, port: u16, habit: Habit) -> Self {
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, habit));
            }
        });
        Self { task, flag: format!("-rport={port}") }
    }

    pub(crate) fn unix(path: PathBuf, habit: Habit) -> Self {
        let listener = UnixListener::bind(&path).expect("the path is free");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, habit));
            }
        });
        Self { task, flag: format!("-rsock={}", path.display()) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, habit: Habit) {
    match habit {
        Habit::Echo => {
            let (mut reader, mut writer) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        }
        Habit::Count => {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            let _ = stream.write_all(all.len().to_string().as_bytes()).await;
        }
        Habit::Flood => while stream.write_all(&[7; 16 << 10]).await.is_ok() {},
    }
}
