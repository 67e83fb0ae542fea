//! `tunnel.recover_reset_ms`, `tunnel.recover_silent_s`: how long an outage lasts that the network is done with at once.
//!
//! Every tunnel has a link and a server of its own, so that they can lose their connections together. None carries
//! anything meanwhile: a loss is found sooner where bytes wait for an answer.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::Method;
use interlink_testkit::network::{Conditions, Link};
use interlink_transport::{Call, Client, Endpoint};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::rig::{LIMIT, Site, Tunnel};
use super::service::Service;
use crate::bench::Bench;
use crate::figure::{Better, Figure};

pub(crate) const BENCH: Bench = Bench {
    figures: &[RESET, SILENT],
    about: "from the loss of the SSH connection to the next connection carried, by 20 tunnels",
    programs: &["ssh-tunnel"],
    run: || Box::pin(run()),
};

const RESET: &str = "tunnel.recover_reset_ms";
const SILENT: &str = "tunnel.recover_silent_s";

const TUNNELS: usize = 20;
/// ms
const AFTER_RESET: f64 = 1000.0;
/// s
const AFTER_SILENCE: f64 = 45.0;

/// A tunnel that has held this long is taken for a good one.
const SETTLED: Duration = Duration::from_secs(11);
/// When nothing more is to be expected.
const GIVEN_UP: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);

/// A tunnel with a world of its own.
#[derive(Debug)]
struct World {
    tunnel: Tunnel,
    site: Site,
    _service: Service,
}

impl World {
    async fn new() -> anyhow::Result<Self> {
        let link = Link::new(Conditions::default());
        let service = Service::at(link.far())?;
        let site = Site::behind(Some(link), &[]).await;
        let tunnel = site.ours("ours", service.port(), &[]).await?;
        Ok(Self { tunnel, site, _service: service })
    }

    /// Cuts the SSH connection; the next one is welcome.
    async fn reset(&self) -> anyhow::Result<Duration> {
        self.site.sshd().kill_sessions();
        let begun = Instant::now();
        while let Err(error) = self.tunnel.probe(GIVEN_UP).await {
            ensure!(begun.elapsed() < GIVEN_UP, "no recovery within {GIVEN_UP:?}: {error:#}");
            sleep(Duration::from_millis(2)).await;
        }
        Ok(begun.elapsed())
    }

    /// Loses what the SSH connection sends, without a word; the next one is welcome.
    async fn silence(&self) -> anyhow::Result<Duration> {
        let before = reconnects(&self.tunnel.state).await?;
        self.site.link().context("it is behind a link")?.forget_connections();
        let begun = Instant::now();
        while reconnects(&self.tunnel.state).await? == before {
            if begun.elapsed() > GIVEN_UP {
                bail!("the loss was not noticed within {GIVEN_UP:?}");
            }
            sleep(LOOK).await;
        }
        self.tunnel.probe(GIVEN_UP).await?;
        Ok(begun.elapsed())
    }
}

async fn run() -> anyhow::Result<Vec<Figure>> {
    let mut worlds = Vec::new();
    for _ in 0..TUNNELS {
        worlds.push(World::new().await?);
    }
    sleep(SETTLED).await;
    let mut reset = Vec::new();
    for world in &worlds {
        reset.push((world.reset().await?.as_secs_f64() * 1e3, AFTER_RESET));
    }
    eprintln!("  after a reset: {}", list(&reset, "ms"));
    sleep(SETTLED).await;
    let mut lost = JoinSet::new();
    for world in worlds {
        lost.spawn(async move { world.silence().await });
        // Keepalives come every ten seconds: each tunnel is lost at another moment between two.
        sleep(Duration::from_millis(487)).await;
    }
    let mut silent = Vec::new();
    while let Some(took) = lost.join_next().await {
        silent.push((took??.as_secs_f64(), AFTER_SILENCE));
    }
    eprintln!("  after a silent loss: {}", list(&silent, "s"));
    Ok(vec![
        Figure::of_rounds(RESET, "ms", Better::Lower, LIMIT, &reset),
        Figure::of_rounds(SILENT, "s", Better::Lower, LIMIT, &silent),
    ])
}

/// All of them in order: the last counts as much as the middle.
fn list(times: &[(f64, f64)], unit: &str) -> String {
    let mut times: Vec<f64> = times.iter().map(|(took, _)| *took).collect();
    times.sort_by(f64::total_cmp);
    let times: Vec<String> = times.iter().map(|took| format!("{took:.1}")).collect();
    format!("{} {unit}", times.join(" "))
}

async fn reconnects(state: &Path) -> anyhow::Result<u64> {
    let client = Client::new(Endpoint::unix(state)?);
    let answer = client.send(Call::new(Method::GET, "/", "")).await?;
    let state: serde_json::Value = serde_json::from_slice(&answer.bytes(1 << 20, Duration::from_secs(5)).await?)?;
    state["details"]["reconnects"].as_u64().with_context(|| format!("no reconnects in {state}"))
}
