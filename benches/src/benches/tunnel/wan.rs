//! `tunnel.wan`: many bytes over a link of 50 ms.
//!
//! ```text
//!   near ──▶ ssh-tunnel ═══════════════╗
//!   near ──▶ ssh -N -L  ═══════════════╬═25 ms each way═▶ far: one sshd ──▶ a service
//!   near ──▶ ssh-tunnel -connections 4 ╣                                     ▲
//!   near ──▶ one plain TCP connection ─╜─────────────────────────────────────┘
//! ```
//!
//! Each round moves the same bytes through each of them, in turns.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use interlink_testkit::network::{Conditions, Link, Namespace};

use super::rig::{CIPHER, PATIENCE, PEER, Site, ask};
use super::service::{Service, Way};
use crate::bench::Bench;
use crate::figure::{Better, Figure};

pub(crate) const BENCH: Bench = Bench {
    figures: &[
        "tunnel.wan_up",
        "tunnel.wan_down",
        "tunnel.wan_100m_up",
        "tunnel.wan_100m_down",
        "tunnel.wan_four_up",
        "tunnel.wan_four_down",
    ],
    about: "bytes over a round trip of 50 ms, through ssh-tunnel, ssh -L and plain TCP",
    programs: &["ssh-tunnel"],
    run: || Box::pin(run()),
};

const ROUNDS: usize = 5;
const DELAY: Duration = Duration::from_millis(25);
/// 100 Mbit/s
const RATE: f64 = 12.5e6;
/// Of a transfer where the rate is limited, and where it isn't: some seconds.
const BYTES: [u64; 2] = [32 << 20, 128 << 20];
/// SSH connections, and streams over them.
const STREAMS: usize = 4;
const PLAIN: &str = "plain TCP";

/// What is compared, and what is to be reached.
struct Comparison {
    names: [&'static str; 2],
    limited: bool,
    ours: Road,
    peer: (Road, &'static str),
    goals: [f64; 2],
}

/// A way for bytes to the service.
#[derive(Clone)]
enum Road {
    /// A tunnel's socket and the connections over it.
    Tunnel(PathBuf, usize),
    Plain(Namespace, u16),
}

async fn run() -> anyhow::Result<Vec<Figure>> {
    let link = Link::new(Conditions { delay: DELAY, ..Conditions::default() });
    let near = link.near().clone();
    let service = Service::at(link.far())?;
    let site = Site::behind(Some(link), &[]).await;
    let ours = site.ours("ours", service.port(), &[]).await?;
    let four = site.ours("four", service.port(), &["-connections", &STREAMS.to_string()]).await?;
    let peer = site.peer("peer", service.port(), &["-c", CIPHER]).await?;
    let road = Road::Tunnel(ours.socket.clone(), 1);
    let plain = (Road::Plain(near, service.port()), PLAIN);
    let comparisons = [
        Comparison {
            names: ["tunnel.wan_up", "tunnel.wan_down"],
            limited: false,
            ours: road.clone(),
            peer: (Road::Tunnel(peer.socket.clone(), 1), PEER),
            goals: [1.0, 1.05],
        },
        Comparison {
            names: ["tunnel.wan_100m_up", "tunnel.wan_100m_down"],
            limited: true,
            ours: road,
            peer: plain.clone(),
            goals: [0.9; 2],
        },
        Comparison {
            names: ["tunnel.wan_four_up", "tunnel.wan_four_down"],
            limited: false,
            ours: Road::Tunnel(four.socket.clone(), STREAMS),
            peer: plain,
            goals: [0.9; 2],
        },
    ];
    tokio::task::spawn_blocking(move || {
        let link = site.link().context("it is behind a link")?;
        let mut figures = Vec::new();
        for comparison in comparisons {
            link.set(Conditions { delay: DELAY, rate: comparison.limited.then_some(RATE), ..Conditions::default() });
            figures.extend(comparison.figures()?);
        }
        drop((ours, four, peer));
        Ok(figures)
    })
    .await?
}

impl Comparison {
    fn figures(&self) -> anyhow::Result<Vec<Figure>> {
        let bytes = BYTES[usize::from(!self.limited)];
        let (peer, peer_name) = &self.peer;
        let mut figures = Vec::new();
        for (side, way) in [Way::Up, Way::Down].into_iter().enumerate() {
            let mut rounds = Vec::new();
            for round in 1..=ROUNDS {
                let pair = if round % 2 == 0 {
                    let theirs = peer.rate(way, bytes)?;
                    (self.ours.rate(way, bytes)?, theirs)
                } else {
                    (self.ours.rate(way, bytes)?, peer.rate(way, bytes)?)
                };
                eprintln!("  {} {round} of {ROUNDS}: {:.1} MB/s, {peer_name} {:.1}", self.names[side], pair.0, pair.1);
                rounds.push(pair);
            }
            let figure = Figure::of_rounds(self.names[side], "MB/s", Better::Higher, peer_name, &rounds);
            figures.push(figure.goal(self.goals[side]));
        }
        Ok(figures)
    }
}

impl Road {
    /// Moves the bytes, and tells how fast, in MB/s.
    fn rate(&self, way: Way, bytes: u64) -> anyhow::Result<f64> {
        let begun = Instant::now();
        match self {
            Self::Plain(near, port) => {
                let mut stream = near.within(|| TcpStream::connect((Link::FAR, *port)))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(&way.order(bytes).header())?;
                way.carry(&mut stream, bytes)?;
            }
            Self::Tunnel(socket, streams) => {
                let share = bytes / *streams as u64;
                let one = || way.carry(&mut ask(socket, way.order(share))?, share).map_err(anyhow::Error::from);
                thread::scope(|scope| {
                    let all: Vec<_> = (0..*streams).map(|_| scope.spawn(one)).collect();
                    all.into_iter().try_for_each(|stream| stream.join().map_err(|_| anyhow::anyhow!("it panicked"))?)
                })?;
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "far fewer bytes than that")]
        Ok(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64())
    }
}
