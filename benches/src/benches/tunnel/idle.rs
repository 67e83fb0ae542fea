//! `tunnel.rss_idle`, `tunnel.idle_cpu`: what a tunnel costs while nobody uses it.

use std::time::Duration;

use super::rig::{LIMIT, Site};
use super::service::Service;
use crate::bench::Bench;
use crate::figure::{Better, Figure};
use crate::usage;

pub(crate) const BENCH: Bench = Bench {
    figures: &["tunnel.rss_idle", "tunnel.idle_cpu"],
    about: "memory and processor time of an ssh-tunnel that nobody uses for a minute",
    programs: &["ssh-tunnel"],
    run: || Box::pin(run()),
};

/// MB
const MEMORY: f64 = 15.0;
/// Of a processor, in percent.
const PROCESSOR: f64 = 0.1;

const MINUTE: Duration = Duration::from_secs(60);

async fn run() -> anyhow::Result<Vec<Figure>> {
    let service = Service::start()?;
    let site = Site::new(&[]).await;
    let tunnel = site.ours("ours", service.port(), &[]).await?;
    let pid = tunnel.pid()?;
    let before = usage::processor_time(pid)?;
    tokio::time::sleep(MINUTE).await;
    let used = usage::processor_time(pid)?.saturating_sub(before);
    let percent = used.as_secs_f64() / MINUTE.as_secs_f64() * 100.0;
    Ok(vec![
        Figure::of_rounds("tunnel.rss_idle", "MB", Better::Lower, LIMIT, &[(usage::memory(pid)?, MEMORY)]),
        Figure::of_rounds("tunnel.idle_cpu", "% core", Better::Lower, LIMIT, &[(percent, PROCESSOR)]),
    ])
}
