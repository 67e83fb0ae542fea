//! SIGTERM and SIGINT drain, SIGHUP reloads.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// Signals that come so soon after the first are the same wish: timeout(1) signals its child and then its whole group, and
/// terminal and parent both hand on a Ctrl-C.
const SAME_WISH: Duration = Duration::from_secs(1);

/// What the signals of this process mean.
#[derive(Debug, Clone)]
pub struct Signals {
    /// Cancelled by the first SIGTERM or SIGINT. A second one, a second or more later, ends the process
    /// at once.
    pub shutdown: CancellationToken,
    /// Changes with every SIGHUP.
    pub reload: watch::Receiver<u64>,
}

impl Signals {
    /// Installs the handlers. Must be called inside a tokio runtime, before anything that should survive SIGHUP.
    ///
    /// # Errors
    /// [`Failure`] where the system refuses a handler.
    pub fn install() -> Result<Self, Failure> {
        let handler = |kind| signal(kind).map_err(|e| Failure::failed(format!("can't handle signals: {e}")));
        let mut terminate = handler(SignalKind::terminate())?;
        let mut interrupt = handler(SignalKind::interrupt())?;
        let mut hangup = handler(SignalKind::hangup())?;
        let shutdown = CancellationToken::new();
        let (reloads, reload) = watch::channel(0);
        let token = shutdown.clone();
        tokio::spawn(async move {
            let mut asked: Option<Instant> = None;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {
                        // First, so that what the others say of it is in the new file.
                        crate::logs::open_again();
                        reloads.send_modify(|count| *count += 1);
                        continue;
                    }
                }
                if let Some(first) = asked {
                    if first.elapsed() < SAME_WISH {
                        continue;
                    }
                    tracing::warn!("asked to stop a second time; ending without finishing what is in hand");
                    std::process::exit(1);
                }
                tracing::info!("asked to stop; finishing what is in hand");
                asked = Some(Instant::now());
                crate::notify::stopping();
                token.cancel();
            }
        });
        Ok(Self { shutdown, reload })
    }
}
