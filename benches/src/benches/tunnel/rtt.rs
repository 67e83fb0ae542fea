//! `tunnel.rtt_p50`, `tunnel.rtt_p99`: a small request and its answer on one open connection.
//!
//! ```text
//!   here ──lsock──▶ ssh-tunnel ══╗
//!                                ╠══▶ one sshd, one cipher ──▶ an echo on loopback
//!   here ──lsock──▶ ssh -N -L ═══╝
//! ```
//!
//! Each round sends the same number of requests through both, a few at a time and in turns, so that whatever else the
//! machine does hits both alike. A round gives one p50 and one p99 of each. All take turns on one processor, see
//! [`crate::processor`].

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::rig::{CIPHER, PEER, Site};
use super::service::{Order, Service};
use crate::bench::Bench;
use crate::figure::{Better, Figure};
use crate::processor::OneProcessor;
use crate::samples::quantile;

pub(crate) const BENCH: Bench = Bench {
    figures: &[P50, P99],
    about: "round trip of 64 bytes on an open connection, through ssh-tunnel and through ssh -L",
    programs: &["ssh-tunnel"],
    run: || Box::pin(run()),
};

const P50: &str = "tunnel.rtt_p50";
const P99: &str = "tunnel.rtt_p99";

/// Odd, so that the median is a round that took place.
const ROUNDS: usize = 51;
/// Turns of each side in a round.
const TURNS: usize = 10;
/// Requests of a turn.
const REQUESTS: usize = 100;
/// Before them, unmeasured: the other side has just had the processor's caches.
const WARM_UP: usize = 10;
/// Bytes of a request, and of its answer.
const SIZE: usize = 64;

async fn run() -> anyhow::Result<Vec<Figure>> {
    let _one = OneProcessor::take()?;
    let service = Service::start()?;
    let site = Site::new(&[]).await;
    let tunnel = site.ours("ours", service.port(), &[]).await?;
    let ssh = site.peer("peer", service.port(), &["-c", CIPHER]).await?;
    let (ours, peers) = (tunnel.ask(Order::Echo)?, ssh.ask(Order::Echo)?);
    // One thread that blocks, so that nothing of ours stands between the clock and the socket.
    let rounds = tokio::task::spawn_blocking(move || rounds(ours, peers)).await??;
    drop((tunnel, ssh));

    let figure = |name, fraction| {
        let of = |sorted: &Vec<f64>| quantile(sorted, fraction).context("no requests");
        let pairs: Vec<(f64, f64)> =
            rounds.iter().map(|(ours, peers)| Ok((of(ours)?, of(peers)?))).collect::<anyhow::Result<_>>()?;
        anyhow::Ok(Figure::of_rounds(name, "µs", Better::Lower, PEER, &pairs))
    };
    Ok(vec![figure(P50, 0.5)?, figure(P99, 0.99)?])
}

/// The sorted times of each round, ours and the peer's.
fn rounds(mut ours: UnixStream, mut peers: UnixStream) -> anyhow::Result<Vec<(Vec<f64>, Vec<f64>)>> {
    let _one = OneProcessor::take()?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let mut pair = [Vec::new(), Vec::new()];
        let mut streams = [("ssh-tunnel", &mut ours), (PEER, &mut peers)];
        for turn in 0..TURNS {
            for side in [turn % 2, 1 - turn % 2] {
                let (name, stream) = &mut streams[side];
                let times = round_trips(stream, WARM_UP + REQUESTS).with_context(|| format!("through {name}"))?;
                pair[side].extend(&times[WARM_UP..]);
            }
        }
        for times in &mut pair {
            times.sort_by(f64::total_cmp);
        }
        let [ours, peers] = pair;
        if round % 10 == 0 {
            let p50 = |times: &[f64]| quantile(times, 0.5).unwrap_or_default();
            eprintln!("  round {} of {ROUNDS}: {:.0} µs, {PEER} {:.0} µs", round + 1, p50(&ours), p50(&peers));
        }
        rounds.push((ours, peers));
    }
    Ok(rounds)
}

/// The time of each request in µs.
fn round_trips(stream: &mut UnixStream, count: usize) -> anyhow::Result<Vec<f64>> {
    let (request, mut answer) = ([0x5a; SIZE], [0; SIZE]);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        stream.write_all(&request)?;
        stream.read_exact(&mut answer)?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
        ensure!(answer == request, "the answer is not the request");
        answer = [0; SIZE];
    }
    Ok(times)
}
