//! `interlinkctl status`: the chain and the pods on it, live in the terminal.
//!
//! ```text
//!   state sockets ─┐
//!   ping ──────────┼─▶ chain ─┐
//!   pods, statuses ┴─▶ pods ──┴─▶ view (pure) ─▶ screen: in place on a terminal, once elsewhere
//! ```
//!
//! Every hop is asked for itself and within a time limit, so one that is silent holds up nobody.
//!
//! - [`chain`]: the hops. [`pods`]: the pods. [`view`]: text and JSON. [`screen`]: the terminal.

pub mod chain;
pub mod pods;
pub mod screen;
pub mod view;

use std::path::PathBuf;
use std::time::Duration;

use interlink_daemon::Failure;
use interlink_daemon::exit::FAILED;
use interlink_transport::Endpoint;
use jiff::Timestamp;

use crate::check::words::Words;
use crate::run::signal::Interrupts;
use chain::Hop;
use pods::Listed;
use screen::Screen;

/// What [`Interrupts`] says of it.
const CTRL_C: u8 = 130;

/// What to show, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Print JSON.
    pub json: bool,
    /// Show it once, also on a terminal.
    pub once: bool,
    /// The directory with the state sockets.
    pub runtime_dir: PathBuf,
    /// The tunnel's state socket, where it is not in that directory.
    pub tunnel_state: Option<PathBuf>,
    /// Where the API server listens; without it, where it says that it does.
    pub api: Option<Endpoint>,
    /// Between two looks.
    pub every: Duration,
    /// The limit of each question.
    pub limit: Duration,
}

/// What was seen at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When.
    pub at: Timestamp,
    /// The hops, nearest to Kubernetes first.
    pub hops: Vec<Hop>,
    /// The pods.
    pub pods: Listed,
}

/// Shows the chain until it is interrupted, or once; the exit code: 0 if every hop is up.
///
/// # Errors
/// [`Failure`] when signals can't be handled.
pub async fn status(options: Options) -> Result<u8, Failure> {
    let mut interrupts = Interrupts::install().map_err(|e| Failure::failed(format!("can't handle signals: {e}")))?;
    let Some(mut screen) = Screen::open().filter(|_| !options.once && !options.json) else {
        let snapshot = tokio::select! {
            snapshot = look(&options) => snapshot,
            code = interrupts.next() => return Ok(code),
        };
        let text = if options.json { view::json(&snapshot) } else { view::text(&snapshot, view::Paper::plain()) };
        // Nobody may be reading; the exit code tells.
        let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes());
        return Ok(if snapshot.hops.iter().all(Hop::is_well) { 0 } else { FAILED });
    };
    loop {
        let turn = async {
            screen.show(&look(&options).await);
            tokio::time::sleep(options.every).await;
        };
        tokio::select! {
            () = turn => {}
            // Ctrl-C is how one leaves it.
            code = interrupts.next() => return Ok(if code == CTRL_C { 0 } else { code }),
        }
    }
}

async fn look(options: &Options) -> Snapshot {
    let heard = Words::ask(&options.runtime_dir, options.tunnel_state.as_deref(), options.limit).await;
    let api = options.api.clone().or_else(|| heard.api_endpoint());
    let (pinged, pods) = match &api {
        Some(api) => {
            let (pinged, pods) = tokio::join!(chain::ping(api, options.limit), pods::list(api, options.limit));
            (Some(pinged), pods)
        }
        None => (None, Listed::Unknown("where the API server listens is not known; name it with --api".to_owned())),
    };
    Snapshot { at: Timestamp::now(), hops: chain::hops(&heard, pinged.as_ref()), pods }
}
