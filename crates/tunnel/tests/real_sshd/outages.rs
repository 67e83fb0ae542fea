//! The server goes away and comes back.

use std::time::Duration;

use interlink_testkit::process::Signal;
use interlink_testkit::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::rig::{Habit, SOON, Service, Site, Tunnel, ask};

#[tokio::test]
async fn a_killed_session_is_replaced_and_new_connections_wait_for_it() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = site.tunnel(&service.flag).await;
    let mut open = tunnel.connect().await;
    open.write_all(b"a").await.unwrap();
    open.read_exact(&mut [0]).await.unwrap();
    site.sshd.kill_sessions();
    // What was open ends, at once and for good …
    assert_eq!(timeout(SOON, open.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    // … and what comes is served.
    assert_eq!(tunnel.ask("hello").await, "hello");
    let state = tunnel.becomes("the reconnect to be counted", |s| s.details["reconnects"] == 1).await;
    assert_eq!(state.details["peer"], format!("127.0.0.1:{}", site.sshd.port()));
}

#[tokio::test]
async fn the_tunnel_listens_before_the_server_is_there_and_serves_once_it_is() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    site.sshd.daemon().kill9();
    let tunnel = Tunnel::start(|dir| [site.flags(dir), vec![service.flag.clone(), "-wait=60s".into()]].concat());
    let state = tunnel.down().await;
    assert!(state.hops[0].cause.contains("can't be connected to"), "{state:?}");
    assert!(state.hops[0].remedy.contains("sshd is not running"), "{state:?}");
    let waiting = tunnel.connect().await;
    site.sshd.restart().await;
    assert_eq!(ask(waiting, "hello").await, "hello");
    let state = tunnel.up().await;
    assert_eq!(state.hops[0].cause, "");
    assert_eq!(state.details["reconnects"], 0);
}

#[tokio::test]
async fn a_connection_that_waited_long_enough_is_closed() {
    let site = Site::new().await;
    site.sshd.daemon().kill9();
    let tunnel = Tunnel::start(|dir| [site.flags(dir), vec!["-rport=1".into(), "-wait=200ms".into()]].concat());
    tunnel.down().await;
    assert_eq!(ask(tunnel.connect().await, "").await, "");
}

#[tokio::test]
async fn a_server_that_freezes_during_the_handshake_is_given_up() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    site.sshd.daemon().signal(Signal::SIGSTOP);
    let tunnel =
        Tunnel::start(|dir| [site.flags(dir), vec![service.flag.clone(), "-connect-timeout=300ms".into()]].concat());
    let state = tunnel.down().await;
    assert!(state.hops[0].cause.contains("took longer than 300ms"), "{state:?}");
    site.sshd.daemon().signal(Signal::SIGCONT);
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_hang_up_signal_reads_the_key_again_and_tries_at_once() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    // Nobody is let in: the tunnel waits half a minute before it tries again …
    let keys = site.sshd.authorized_keys(&crate::rig::me());
    let text = std::fs::read_to_string(&keys).unwrap();
    std::fs::write(&keys, "").unwrap();
    let tunnel = Tunnel::start(|dir| [site.flags(dir), vec![service.flag.clone()]].concat());
    let state = tunnel.down().await;
    assert!(state.hops[0].cause.contains("refused the key"), "{state:?}");
    assert!(state.hops[0].remedy.contains("authorized_keys"), "{state:?}");
    std::fs::write(&keys, text).unwrap();
    // … unless somebody says that it is mended. The signal may come before the pause began.
    wait::until("the tunnel to try again", Duration::from_secs(20), async || {
        tunnel.daemon.signal(Signal::SIGHUP);
        match tunnel.state().await {
            Ok(state) if state.hops[0].state.to_string() == "up" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // Bad files are no reason to lose what works.
    std::fs::write(tunnel.dir.join("hosts"), "").unwrap();
    tunnel.daemon.signal(Signal::SIGHUP);
    wait::until("the complaint", SOON, async || {
        if tunnel.daemon.log().contains("holds no key") { Ok(()) } else { Err(tunnel.daemon.log_tail(5)) }
    })
    .await;
    site.sshd.kill_sessions();
    assert_eq!(tunnel.ask("hello").await, "hello");
}
