//! The seed's configuration files and command lines, followed to the letter (YAML indentation restored, nothing else):
//! a test for each row of what goes wrong there, with what ours does.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use interlink_e2e::{Link, Node, Site, node, pods, site};
use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::sshd::{self, KeyPair, KeyType, Sshd};
use interlink_testkit::users::User;
use interlink_testkit::{binaries, ports, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(30);

/// The seed's socket, which it gives to two owners.
const SEED_SOCKET: &str = "/tmp/interlink.sock";

const SEED_API_CONFIG: &str = r#"
# Use Unix socket for local communication
InterlinkAddress: "unix:///tmp/interlink.sock"
InterlinkPort: "" # Not used for Unix sockets

# Remote plugin configuration
SidecarURL: "http://remote-plugin"
SidecarPort: "4000"

VerboseLogging: true
ErrorsOnlyLogging: false
DataRootFolder: "/tmp/interlink"
"#;

const SEED_KUBELET_CONFIG: &str = r#"
# Connect to Unix socket
InterlinkURL: "unix:///tmp/interlink.sock"
InterlinkPort: "" # Not used for Unix sockets

VerboseLogging: true
ErrorsOnlyLogging: false

# Node configuration
NodeName: "my-interlink-node"
NodeLabels:
  "interlink.cern.ch/provider": "remote-hpc"
"#;

/// An sshd of the test's own user, with a plugin-like listener behind it.
struct Remote {
    sshd: Sshd,
    key: KeyPair,
    user: User,
}

async fn remote() -> Remote {
    let user = User::current();
    let sshd = Sshd::start(sshd::Options::default()).await;
    let key = sshd.key_pair("interlink_rsa", KeyType::Rsa);
    sshd.authorize(&user.name, "", &key);
    Remote { sshd, key, user }
}

impl Remote {
    /// The seed's command line, with `home` as the directory that `~` means.
    fn tunnel(&self, dir: &TestDir, home: &Path, lsock: &str, rport: u16, more: &[&str]) -> Launch {
        Launch::new(binaries::path("ssh-tunnel"), dir.join("tunnel.log"))
            .args(["-addr", &format!("127.0.0.1:{}", self.sshd.port())])
            .args(["-user", &self.user.name, "-keyfile", "~/.ssh/interlink_rsa"])
            .args(["-lsock", lsock, "-rport", &rport.to_string()])
            .args(more.iter().copied())
            .env("HOME", home)
            .env("RUNTIME_DIRECTORY", dir.path())
            .env("STATE_DIRECTORY", dir.path())
    }

    /// A home with the key in `~/.ssh`, as the seed's ssh-keygen leaves it.
    fn home(&self, dir: &TestDir) -> std::path::PathBuf {
        let home = dir.folder("home");
        let key = dir.write("home/.ssh/interlink_rsa", std::fs::read(self.key.private()).unwrap());
        private(&key);
        home
    }
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A server on a loopback port that says one word to each client.
async fn greeter() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"hello").await;
        }
    });
    port
}

/// What a client of the Unix socket reads until the end.
async fn read_from(socket: &Path) -> String {
    let Ok(mut stream) = tokio::net::UnixStream::connect(socket).await else { return String::new() };
    let mut text = String::new();
    let _ = tokio::time::timeout(Duration::from_secs(15), stream.read_to_string(&mut text)).await;
    text
}

async fn greeted(daemon: &Daemon, socket: &Path) {
    wait::until("a greeting through the tunnel", SOON, async || match read_from(socket).await {
        text if text == "hello" => Ok(()),
        text => Err(format!("{text:?}; the log ends: {}", daemon.log_tail(5))),
    })
    .await;
}

async fn run(command: &mut Command) -> Output {
    tokio::time::timeout(SOON, command.kill_on_drop(true).output()).await.expect("it ends in time").unwrap()
}

