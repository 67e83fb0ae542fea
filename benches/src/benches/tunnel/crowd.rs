//! `tunnel.rss_1000`: the memory of a tunnel with 1,000 open connections, of which 100 clients take nothing of what
//! the service sends them without end.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;

use super::rig::{LIMIT, Site, Tunnel};
use super::service::{Order, Service};
use crate::bench::Bench;
use crate::descriptors;
use crate::figure::{Better, Figure};
use crate::usage;

pub(crate) const BENCH: Bench = Bench {
    figures: &["tunnel.rss_1000"],
    about: "the most memory of an ssh-tunnel with 1,000 connections, 100 of them not read by their clients",
    programs: &["ssh-tunnel"],
    run: || Box::pin(run()),
};

/// MB
const MEMORY: f64 = 64.0;
const OPEN: usize = 1000;
const STALLED: usize = 100;
const ROUNDS: usize = 3;

/// Much longer than a client may read nothing before it loses its connection.
const WATCHED: Duration = Duration::from_secs(8);

async fn run() -> anyhow::Result<Vec<Figure>> {
    descriptors::allow_many()?;
    let service = Service::start()?;
    let site = Site::new(&[]).await;
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let tunnel = site.ours(&format!("ours{round}"), service.port(), &[]).await?;
        let peak = tokio::task::spawn_blocking(move || peak(&tunnel)).await??;
        eprintln!("  round {round} of {ROUNDS}: {peak:.1} MB");
        rounds.push((peak, MEMORY));
    }
    Ok(vec![Figure::of_rounds("tunnel.rss_1000", "MB", Better::Lower, LIMIT, &rounds)])
}

fn peak(tunnel: &Tunnel) -> anyhow::Result<f64> {
    let mut open = Vec::new();
    for number in 0..OPEN - STALLED {
        let mut stream = tunnel.ask(Order::Echo)?;
        stream.write_all(&[1]).and_then(|()| stream.read_exact(&mut [0])).with_context(|| format!("the {number}th"))?;
        open.push(stream);
    }
    for _ in 0..STALLED {
        open.push(tunnel.ask(Order::Give(u64::MAX))?);
    }
    std::thread::sleep(WATCHED);
    // Those that are read are not touched by those that are not.
    for (number, stream) in open.iter_mut().take(OPEN - STALLED).enumerate() {
        stream.write_all(&[1]).and_then(|()| stream.read_exact(&mut [0])).with_context(|| format!("the {number}th"))?;
    }
    usage::peak_memory(tunnel.pid()?)
}
