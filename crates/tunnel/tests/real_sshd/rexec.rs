//! Connections over one command, where forwarding is forbidden.

use std::path::PathBuf;
use std::sync::Arc;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::{Signal, leftovers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::rig::{Habit, SOON, Service, Site, Tunnel};

/// The far end's program, which cargo builds beside the tests.
pub(crate) fn far_end() -> PathBuf {
    let here = std::env::current_exe().expect("a test knows its own path");
    here.ancestors().nth(2).expect("tests lie in target/debug/deps").join("examples/far_end")
}

/// A server that forbids everything but the far end of this socket, after what `banner` prints.
async fn narrow(socket: &std::path::Path, banner: &str) -> Site {
    let command = format!("{banner}exec {} {}", far_end().display(), socket.display());
    Site::with(&format!("restrict,command=\"{command}\""), &["AllowTcpForwarding no", "DisableForwarding yes"]).await
}

const FLAG: &str = "-rexec=interlink-plugin dial-stdio";

#[tokio::test]
async fn two_hundred_connections_at_once_go_through_a_key_that_is_good_for_nothing_else() {
    let dir = TestDir::new();
    let _service = Service::unix(dir.join("s.sock"), Habit::Echo);
    let site = narrow(&dir.join("s.sock"), "").await;
    let tunnel = Arc::new(site.tunnel(FLAG).await);
    let mut clients = JoinSet::new();
    for n in 0..200 {
        let tunnel = tunnel.clone();
        clients.spawn(async move { (n.to_string(), tunnel.ask(&n.to_string()).await) });
    }
    while let Some(done) = clients.join_next().await {
        let (sent, received) = done.unwrap();
        assert_eq!(sent, received);
    }
    assert_eq!(site.sshd.sessions().len(), 1, "all over one session");
}

#[tokio::test]
async fn half_close_and_banners_of_login_shells_are_carried_through_and_skipped() {
    let dir = TestDir::new();
    let _service = Service::unix(dir.join("s.sock"), Habit::Count);
    let site = narrow(&dir.join("s.sock"), "echo Welcome; printf '%060000d' 1; echo warning >&2; ").await;
    let tunnel = site.tunnel(FLAG).await;
    assert_eq!(tunnel.ask("12345").await, "5");
    assert_eq!(tunnel.ask("").await, "0");
}

#[tokio::test]
async fn big_transfers_arrive_unchanged_side_by_side() {
    let dir = TestDir::new();
    let _service = Service::unix(dir.join("s.sock"), Habit::Echo);
    let site = narrow(&dir.join("s.sock"), "").await;
    let tunnel = Arc::new(site.tunnel(FLAG).await);
    let mut clients = JoinSet::new();
    for seed in [2_654_435_761_u32, 40_503, 2_246_822_519] {
        let tunnel = tunnel.clone();
        clients.spawn(async move {
            let sent: Vec<u8> = (0u32..2 << 20).flat_map(|n| n.wrapping_mul(seed).to_be_bytes()).collect();
            let (mut reader, mut writer) = tunnel.connect().await.into_split();
            let send = async {
                writer.write_all(&sent).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let mut received = Vec::new();
            timeout(SOON, async { tokio::join!(send, reader.read_to_end(&mut received)) }).await.unwrap().1.unwrap();
            assert!(sent == received, "{} bytes sent, {} received, or they differ", sent.len(), received.len());
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_keeps_its_connection_and_holds_up_nobody() {
    let dir = TestDir::new();
    let _service = Service::unix(dir.join("s.sock"), Habit::Flood);
    let site = narrow(&dir.join("s.sock"), "").await;
    let tunnel = site.tunnel(FLAG).await;
    let (mut steady, mut stalled) = (tunnel.connect().await, tunnel.connect().await);
    drop(tunnel.connect().await);
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..64 {
        timeout(SOON, steady.read_exact(&mut buffer)).await.unwrap().unwrap();
    }
    // It gets all that it had missed, and goes on.
    for _ in 0..8 {
        timeout(SOON, stalled.read_exact(&mut buffer)).await.unwrap().unwrap();
        assert!(buffer.iter().all(|b| *b == 7));
    }
}

#[tokio::test]
async fn a_lost_session_is_replaced_and_a_service_that_is_away_is_named() {
    let dir = TestDir::new();
    let socket = dir.join("s.sock");
    let site = narrow(&socket, "").await;
    let tunnel = site.tunnel(FLAG).await;
    let state = tunnel.becomes("the far end to be missed", |s| s.hops.len() > 1).await;
    assert!(state.hops[1].cause.contains("can't reach the service's socket"), "{state:?}");
    let _service = Service::unix(socket, Habit::Echo);
    tunnel.becomes("the far end to be back", |s| s.hops[1].state.to_string() == "up").await;
    let mut open = tunnel.connect().await;
    open.write_all(b"a").await.unwrap();
    open.read_exact(&mut [0]).await.unwrap();
    site.sshd.kill_sessions();
    assert_eq!(timeout(SOON, open.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    assert_eq!(tunnel.ask("hello").await, "hello");
    tunnel.becomes("the reconnect to be counted", |s| s.details["reconnects"] == 1).await;
}

#[tokio::test]
async fn a_command_that_hangs_is_replaced() {
    let dir = TestDir::new();
    let _service = Service::unix(dir.join("s.sock"), Habit::Echo);
    let site = narrow(&dir.join("s.sock"), &format!("echo $$ >> {}; ", dir.join("pids").display())).await;
    let tunnel =
        Tunnel::start(|dir| [site.flags(dir), vec![FLAG.to_owned(), "-connect-timeout=1s".to_owned()]].concat());
    tunnel.up().await;
    let pids = std::fs::read_to_string(dir.join("pids")).unwrap();
    let hung = pids.lines().next().unwrap().parse::<u32>().unwrap();
    leftovers::signal(&[hung].into(), Signal::SIGSTOP);
    for _ in 0..2 {
        assert_ne!(tunnel.ask("hello").await, "hello");
    }
    tunnel
        .becomes("another command to run", |s| s.details["reconnects"] == 1 && s.hops[0].state.to_string() == "up")
        .await;
    assert!(tunnel.daemon.log().contains("no longer answers, though the connection does"), "{}", tunnel.daemon.log());
    assert_eq!(tunnel.ask("hello").await, "hello");
    leftovers::signal(&[hung].into(), Signal::SIGKILL);
}

#[tokio::test]
async fn a_foreign_command_in_its_place_is_named() {
    for (line, flag, cause, remedy) in [
        ("ForceCommand /bin/false", FLAG, "ended with exit status 1", "ForceCommand"),
        ("ForceCommand echo This account is not available.", FLAG, "This account is not available.", "ForceCommand"),
        ("ForceCommand yes", FLAG, "is not `interlink-plugin dial-stdio`", "ForceCommand"),
        ("ForceCommand echo interlink-mux/2", FLAG, "interlink-mux/2", "same release"),
        ("MaxSessions 0", FLAG, "opens no session", "MaxSessions"),
        ("PermitTTY no", "-rexec=/nonexistent/plugin dial-stdio", "was not found", "full path"),
    ] {
        let site = Site::with("", &[line]).await;
        let tunnel = Tunnel::start(|dir| [site.flags(dir), vec![flag.to_owned()]].concat());
        let state = tunnel.down().await;
        assert!(state.hops[0].cause.contains(cause), "{line}: {state:?}");
        assert!(state.hops[0].remedy.contains(remedy), "{line}: {state:?}");
        assert!(tunnel.daemon.is_running());
    }
}
