//! The server listens, and the service is on this side.

use std::path::PathBuf;
use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::ports::free_port;
use interlink_testkit::process::{Signal, leftovers};
use interlink_testkit::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::rig::{Habit, SOON, Service, Site, Tunnel, ask};

/// The local service's flag, which a rig's service has as the remote one.
fn lsock(service: &Service) -> String {
    service.flag.replace("-rsock=", "-lsock=").replace("-rport=", "-lsock=localhost:")
}

/// A tunnel in reverse; `far` is the server's end.
fn start(site: &Site, service: &str, far: &str) -> Tunnel {
    Tunnel::start(|dir| {
        let mut flags = site.flags(dir);
        flags.retain(|f| !f.starts_with("-lsock"));
        flags.extend(["-reverse".into(), service.to_owned(), far.to_owned()]);
        flags
    })
}

async fn ask_port(port: u16, word: &str) -> String {
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(stream) => ask(stream, word).await,
        Err(err) => err.to_string(),
    }
}

/// Waits until the server's port leads to an echo.
async fn echoes(tunnel: &Tunnel, port: u16) {
    wait::until("an echo through the tunnel", SOON, async || match ask_port(port, "hello").await {
        answer if answer == "hello" => Ok(()),
        answer => Err(format!("{answer}; log:\n{}", tunnel.daemon.log_tail(5))),
    })
    .await;
}

#[tokio::test]
async fn connections_at_the_servers_port_and_socket_reach_the_local_service() {
    let site = Site::new().await;
    let dir = TestDir::new();
    for service in [Service::tcp(Habit::Count).await, Service::unix(dir.join("service.sock"), Habit::Count)] {
        let port = free_port();
        let tunnel = start(&site, &lsock(&service), &format!("-rport={port}"));
        let state = tunnel.up().await;
        assert_eq!(state.details["listens"], format!("localhost:{port}"));
        // The answer comes only after our end arrived there: half-close is carried through.
        assert_eq!(ask_port(port, "12345").await, "5");

        let socket = dir.join(format!("{port}.sock"));
        let tunnel = start(&site, &lsock(&service), &format!("-rsock={}", socket.display()));
        tunnel.up().await;
        assert_eq!(ask(UnixStream::connect(&socket).await.unwrap(), "123").await, "3");
    }
}

#[tokio::test]
async fn two_hundred_connections_at_once_are_all_served_in_reverse() {
    let (site, service, port) = (Site::new().await, Service::tcp(Habit::Echo).await, free_port());
    let tunnel = start(&site, &lsock(&service), &format!("-rport={port}"));
    tunnel.up().await;
    let mut clients = JoinSet::new();
    for n in 0..200 {
        clients.spawn(async move { (n.to_string(), ask_port(port, &n.to_string()).await) });
    }
    while let Some(done) = clients.join_next().await {
        let (sent, received) = done.unwrap();
        assert_eq!(sent, received, "{}", tunnel.daemon.log_tail(5));
    }
}

#[tokio::test]
async fn the_server_listens_again_after_it_was_restarted_and_its_sessions_killed() {
    let site = Site::with("", &["StreamLocalBindUnlink yes"]).await;
    let (service, port, dir) = (Service::tcp(Habit::Echo).await, free_port(), TestDir::new());
    let socket = dir.join("far.sock");
    let to_port = start(&site, &lsock(&service), &format!("-rport={port}"));
    let to_socket = start(&site, &lsock(&service), &format!("-rsock={}", socket.display()));
    to_port.up().await;
    to_socket.up().await;
    for _ in 0..2 {
        site.sshd.daemon().kill9();
        site.sshd.kill_sessions();
        to_port.down().await;
        to_socket.down().await;
        site.sshd.restart().await;
        echoes(&to_port, port).await;
        to_socket.up().await;
        assert_eq!(ask(UnixStream::connect(&socket).await.unwrap(), "hello").await, "hello");
    }
}

#[tokio::test]
async fn a_dead_sessions_listener_that_lingers_is_waited_out_and_named() {
    let (site, service, port) = (Site::new().await, Service::tcp(Habit::Echo).await, free_port());
    let tunnel = start(&site, &lsock(&service), &format!("-rport={port}"));
    tunnel.up().await;
    // A server that has not noticed that its client is gone.
    let lingering = site.sshd.sessions();
    assert!(!lingering.is_empty());
    leftovers::signal(&lingering, Signal::SIGSTOP);
    tunnel.daemon.kill9();
    tunnel.daemon.start_again();
    let state = tunnel.becomes("the port to be missed", |s| s.hops[0].cause.contains("is taken")).await;
    assert!(state.hops[0].cause.contains(&format!("localhost:{port}")), "{state:?}");
    assert!(state.hops[0].cause.contains("earlier session lingers"), "{state:?}");
    assert!(state.hops[0].remedy.contains("ClientAliveInterval"), "{state:?}");
    leftovers::signal(&lingering, Signal::SIGKILL);
    tunnel.up().await;
    assert_eq!(ask_port(port, "hello").await, "hello");
}

