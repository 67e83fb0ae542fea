//! Bytes that go through.

use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::ports::free_port;
use interlink_testkit::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::rig::{Habit, SOON, Service, Site, Tunnel, ask};

#[tokio::test]
async fn a_connection_reaches_a_port_and_a_socket_behind_the_server() {
    let site = Site::new().await;
    let dir = TestDir::new();
    for service in [Service::tcp(Habit::Echo).await, Service::unix(dir.join("service.sock"), Habit::Echo)] {
        let tunnel = site.tunnel(&service.flag).await;
        assert_eq!(tunnel.ask("hello").await, "hello", "{}", service.flag);
        assert_eq!(tunnel.ask("").await, "", "{}", service.flag);
    }
}

#[tokio::test]
async fn the_near_end_may_be_a_loopback_port() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let port = free_port();
    let tunnel = Tunnel::start(|dir| {
        let mut flags = site.flags(dir);
        flags.retain(|f| !f.starts_with("-lsock"));
        flags.extend([format!("-lsock=localhost:{port}"), service.flag.clone()]);
        flags
    });
    tunnel.up().await;
    let stream = TcpStream::connect(("localhost", port)).await.unwrap();
    assert_eq!(ask(stream, "hello").await, "hello");
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Count).await);
    // The answer comes only after our end arrived there.
    let tunnel = site.tunnel(&service.flag).await;
    assert_eq!(tunnel.ask("12345").await, "5");

    // The other way: the service ends first, what the client sends afterwards still arrives.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tunnel = site.tunnel(&format!("-rport={port}")).await;
    let mut client = tunnel.connect().await;
    // The first connection is the tunnel's own probe.
    let mut service = loop {
        let (mut stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let mut byte = [0];
        client.write_all(b"a").await.unwrap();
        if stream.read(&mut byte).await.unwrap() == 1 {
            break stream;
        }
    };
    service.shutdown().await.unwrap();
    assert_eq!(timeout(SOON, client.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
    client.write_all(b"still here").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = String::new();
    timeout(SOON, service.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.ends_with("still here"), "{rest}");
}

#[tokio::test]
async fn two_hundred_connections_at_once_are_all_served() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = std::sync::Arc::new(site.tunnel(&service.flag).await);
    let mut clients = JoinSet::new();
    for n in 0..200 {
        let tunnel = tunnel.clone();
        clients.spawn(async move { (n.to_string(), tunnel.ask(&n.to_string()).await) });
    }
    while let Some(done) = clients.join_next().await {
        let (sent, received) = done.unwrap();
        assert_eq!(sent, received);
    }
}

#[tokio::test]
async fn eight_mebibytes_each_way_arrive_unchanged() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = site.tunnel(&service.flag).await;
    let sent: Vec<u8> = (0u32..2 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let (mut reader, mut writer) = tunnel.connect().await.into_split();
    let send = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    timeout(SOON, async { tokio::join!(send, reader.read_to_end(&mut received)) }).await.unwrap().1.unwrap();
    assert!(sent == received, "{} bytes sent, {} received, or they differ", sent.len(), received.len());
}

#[tokio::test]
async fn a_client_that_goes_away_or_stops_reading_does_not_touch_the_others() {
    let (site, flood, echo) = (Site::new().await, Service::tcp(Habit::Flood).await, Service::tcp(Habit::Echo).await);
    let (flooded, quiet) = (site.tunnel(&flood.flag).await, site.tunnel(&echo.flag).await);
    // One goes away in the middle of a stream.
    let mut gone = flooded.connect().await;
    gone.read_exact(&mut [0; 4096]).await.unwrap();
    drop(gone);
    // Another never reads; long after its buffers are full the steady one, which reads from its first byte on, still
    // gets its bytes.
    let _stalled = flooded.connect().await;
    let mut steady = flooded.connect().await;
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..64 {
        timeout(SOON, steady.read_exact(&mut buffer)).await.unwrap().unwrap();
    }
    assert_eq!(quiet.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_hundred_clients_that_stop_reading_at_once_lose_their_connections_and_nobody_else_does() {
    let (site, flood) = (Site::new().await, Service::tcp(Habit::Flood).await);
    let tunnel = site.tunnel(&flood.flag).await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        stalled.push(tunnel.connect().await);
    }
    let mut steady = tunnel.connect().await;
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..16 {
        timeout(SOON * 2, steady.read_exact(&mut buffer)).await.unwrap().unwrap();
    }
    wait::until("the first to be closed", SOON, async || {
        if tunnel.daemon.log().contains("did not read for") { Ok(()) } else { Err(tunnel.daemon.log_tail(3)) }
    })
    .await;
    assert_eq!(tunnel.state().await.unwrap().details["reconnects"], 0);
}

#[tokio::test]
async fn a_port_where_nothing_listens_closes_that_connection_and_the_tunnel_stays_up() {
    let site = Site::new().await;
    let port = free_port();
    let tunnel = site.tunnel(&format!("-rport={port}")).await;
    // Closed: with an end or, as our word was never read, with a reset.
    let answer = tunnel.ask("hello").await;
    assert!(answer.is_empty() || answer.contains("reset"), "{answer}");
    let state = tunnel.becomes("the far end to be missed", |s| s.hops.len() > 1).await;
    assert_eq!(state.hops[0].state.to_string(), "up");
    assert!(state.hops[1].cause.contains(&format!("nothing listens at localhost:{port}")), "{state:?}");

    let _service = Service::on_port(port, Habit::Echo).await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    tunnel.becomes("the far end to be back", |s| s.hops[1].state.to_string() == "up").await;
}

#[tokio::test]
async fn a_key_narrowed_to_one_spelling_of_the_loopback_serves() {
    for name in ["localhost", "127.0.0.1"] {
        let service = Service::tcp(Habit::Echo).await;
        let port = service.flag.trim_start_matches("-rport=");
        let restrictions = format!("restrict,port-forwarding,permitopen=\"{name}:{port}\",command=\"/bin/false\"");
        let site = Site::with(&restrictions, &[]).await;
        let tunnel = site.tunnel(&service.flag).await;
        assert_eq!(tunnel.ask("hello").await, "hello", "{name}");
    }
}

#[tokio::test]
async fn a_stop_lets_open_connections_finish() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Count).await);
    let tunnel = site.tunnel(&service.flag).await;
    let mut open = tunnel.connect().await;
    open.write_all(b"123").await.unwrap();
    wait::until("the connection to be carried", SOON, async || {
        // A stop before the accept would be another test.
        if tunnel.ask("x").await == "1" { Ok(()) } else { Err("not yet") }
    })
    .await;
    tunnel.daemon.signal(interlink_testkit::process::Signal::SIGTERM);
    wait::until(
        "the socket to go",
        SOON,
        async || {
            if tunnel.dir.join("t.sock").exists() { Err("it is there") } else { Ok(()) }
        },
    )
    .await;
    assert_eq!(ask(open, "45").await, "5");
    assert_eq!(tunnel.daemon.exited(Duration::from_secs(20)).await.code(), Some(0));
}
