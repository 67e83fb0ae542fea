//! The SSH session: brought up, watched, brought up again, for ever.
//!
//! ```text
//!            ┌──────────── connect: dial ▸ handshake ▸ log in ▸ probe ───────────┐
//!   Connecting ──▶ Up(Live) ──session ended──▶ Down{since, fault, retry_at} ──pause┘
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`link`] | the state, published to everybody else |
//! | [`live`] | one established session: opens channels |
//! | [`fault`] | why there is none, in words |
//! | `connect`, `dial`, `gatekeeper` | one attempt: TCP, SSH, who the server is |
//!
//! [`keep_up`] never gives up: whatever a person must mend can be mended while it runs, because the key and host key
//! files are read again before every attempt.

mod connect;
mod dial;
pub mod fault;
mod gatekeeper;
pub mod link;
pub mod live;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, Pace};
use crate::config::Settings;
use crate::credentials::Credentials;
use fault::Fault;
use link::Link;
use live::{FarEnd, Live};

/// A session that lasted this long was a good one: the next fault starts with quick retries again.
const SETTLED: Duration = Duration::from_secs(10);

/// How often a far end that refused is asked again, so that the state tells when it is back.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Keeps a session up until `shutdown`, then leaves the last one to whoever still uses it.
pub async fn keep_up(
    settings: &Settings,
    mut credentials: Credentials,
    link: &watch::Sender<Link>,
    mut reload: watch::Receiver<u64>,
    shutdown: &CancellationToken,
) {
    let mut backoff = Backoff::default();
    let mut down_since = None;
    loop {
        let attempt = async {
            credentials.refresh().await;
            connect::connect(settings, credentials.identity(), credentials.host_keys()).await
        };
        let connected = tokio::select! {
            connected = attempt => connected,
            () = shutdown.cancelled() => return,
        };
        let fault = match connected {
            Ok((live, end)) => {
                down_since = None;
                let began = Instant::now();
                link.send_replace(Link::Up(Arc::clone(&live)));
                let Some(why) = watch_over(settings, &live, end, &mut credentials, &mut reload, shutdown).await else {
                    return;
                };
                if began.elapsed() >= SETTLED {
                    backoff.reset();
                }
                Fault::lost(&settings.server, &why)
            }
            Err(fault) => fault,
        };
        let now = Timestamp::now();
        let since = *down_since.get_or_insert(now);
        let pause = backoff.next(fault.pace, rand::random());
        tracing::debug!(attempts = backoff.failures(), ?pause, cause = fault.cause, "trying again after a pause");
        let retry_at = SignedDuration::try_from(pause).map_or(now, |pause| now + pause);
        let patient = fault.pace == Pace::Patient;
        link.send_replace(Link::Down { since, fault, retry_at });
        tokio::select! {
            () = sleep(pause) => {}
            () = reloaded(&mut reload) => {
                // A person is at work: they want to see the effect now, also after many failures.
                if patient { backoff.reset(); }
            }
            () = shutdown.cancelled() => return,
        }
    }
}

/// Waits for the end of the session; `None` when the tunnel stops first.
async fn watch_over(
    settings: &Settings,
    live: &Arc<Live>,
    mut end: oneshot::Receiver<String>,
    credentials: &mut Credentials,
    reload: &mut watch::Receiver<u64>,
    shutdown: &CancellationToken,
) -> Option<String> {
    let far_end = live.far_end();
    loop {
        let ask_again = async {
            sleep(ASK_AGAIN).await;
            if *far_end.borrow() == FarEnd::Refuses
                && let Ok(probe) = live.open(settings.connect_timeout).await
            {
                let _ = probe.close().await;
            }
        };
        tokio::select! {
            why = &mut end => return Some(why.unwrap_or_else(|_| "its task ended".into())),
            () = reloaded(reload) => credentials.reload().await,
            () = ask_again => {}
            () = shutdown.cancelled() => return None,
        }
    }
}

/// The next SIGHUP; never, once nobody sends any more.
async fn reloaded(reload: &mut watch::Receiver<u64>) {
    if reload.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
