//! The SSH server is a real one.

use std::process::{Output, Stdio};
use std::time::Duration;

use interlink_testkit::process::{Signal, leftovers};
use interlink_testkit::sshd::{KeyType, Options, Sshd};
use interlink_testkit::users::hpcuser;
use interlink_testkit::wait;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

async fn run(mut command: Command) -> Output {
    timeout(SOON, command.output()).await.expect("ssh ends in time").expect("ssh can be started")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn keys_of_every_kind_log_in_and_a_wrong_key_does_not() {
    let user = hpcuser();
    let root = Sshd::start(Options::default()).await;
    let own = Sshd::start(Options { user: Some(user.clone()), ..Options::default() }).await;
    for sshd in [&root, &own] {
        for kind in [KeyType::Ed25519, KeyType::Ecdsa, KeyType::Rsa] {
            let key = sshd.key_pair(kind.name(), kind);
            sshd.authorize(&user.name, "", &key);
            let mut ssh = sshd.ssh(&user.name, &key);
            ssh.arg("id -un");
            let output = run(ssh).await;
            assert_eq!(stdout(&output), "hpcuser\n", "{kind:?}: {}", stderr(&output));
        }
        let wrong = sshd.key_pair("wrong", KeyType::Ed25519);
        let mut ssh = sshd.ssh(&user.name, &wrong);
        ssh.arg("true");
        let output = run(ssh).await;
        assert_eq!(output.status.code(), Some(255));
        assert!(stderr(&output).contains("Permission denied"), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn an_unknown_host_key_is_refused() {
    let sshd = Sshd::start(Options { host_keys: vec![KeyType::Ed25519], ..Options::default() }).await;
    let other = Sshd::start(Options { host_keys: vec![KeyType::Ed25519], ..Options::default() }).await;
    let key = sshd.key_pair("key", KeyType::Ed25519);
    sshd.authorize("hpcuser", "", &key);
    let mut ssh = sshd.ssh("hpcuser", &key);
    ssh.arg("true");
    let others = other.known_hosts().replace(&other.port().to_string(), &sshd.port().to_string());
    std::fs::write(sshd.dir().join("known_hosts"), others).expect("the test's own directory");
    let output = run(ssh).await;
    assert_eq!(output.status.code(), Some(255));
    assert!(stderr(&output).contains("REMOTE HOST IDENTIFICATION HAS CHANGED"), "{}", stderr(&output));
}

/// The forms of keys that the design gives to a site.
#[tokio::test]
async fn a_restricted_key_reaches_its_port_and_nothing_else() {
    let user = hpcuser();
    let sshd = Sshd::start(Options::default()).await;
    let allowed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let port = allowed.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = allowed.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello\n").await;
        }
    });
    let key = sshd.key_pair("key", KeyType::Ed25519);
    let restrictions = format!(
        "restrict,port-forwarding,permitopen=\"127.0.0.1:{port}\",permitlisten=\"localhost:1\",command=\"/bin/false\""
    );
    sshd.authorize(&user.name, &restrictions, &key);
    let forward = async |target: String| {
        let mut ssh = sshd.ssh(&user.name, &key);
        ssh.args(["-W", &target]);
        run(ssh).await
    };
    assert_eq!(stdout(&forward(format!("127.0.0.1:{port}")).await), "hello\n");
    let other = forward(format!("127.0.0.1:{}", sshd.port())).await;
    assert!(!other.status.success() && stderr(&other).contains("administratively prohibited"), "{}", stderr(&other));
    let mut shell = sshd.ssh(&user.name, &key);
    shell.arg("echo in");
    let shell = run(shell).await;
    assert_eq!((shell.status.code(), stdout(&shell)), (Some(1), String::new()));
}

#[tokio::test]
async fn configuration_of_the_test_is_in_force() {
    let lines = ["Match User hpcuser", "  ForceCommand echo forced"].map(String::from).to_vec();
    let sshd = Sshd::start(Options { lines, ..Options::default() }).await;
    let key = sshd.key_pair("key", KeyType::Ed25519);
    hpcuser();
    sshd.authorize("hpcuser", "", &key);
    let mut ssh = sshd.ssh("hpcuser", &key);
    ssh.arg("echo asked");
    assert_eq!(stdout(&run(ssh).await), "forced\n");
}

#[tokio::test]
async fn sessions_survive_a_restart_and_are_frozen_and_killed_on_demand() {
    let user = hpcuser();
    let sshd = Sshd::start(Options::default()).await;
    let key = sshd.key_pair("key", KeyType::Ed25519);
    sshd.authorize(&user.name, "", &key);
    let mut ssh = sshd.ssh(&user.name, &key);
    ssh.arg("while echo tick; do sleep 0.05; done").stdout(Stdio::piped());
    let mut session = ssh.spawn().expect("ssh can be started");
    let mut lines = BufReader::new(session.stdout.take().expect("the pipe was asked for")).lines();
    let mut tick = async || timeout(Duration::from_secs(1), lines.next_line()).await;
    timeout(SOON, async { while tick().await.is_err() {} }).await.expect("a first tick");

    let before = sshd.daemon().pid();
    sshd.restart().await;
    assert_ne!(sshd.daemon().pid(), before);
    assert!(matches!(tick().await, Ok(Ok(Some(_)))), "the session goes on");

    // one process with privileges, one without, and for a moment the look that `restart` took
    wait::until("two processes", SOON, async || {
        let sessions = sshd.sessions();
        if sessions.len() == 2 { Ok(()) } else { Err(format!("{sessions:?}")) }
    })
    .await;
    sshd.signal_sessions(Signal::SIGSTOP);
    wait::until("silence", SOON, async || match tick().await {
        Err(silence) => Ok(silence),
        Ok(line) => Err(format!("{line:?}")),
    })
    .await;
    sshd.signal_sessions(Signal::SIGCONT);
    assert!(matches!(tick().await, Ok(Ok(Some(_)))), "the session goes on");

    sshd.kill_sessions();
    let status = timeout(SOON, session.wait()).await.expect("ssh notices").expect("a child can be waited for");
    assert_eq!(status.code(), Some(255));
    TcpStream::connect(("127.0.0.1", sshd.port())).await.expect("the listener lives");
}

#[tokio::test]
async fn dropping_a_server_ends_its_sessions() {
    let user = hpcuser();
    let sshd = Sshd::start(Options::default()).await;
    let key = sshd.key_pair("key", KeyType::Ed25519);
    sshd.authorize(&user.name, "", &key);
    let mut ssh = sshd.ssh(&user.name, &key);
    ssh.arg("sleep 1000");
    let mut session = ssh.spawn().expect("ssh can be started");
    let pids = wait::until("the session", SOON, async || {
        let sessions = sshd.sessions();
        if sessions.len() == 2 && sshd.log().contains("Starting session: command") {
            Ok(sessions)
        } else {
            Err(sshd.log())
        }
    })
    .await;
    let pids = leftovers::with_descendants(pids.into_iter().collect());
    assert!(pids.len() > 2, "with the command");
    drop(sshd);
    let status = timeout(SOON, session.wait()).await.expect("ssh ends").expect("a child can be waited for");
    assert!(!status.success());
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}