fn api(dir: &TestDir, config: &str) -> Launch {
    let config = dir.write("InterLinkConfig.yaml", config);
    Launch::new(binaries::path("interlink"), dir.join("api.log"))
        .env("INTERLINKCONFIGPATH", config)
        .env("RUNTIME_DIRECTORY", dir.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn row_1_one_socket_with_two_owners_is_refused_with_both_names_and_the_remedy() {
    let (dir, remote) = (TestDir::new(), remote().await);
    let home = remote.home(&dir);
    let known = dir.write("hosts", remote.sshd.known_hosts());
    let flags = ["-hostkeyfile", known.to_str().unwrap()];
    let tunnel = remote.tunnel(&dir, &home, SEED_SOCKET, greeter().await, &flags).start();
    greeted(&tunnel, Path::new(SEED_SOCKET)).await;
    let second = api(&dir, SEED_API_CONFIG).start();
    assert_eq!(second.exited(SOON).await.code(), Some(78));
    for words in [SEED_SOCKET, "ssh-tunnel", "InterlinkAddress", "SidecarURL", "-reverse"] {
        assert!(second.log().contains(words), "{words}: {}", second.log());
    }
    greeted(&tunnel, Path::new(SEED_SOCKET)).await;
    tunnel.terminate(SOON).await;

    // The other way round.
    let api = api(&dir, SEED_API_CONFIG).start();
    wait::until("the API server's socket", SOON, async || {
        tokio::net::UnixStream::connect(SEED_SOCKET).await.map(drop).map_err(|e| e.to_string())
    })
    .await;
    let tunnel = remote.tunnel(&dir, &home, SEED_SOCKET, 4000, &flags).start();
    assert_eq!(tunnel.exited(SOON).await.code(), Some(78));
    for words in [SEED_SOCKET, "interlink", "-lsock", "-reverse"] {
        assert!(tunnel.log().contains(words), "{words}: {}", tunnel.log());
    }
    assert!(api.is_running());
    assert_eq!(api.terminate(SOON).await.code(), Some(0));
    assert!(!Path::new(SEED_SOCKET).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_the_tunnel_goes_forward_and_reverse_when_asked() {
    let (dir, remote) = (TestDir::new(), remote().await);
    let home = remote.home(&dir);
    let known = dir.write("hosts", remote.sshd.known_hosts());
    let flags = ["-hostkeyfile", known.to_str().unwrap()];
    let socket = dir.join("plugin.sock");
    let forward = remote.tunnel(&dir, &home, socket.to_str().unwrap(), greeter().await, &flags).start();
    greeted(&forward, &socket).await;
    forward.terminate(SOON).await;

    let local = tokio::net::UnixListener::bind(dir.join("local.sock")).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = local.accept().await {
            let _ = stream.write_all(b"back").await;
        }
    });
    let port = ports::free_port();
    let local = dir.join("local.sock");
    let flags = ["-hostkeyfile", known.to_str().unwrap(), "-reverse"];
    let reverse = remote.tunnel(&dir, &home, local.to_str().unwrap(), port, &flags).start();
    wait::until("an answer through the reverse tunnel", SOON, async || {
        let mut text = String::new();
        match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            Ok(mut stream) => drop(stream.read_to_string(&mut text).await),
            Err(error) => text = error.to_string(),
        }
        if text == "back" { Ok(()) } else { Err(format!("{text}; {}", reverse.log_tail(3))) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_3_an_address_that_goes_past_the_tunnel_is_named() {
    let dir = TestDir::new();
    let api = api(&dir, SEED_API_CONFIG).start();
    let said = wait::until("the ping's answer", SOON, async || {
        let answer = run(Command::new("curl").args(["-s", "--unix-socket", SEED_SOCKET, "http://unix/pinglink"])).await;
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        if said.is_empty() { Err(api.log_tail(3)) } else { Ok(said) }
    })
    .await;
    assert!(said.contains("remote-plugin") && said.contains("bypass") && said.contains("tunnel"), "{said}");
    api.terminate(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_4_to_6_key_and_host_key_files_as_people_make_them() {
    let (dir, remote) = (TestDir::new(), remote().await);
    let home = remote.home(&dir);
    let (socket, port) = (dir.join("t.sock"), greeter().await);
    let lsock = socket.to_str().unwrap().to_owned();

    // 5: ssh-keyscan's output, and what `grep -o 'ssh-rsa.*'` leaves of a line; 4: quoted tildes all along.
    let mut scan = Command::new("ssh-keyscan");
    scan.args(["-t", "rsa", "-p", &remote.sshd.port().to_string(), "127.0.0.1"]);
    let scanned = run(&mut scan).await.stdout;
    let bare = String::from_utf8_lossy(&scanned);
    let bare = bare.lines().find_map(|line| line.find("ssh-rsa").map(|at| line[at..].to_owned())).unwrap();
    for content in [scanned.clone(), bare.into_bytes()] {
        dir.write("home/.ssh/interlink_host_key", content);
        let tunnel = remote.tunnel(&dir, &home, &lsock, port, &["-hostkeyfile", "~/.ssh/interlink_host_key"]).start();
        greeted(&tunnel, &socket).await;
        tunnel.terminate(SOON).await;
    }
    // 5: the empty file that the seed's second command makes is an error, never "no verification".
    dir.write("home/.ssh/interlink_host_key", "");
    let tunnel = remote.tunnel(&dir, &home, &lsock, port, &["-hostkeyfile", "~/.ssh/interlink_host_key"]).start();
    assert_eq!(tunnel.exited(SOON).await.code(), Some(78), "{}", tunnel.log());
    assert!(tunnel.log().contains("interlink_host_key"), "{}", tunnel.log());

    // 6: without one, the first key is accepted once, recorded and shown; a changed one is refused for good.
    let tunnel = remote.tunnel(&dir, &home, &lsock, port, &[]).start();
    greeted(&tunnel, &socket).await;
    assert!(tunnel.log().contains("SHA256:"), "{}", tunnel.log());
    tunnel.terminate(SOON).await;
    let recorded = home.join(".ssh/known_hosts");
    let lines = std::fs::read_to_string(&recorded).unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    let (kind, _) = lines.split(' ').nth(1).map(|kind| (kind.to_owned(), ())).unwrap();
    let kind = if kind.contains("ed25519") {
        KeyType::Ed25519
    } else if kind.contains("ecdsa") {
        KeyType::Ecdsa
    } else {
        KeyType::Rsa
    };
    let other = KeyPair::generate(dir.join("other"), kind);
    let host = lines.split(' ').next().unwrap();
    std::fs::write(&recorded, format!("{host} {}\n", other.public())).unwrap();
    let tunnel = remote.tunnel(&dir, &home, &lsock, port, &[]).start();
    wait::until("the refusal", SOON, async || {
        let log = tunnel.log();
        if log.matches("SHA256:").count() >= 2 { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(read_from(&socket).await, "", "nothing goes through");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_9_the_plugin_takes_the_seeds_command_line_layout_and_curl() {
    let dir = TestDir::new();
    let port = ports::free_port();
    for folder in ["bin", "config", "jobs"] {
        dir.folder(format!("opt/interlink-plugin/{folder}"));
    }
    let program = dir.join("opt/interlink-plugin/bin/plugin");
    std::fs::copy(binaries::path("interlink-plugin"), &program).unwrap();
    let jobs = dir.join("opt/interlink-plugin/jobs");
    let socket = dir.join("plugin.sock");
    let config = |more: &str| {
        let text = format!("DataRootFolder: {}/\nScheduler: local\nContainerRuntime: host\n{more}", jobs.display());
        dir.write("opt/interlink-plugin/config/plugin-config.yaml", text)
    };
    let start = |config: &Path, args: &[&str]| {
        Launch::new(&program, dir.join("plugin.log"))
            .args(args.iter().copied())
            .env("PLUGIN_CONFIG", config)
            .env("RUNTIME_DIRECTORY", dir.path())
            .env("STATE_DIRECTORY", dir.path())
            .start()
    };
    let ping = async |plugin: &Daemon, args: &[&str]| {
        wait::until("the plugin's answer", SOON, async || {
            let answer = run(Command::new("curl").args(["-s", "-w", " %{http_code}", "-X", "GET"]).args(args)).await;
            let said = String::from_utf8_lossy(&answer.stdout).into_owned();
            if said.ends_with(" 200") { Ok(said) } else { Err(format!("{said}; {}", plugin.log_tail(3))) }
        })
        .await
    };
    let over_tcp = start(&config(""), &["--port", &port.to_string()]);
    let said = ping(&over_tcp, &[&format!("http://localhost:{port}/status")]).await;
    assert!(said.contains("\"status\":\"ok\""), "{said}");
    over_tcp.terminate(SOON).await;
    let over_socket = start(&config(&format!("Socket: unix://{}\n", socket.display())), &[]);
    let said = ping(&over_socket, &["--unix-socket", socket.to_str().unwrap(), "http://localhost:4000/status"]).await;
    assert!(said.contains("\"status\":\"ok\""), "{said}");
    assert_eq!(over_socket.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_7_8_10_and_11_the_kubelet_and_the_operators_commands() {
    let site = Site::start(site::Options::default()).await;
    let link = Link::start(&site).await;

    // 10: the seed's two commands at the API's socket.
    let socket = link.socket.to_str().unwrap();
    let pinged = run(Command::new("curl").args(["-sf", "--unix-socket", socket, "http://unix/pinglink"])).await;
    assert!(pinged.status.success() && !pinged.stdout.is_empty());
    let mut stream = tokio::net::UnixStream::connect(&link.socket).await.unwrap();
    stream.write_all(b"test\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    link.answers().await;

    // 7: `--provider interlink --nodename N --config F` with a `NodeName` that differs and labels as a map;
    // 11: no POD_IP, so the node's address is the source of the route to the API server, or, as that is
    // the loopback here, which API servers refuse to call, this machine's own.
    let cluster = Node::start_with(|launch, dir| {
        let text = SEED_KUBELET_CONFIG.replace(SEED_SOCKET, socket);
        launch.arg(dir.write("seed.yaml", text))
    })
    .await;
    let kubectl = cluster.kubectl();
    let log = cluster.kubelet.log();
    assert!(log.contains("my-interlink-node") && log.contains(node::NODE), "the difference is warned about: {log}");
    let seen = kubectl.json(["get", "node", node::NODE, "-o", "json"]).await;
    assert_eq!(seen["metadata"]["labels"]["interlink.cern.ch/provider"], "remote-hpc");
    let address = &seen["status"]["addresses"][0];
    assert_eq!(address["type"], "InternalIP");
    let ip: std::net::IpAddr = address["address"].as_str().unwrap().parse().unwrap();
    assert!(std::net::UdpSocket::bind((ip, 0)).is_ok(), "{ip} is an address of this machine");

    // 8: the pod without the toleration is told; with it, its log is read through the kubelet's port.
    kubectl.apply(&pods::pod("intolerant", &["true"], false).to_string()).await;
    kubectl.apply(&pods::pod("tolerant", &["echo", "reached"], true).to_string()).await;
    pods::in_phase(kubectl, "tolerant", &["Succeeded"], Duration::from_secs(60)).await;
    assert_eq!(kubectl.ok(["logs", "tolerant"]).await, "reached\n");
    pods::event(kubectl, "intolerant", "virtual-node.interlink/no-schedule", Duration::from_secs(60)).await;
}
