//! `tunnel.up`, `tunnel.down`: many bytes over one connection, towards the server and from it.
//!
//! ```text
//!   here ──▶ ssh-tunnel ══aes256-gcm═════════╗
//!   here ──▶ ssh -N -L  ══aes256-gcm═════════╬══▶ one sshd ──▶ a service on loopback
//!   here ──▶ ssh -N -L  ══what it chooses════╝
//! ```
//!
//! Each round moves the same bytes through each of them, in turns. `…_cpu` is the processor time of the client program
//! alone, `…_default` compares with an `ssh` that nobody has told anything.

use std::time::Instant;

use super::rig::{CIPHER, PEER, Site, Tunnel};
use super::service::{Service, Way};
use crate::bench::Bench;
use crate::figure::{Better, Figure};
use crate::usage;

pub(crate) const BENCH: Bench = Bench {
    figures: &[
        "tunnel.up",
        "tunnel.up_cpu",
        "tunnel.up_default",
        "tunnel.down",
        "tunnel.down_cpu",
        "tunnel.down_default",
    ],
    about: "256 MiB over one connection, through ssh-tunnel and through ssh -L",
    programs: &["ssh-tunnel"],
    run: || Box::pin(run()),
};

/// Odd, so that the median is a round that took place.
const ROUNDS: usize = 11;
/// Of a transfer.
const BYTES: u64 = 256 << 20;
#[allow(clippy::cast_precision_loss, reason = "a power of two")]
const GIB: f64 = BYTES as f64 / (1 << 30) as f64;
#[allow(clippy::cast_precision_loss, reason = "a power of two")]
const MB: f64 = BYTES as f64 / 1e6;

/// What `ssh` chooses by itself: how much faster ours is to be.
const OVER_DEFAULT: f64 = 1.3;

/// One transfer.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    /// MB/s
    rate: f64,
    /// Processor seconds of the client program for a GiB.
    cpu: f64,
}

async fn run() -> anyhow::Result<Vec<Figure>> {
    let service = Service::start()?;
    let site = Site::new(&[]).await;
    let ours = site.ours("ours", service.port(), &[]).await?;
    let same = site.peer("same", service.port(), &["-c", CIPHER]).await?;
    let default = site.peer("default", service.port(), &[]).await?;
    tokio::task::spawn_blocking(move || figures(&[ours, same, default])).await?
}

fn figures(tunnels: &[Tunnel; 3]) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (way, names) in [
        (Way::Up, ["tunnel.up", "tunnel.up_cpu", "tunnel.up_default"]),
        (Way::Down, ["tunnel.down", "tunnel.down_cpu", "tunnel.down_default"]),
    ] {
        // One more at first, unmeasured.
        let mut rounds = Vec::new();
        for round in 0..=ROUNDS {
            let mut all = [None; 3];
            for turn in 0..3 {
                let side = (round + turn) % 3;
                all[side] = Some(transfer(&tunnels[side], way)?);
            }
            if let (1.., [Some(ours), Some(same), Some(default)]) = (round, all) {
                if round % 5 == 1 {
                    eprintln!(
                        "  {way:?} {round}: {:.0} MB/s, {PEER} {:.0} and {:.0}",
                        ours.rate, same.rate, default.rate
                    );
                }
                rounds.push((ours, same, default));
            }
        }
        let rates: Vec<_> = rounds.iter().map(|(ours, same, _)| (ours.rate, same.rate)).collect();
        let cpu: Vec<_> = rounds.iter().map(|(ours, same, _)| (ours.cpu, same.cpu)).collect();
        let defaults: Vec<_> = rounds.iter().map(|(ours, _, default)| (ours.rate, default.rate)).collect();
        figures.extend([
            Figure::of_rounds(names[0], "MB/s", Better::Higher, PEER, &rates),
            Figure::of_rounds(names[1], "s/GiB", Better::Lower, PEER, &cpu),
            Figure::of_rounds(names[2], "MB/s", Better::Higher, "ssh -L, its own cipher", &defaults).goal(OVER_DEFAULT),
        ]);
    }
    Ok(figures)
}

fn transfer(tunnel: &Tunnel, way: Way) -> anyhow::Result<Transfer> {
    let pid = tunnel.pid()?;
    let mut stream = tunnel.ask(way.order(BYTES))?;
    let (begun, used) = (Instant::now(), usage::processor_time(pid)?);
    way.carry(&mut stream, BYTES)?;
    let (took, used) = (begun.elapsed(), usage::processor_time(pid)?.saturating_sub(used));
    Ok(Transfer { rate: MB / took.as_secs_f64(), cpu: used.as_secs_f64() / GIB })
}
