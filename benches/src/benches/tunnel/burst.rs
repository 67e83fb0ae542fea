//! `tunnel.burst`: many new connections at once, and how many of them are served.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::rig::{CIPHER, PEER, Site};
use super::service::{Order, Service};
use crate::bench::Bench;
use crate::figure::{Better, Figure};

pub(crate) const BENCH: Bench = Bench {
    figures: &["tunnel.burst_200", "tunnel.burst"],
    about: "200 and 1,000 new connections at once, through ssh-tunnel and through ssh -L",
    programs: &["ssh-tunnel"],
    run: || Box::pin(run()),
};

const ROUNDS: usize = 5;

/// For one that is not served.
const PATIENCE: Duration = Duration::from_secs(20);

async fn run() -> anyhow::Result<Vec<Figure>> {
    let service = Service::start()?;
    let site = Site::new(&[]).await;
    let ours = site.ours("ours", service.port(), &[]).await?;
    let peer = site.peer("peer", service.port(), &["-c", CIPHER]).await?;
    let mut figures = Vec::new();
    for (name, count) in [("tunnel.burst_200", 200), ("tunnel.burst", 1000)] {
        let mut rounds = Vec::new();
        for round in 1..=ROUNDS {
            let (served, peers) = (burst(&ours.socket, count).await, burst(&peer.socket, count).await);
            eprintln!("  round {round} of {ROUNDS}: {served} of {count}, {PEER} {peers}");
            ensure!(served == count, "ssh-tunnel served {served} of {count} connections");
            rounds.push((f64::from(served), f64::from(peers)));
        }
        figures.push(Figure::of_rounds(name, "served", Better::Higher, PEER, &rounds));
    }
    Ok(figures)
}

/// How many of `count` connections made at once bring back what was sent.
async fn burst(socket: &Path, count: u32) -> u32 {
    let mut clients = JoinSet::new();
    for number in 0..count {
        let socket = socket.to_owned();
        clients.spawn(async move { timeout(PATIENCE, is_served(&socket, number)).await.unwrap_or(false) });
    }
    let served = clients.join_all().await.into_iter().filter(|served| *served).count();
    u32::try_from(served).unwrap_or(u32::MAX)
}

async fn is_served(socket: &Path, number: u32) -> bool {
    let attempt = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(&Order::Echo.header()).await?;
        stream.write_u32(number).await?;
        stream.read_u32().await
    };
    attempt.await.is_ok_and(|answer| answer == number)
}
