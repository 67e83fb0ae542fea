//! The tunnel under systemd: restarted and killed while a client connects all the while, and stopped.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, LOCAL, Options, UNITS};
use interlink_testkit::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const TUNNEL: &str = LOCAL[2];
const SOON: Duration = Duration::from_secs(60);

/// Connects that the client makes before and after each restart.
const OFTEN: usize = 20;

/// A client that connects anew each time, until told to stop.
struct Client {
    connects: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<Seen>,
}

/// What it saw.
#[derive(Debug, Default)]
struct Seen {
    answered: usize,
    /// Taken in, and ended without an answer.
    broken: usize,
    refused: Vec<ErrorKind>,
}

impl Client {
    /// Asks the plugin again and again, without waiting for the answer to the question before.
    fn start(socket: PathBuf) -> Self {
        let (connects, stop) = (Arc::<AtomicUsize>::default(), CancellationToken::new());
        let (count, stopped) = (Arc::clone(&connects), stop.clone());
        let task = tokio::spawn(async move {
            let (mut seen, mut asked) = (Seen::default(), JoinSet::new());
            while !stopped.is_cancelled() {
                match UnixStream::connect(&socket).await {
                    Ok(stream) => drop(asked.spawn(ask(stream))),
                    Err(error) => seen.refused.push(error.kind()),
                }
                count.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(10)).await;
            }
            for answered in asked.join_all().await {
                if answered {
                    seen.answered += 1;
                } else {
                    seen.broken += 1;
                }
            }
            seen
        });
        Self { connects, stop, task }
    }

    /// Until it has connected some more times, however quick the machine is.
    async fn goes_on(&self) {
        let enough = self.connects.load(Ordering::Relaxed) + OFTEN;
        wait::until("the client to go on", SOON, async || {
            let connects = self.connects.load(Ordering::Relaxed);
            if connects >= enough { Ok(()) } else { Err(format!("{connects} of {enough}")) }
        })
        .await;
    }

    async fn stop(self) -> Seen {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

async fn ask(mut stream: UnixStream) -> bool {
    let asked = async {
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: plugin\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with("HTTP/1.1 200"))
    };
    matches!(timeout(SOON, asked).await, Ok(Ok(true)))
}

async fn answers(socket: &PathBuf) {
    wait::until("an answer through the tunnel", SOON, async || {
        let stream = UnixStream::connect(socket).await.map_err(|e| e.to_string())?;
        if ask(stream).await { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_is_refused_across_restarts_and_kills_and_stopped_means_stopped() {
    let deployed = Deployed::new(Options::alone(Form::Rsock)).await;
    let machine = &deployed.machine;
    machine.systemctl(["start", UNITS[3], TUNNEL]).await;
    let socket = machine.path("/run/interlink/plugin.sock");
    answers(&socket).await;

    let client = Client::start(socket.clone());
    for _ in 0..3 {
        client.goes_on().await;
        machine.systemctl(["restart", TUNNEL]).await;
        answers(&socket).await;
    }
    client.goes_on().await;
    let seen = client.stop().await;
    assert!(seen.refused.is_empty() && seen.broken == 0 && seen.answered >= 4 * OFTEN, "restart: {seen:?}");

    let client = Client::start(socket.clone());
    for kills in 1..=3 {
        client.goes_on().await;
        machine.run(["kill", "-9", &machine.show(TUNNEL, "MainPID").await]).await;
        machine.shows(TUNNEL, "NRestarts", &kills.to_string(), SOON).await;
        answers(&socket).await;
    }
    client.goes_on().await;
    let seen = client.stop().await;
    // What the killed process had taken in is gone; what came afterwards was served by the next.
    assert!(seen.refused.is_empty() && seen.answered >= OFTEN, "kill -9: {seen:?}");

    machine.systemctl(["stop", TUNNEL]).await;
    for _ in 0..20 {
        assert!(UnixStream::connect(&socket).await.is_err(), "{}", machine.journal(TUNNEL).await);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(machine.show(TUNNEL, "ActiveState").await, "inactive");
    machine.systemctl(["start", TUNNEL]).await;
    answers(&socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_whose_loop_stands_still_is_replaced_and_one_without_a_network_is_not() {
    let deployed = Deployed::new(Options::alone(Form::Rsock)).await;
    let machine = &deployed.machine;
    machine.write("/etc/systemd/system/interlink-tunnel.service.d/watchdog.conf", "[Service]\nWatchdogSec=2\n", 0o644);
    machine.systemctl(["daemon-reload"]).await;
    machine.systemctl(["stop", "test-sshd"]).await;
    machine.systemctl(["start", TUNNEL]).await;
    let before = machine.show(TUNNEL, "MainPID").await;
    // Several times the limit, without a server to connect to.
    sleep(Duration::from_secs(7)).await;
    assert_eq!(machine.show(TUNNEL, "MainPID").await, before, "{}", machine.journal(TUNNEL).await);
    assert!(machine.show(TUNNEL, "StatusText").await.contains("can't be connected to"));

    machine.run(["kill", "-STOP", &before]).await;
    machine.shows(TUNNEL, "NRestarts", "1", SOON).await;
    machine.systemctl(["start", "test-sshd", UNITS[3]]).await;
    answers(&machine.path("/run/interlink/plugin.sock")).await;
}
