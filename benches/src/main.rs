//! Compares interlink with what a user would pick instead, side by side in one run.
//!
//! ```text
//!   bench [--only PREFIX] ──▶ each Bench of benches::ALL ──▶ Figures ──▶ table on stdout, target/bench.json
//! ```
//!
//! - [`bench`]: what a benchmark is. A new one is a file in [`benches`] and a line in [`benches::ALL`].
//! - [`figure`]: what a benchmark finds out: a name, a unit, ours, the peer's, and which direction is better.
//! - [`samples`]: medians and quantiles. Machines are noisy: ours and the peer's rounds alternate, medians count.
//! - [`processor`]: one processor for all that takes part, where the scheduler's choices would count more.
//! - [`usage`]: what a process has used. [`descriptors`]: enough of them for thousands of connections.
//! - [`report`]: the table and the JSON.
//!
//! Progress goes to stderr. Whatever a benchmark starts ends with it, also when it fails or is interrupted.

mod bench;
mod benches;
mod descriptors;
mod figure;
mod processor;
mod report;
mod samples;
mod usage;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser;
use futures_util::FutureExt as _;
use interlink_testkit::binaries;

use bench::Bench;

/// Compares interlink with what a user would pick instead
#[derive(Debug, Parser)]
struct Args {
    /// Only the figures whose name begins so (`tunnel`, `submit.rate`)
    #[arg(long, value_name = "PREFIX", default_value = "")]
    only: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // The testkit says by a panic what is missing or did not come up: the sentence counts, not the way there.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    tokio::select! {
        done = run(&args.only) => match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench: {error:#}");
                ExitCode::FAILURE
            }
        },
        // Dropping what runs ends what it has started.
        interrupted = tokio::signal::ctrl_c() => {
            eprintln!("bench: stopped{}", interrupted.err().map(|e| format!(": {e}")).unwrap_or_default());
            ExitCode::from(130)
        }
    }
}

/// Runs the benchmarks that have figures of that prefix; one that fails does not keep the others from running.
async fn run(only: &str) -> anyhow::Result<()> {
    let chosen: Vec<&Bench> = benches::ALL.iter().filter(|bench| bench.has(only)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = benches::ALL.iter().flat_map(|bench| bench.figures).copied().collect();
        bail!("no figure begins with {only:?}; there are {}", names.join(", "));
    }
    for program in chosen.iter().flat_map(|bench| bench.programs) {
        binaries::find(program).map_err(anyhow::Error::msg)?;
    }
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for bench in chosen {
        let name = bench.figures.join(", ");
        eprintln!("{name}: {}", bench.about);
        let result = AssertUnwindSafe((bench.run)()).catch_unwind().await;
        match result.unwrap_or_else(|_| Err(anyhow::anyhow!("see above"))) {
            Ok(found) => figures.extend(found.into_iter().filter(|figure| figure.name.starts_with(only))),
            Err(error) => {
                eprintln!("{name} failed: {error:#}");
                failed.push(name);
            }
        }
    }
    if !figures.is_empty() {
        print!("{}", report::table(&figures));
        let file = binaries::workspace().join("target/bench.json");
        report::write_json(&figures, &file).with_context(|| format!("{} can't be written", file.display()))?;
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    Ok(())
}
