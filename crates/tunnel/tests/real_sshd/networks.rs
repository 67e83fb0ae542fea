//! The network goes away and comes back.
//!
//! `INTERLINK_SOAK=1` takes the link down for a minute, and waits until a silent loss is noticed on an idle connection;
//! otherwise the link is down for some seconds, and silent losses are left to it and to the benchmarks.

use std::time::{Duration, Instant};

use interlink_testkit::dirs::TestDir;
use interlink_testkit::network::{Conditions, Link};
use interlink_testkit::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::rig::{Habit, SOON, Service, Site, Tunnel, ask, soak};

/// A tunnel over a link, to a service that echoes.
struct World {
    tunnel: Tunnel,
    link: Link,
    site: Site,
    _service: (Service, TestDir),
}

impl World {
    async fn new() -> Self {
        let link = Link::new(Conditions::default());
        let site = Site::beyond(&link).await;
        // A Unix socket leads from any network into any other.
        let dir = TestDir::new();
        let service = Service::unix(dir.join("echo.sock"), Habit::Echo);
        let tunnel = Tunnel::start_before(&link, |dir| {
            [site.flags(dir), vec![service.flag.clone(), "-wait=60s".into()]].concat()
        });
        tunnel.up().await;
        Self { tunnel, link, site, _service: (service, dir) }
    }

    async fn reconnects(&self) -> u64 {
        let state = self.tunnel.state().await.expect("the state is served");
        state.details["reconnects"].as_u64().expect("a number")
    }
}

async fn echoes(stream: &mut UnixStream) {
    stream.write_all(b"x").await.expect("the tunnel takes it");
    let mut answer = [0];
    timeout(SOON, stream.read_exact(&mut answer)).await.expect("an answer in time").expect("the connection lives");
    assert_eq!(&answer, b"x");
}

#[tokio::test]
async fn a_short_loss_of_the_link_is_only_a_pause() {
    let world = World::new().await;
    let mut open = world.tunnel.connect().await;
    echoes(&mut open).await;
    world.link.down();
    open.write_all(b"abc").await.unwrap();
    let new = world.tunnel.connect().await;
    sleep(Duration::from_secs(3)).await;
    world.link.up();
    let mut answer = [0; 3];
    timeout(SOON, open.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"abc");
    assert_eq!(ask(new, "hello").await, "hello");
    assert_eq!(world.reconnects().await, 0);
}

#[tokio::test]
async fn a_minute_without_a_link_ends_what_was_open_and_what_comes_then_is_served() {
    if !soak() {
        return;
    }
    let world = World::new().await;
    let mut open = world.tunnel.connect().await;
    echoes(&mut open).await;
    world.link.down();
    sleep(Duration::from_secs(60)).await;
    let new = world.tunnel.connect().await;
    assert_eq!(timeout(SOON, open.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
    world.tunnel.down().await;
    world.link.up();
    assert_eq!(ask(new, "hello").await, "hello");
    world.tunnel.up().await;
}

#[tokio::test]
async fn a_silent_loss_is_noticed_within_45_seconds() {
    if !soak() {
        return;
    }
    let (idle, used) = (World::new().await, World::new().await);
    let mut open = used.tunnel.connect().await;
    echoes(&mut open).await;
    let begun = Instant::now();
    for world in [&idle, &used] {
        world.link.forget_connections();
    }
    open.write_all(b"lost").await.unwrap();
    for world in [&idle, &used] {
        wait::until("the loss to be noticed", Duration::from_secs(90), async || match world.reconnects().await {
            0 => Err("it is not"),
            _ => Ok(()),
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(46), "{:?}", begun.elapsed());
        assert_eq!(world.tunnel.ask("hello").await, "hello");
    }
    assert_eq!(timeout(SOON, open.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
}

#[tokio::test]
async fn a_server_that_is_killed_and_started_again_is_found_again() {
    let world = World::new().await;
    world.site.sshd.daemon().kill9();
    world.site.sshd.kill_sessions();
    let state = world.tunnel.down().await;
    assert!(state.hops[0].cause.contains("can't be connected to") || state.hops[0].cause.contains("lost"), "{state:?}");
    let waiting = world.tunnel.connect().await;
    world.site.sshd.restart().await;
    assert_eq!(ask(waiting, "hello").await, "hello");
    assert_eq!(world.reconnects().await, 1);
}