#[tokio::test]
async fn a_socket_file_that_lingers_is_named_and_served_once_it_is_gone() {
    let (site, service, dir) = (Site::new().await, Service::tcp(Habit::Echo).await, TestDir::new());
    let socket: PathBuf = dir.join("far.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let tunnel = start(&site, &lsock(&service), &format!("-rsock={}", socket.display()));
    let state = tunnel.down().await;
    assert!(state.hops[0].cause.contains("the file of an earlier session"), "{state:?}");
    assert!(state.hops[0].remedy.contains("StreamLocalBindUnlink"), "{state:?}");
    std::fs::remove_file(&socket).unwrap();
    tunnel.up().await;
    assert_eq!(ask(UnixStream::connect(&socket).await.unwrap(), "hello").await, "hello");
}

#[tokio::test]
async fn a_server_that_forbids_to_listen_is_named_with_the_options_to_change() {
    for (restrictions, lines, option) in [
        ("", &["AllowTcpForwarding local"][..], "AllowTcpForwarding"),
        ("", &["AllowTcpForwarding no"][..], "AllowTcpForwarding"),
        ("no-port-forwarding", &[], "no-port-forwarding"),
        ("restrict,port-forwarding,permitlisten=\"localhost:1\"", &[], "permitlisten"),
    ] {
        let site = Site::with(restrictions, lines).await;
        let port = free_port();
        let tunnel = start(&site, "-lsock=/nonexistent.sock", &format!("-rport={port}"));
        let state = tunnel.down().await;
        let said = &state.hops[0];
        assert!(said.cause.contains(&format!("localhost:{port}")) && said.cause.contains("forbids"), "{state:?}");
        assert!(said.remedy.contains(option), "{option}: {state:?}");
    }
}

#[tokio::test]
async fn a_service_that_is_away_turns_connections_away_and_is_named_until_it_is_back() {
    let (site, port, dir) = (Site::new().await, free_port(), TestDir::new());
    let socket = dir.join("service.sock");
    let tunnel = start(&site, &format!("-lsock={}", socket.display()), &format!("-rport={port}"));
    tunnel.up().await;
    let state = tunnel.becomes("the service to be missed", |s| s.hops.len() > 1).await;
    assert_eq!(state.hops[1].hop, "local");
    assert!(state.hops[1].cause.contains(&*socket.to_string_lossy()), "{state:?}");
    let answer = ask_port(port, "hello").await;
    assert!(answer.is_empty() || answer.contains("reset"), "{answer}");
    let _service = Service::unix(socket, Habit::Echo);
    tunnel.becomes("the service to be back", |s| s.hops[1].state.to_string() == "up").await;
    assert_eq!(ask_port(port, "hello").await, "hello");
}

#[tokio::test]
async fn a_stop_frees_the_servers_port_at_once_and_lets_open_connections_finish() {
    let (site, service, port) = (Site::new().await, Service::tcp(Habit::Count).await, free_port());
    let tunnel = start(&site, &lsock(&service), &format!("-rport={port}"));
    tunnel.up().await;
    let mut open = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    open.write_all(b"123").await.unwrap();
    assert_eq!(ask_port(port, "x").await, "1");
    tunnel.daemon.signal(Signal::SIGTERM);
    wait::until("the port to be free", SOON, async || match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(mut stream) => {
            // One that the server took just before it let go of the port may be served until the drain is over.
            let _ = timeout(Duration::from_millis(200), stream.read(&mut [0])).await;
            Err("somebody listens".to_owned())
        }
        Err(_) => Ok(()),
    })
    .await;
    assert_eq!(ask(open, "45").await, "5");
    assert_eq!(tunnel.daemon.exited(Duration::from_secs(20)).await.code(), Some(0));
}

#[tokio::test]
async fn whoever_connects_just_as_it_stops_is_served_or_let_go_at_once() {
    let (site, service, port) = (Site::new().await, Service::tcp(Habit::Echo).await, free_port());
    let tunnel = start(&site, &lsock(&service), &format!("-rport={port}"));
    tunnel.up().await;
    // Keeps the drain from being over at once.
    let mut open = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    open.write_all(b"a").await.unwrap();
    open.read_exact(&mut [0]).await.unwrap();
    let mut knocking = JoinSet::new();
    for _ in 0..16 {
        knocking.spawn(async move {
            // The connections that got no answer, until nobody listens any more.
            let mut unanswered = Vec::new();
            while let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await {
                let asked = async {
                    stream.write_all(b"b").await?;
                    stream.read_exact(&mut [0]).await
                };
                if timeout(Duration::from_millis(50), asked).await.is_err() {
                    unanswered.push(stream);
                }
            }
            unanswered
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    tunnel.daemon.signal(Signal::SIGTERM);
    let unanswered = knocking.join_all().await.into_iter().flatten().collect::<Vec<_>>();
    for mut stream in unanswered {
        // An answer that came late, an end or a reset.
        let told = timeout(Duration::from_secs(2), stream.read(&mut [0])).await;
        assert!(told.is_ok(), "a connection that nobody serves is kept");
    }
    assert!(tunnel.daemon.is_running(), "it still drains");
    drop(open);
    assert_eq!(tunnel.daemon.exited(Duration::from_secs(20)).await.code(), Some(0));
}
