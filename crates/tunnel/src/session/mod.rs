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
//! | [`step`] | how far an attempt came |
//! | `connect`, `dial`, `jump`, `gatekeeper`, `login` | one attempt: TCP, jump hosts, SSH, who the server is, who we are |
//! | `listen` | in reverse: the server listens for us |
//! | `exec` | one command at the server that carries all connections |
//! | `ways` | what a session still needs before it carries a forward |
//! | [`conduit`] | what carries one connection |
//!
//! [`keep_up`] never gives up: whatever a person must mend can be mended while it runs, because the key and host key
//! files are read again before every attempt.

pub mod conduit;
mod connect;
mod dial;
mod exec;
pub mod fault;
mod gatekeeper;
mod jump;
pub mod link;
mod listen;
pub mod live;
mod login;
pub mod step;
mod ways;

use connect::connect;
pub use gatekeeper::Incoming;
pub(crate) use ways::bring_up;

use std::sync::Arc;
use std::time::Duration;

use interlink_transport::Stream;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, Pace};
use crate::config::{Direction, Forward, Settings};
use crate::credentials::Credentials;
use fault::Fault;
use link::Link;
use listen::{Listening, listen};
use live::{FarEnd, Live};

/// A session that lasted this long was a good one: the next fault starts with quick retries again.
const SETTLED: Duration = Duration::from_secs(10);

/// How often a far end that refused is asked again, so that the state tells when it is back.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Keeps a session up until `shutdown`, then leaves the last one to whoever still uses it.
pub async fn keep_up(
    settings: &Settings,
    forward: &Forward,
    mut credentials: Credentials,
    link: &watch::Sender<Link>,
    incoming: Option<mpsc::Sender<Incoming>>,
    mut reload: watch::Receiver<u64>,
    shutdown: &CancellationToken,
) {
    let mut backoff = Backoff::default();
    let mut down_since = None;
    loop {
        let attempt = async {
            credentials.refresh().await;
            bring_up(settings, forward, &credentials, incoming.clone()).await
        };
        let connected = tokio::select! {
            connected = attempt => connected,
            () = shutdown.cancelled() => return,
        };
        let fault = match connected {
            Ok((live, mut end)) => {
                let listening = match forward.direction {
                    Direction::Forward => Listening::Yes,
                    Direction::Reverse => listen(settings, forward, &live, &mut end, &mut reload, link, shutdown).await,
                };
                match listening {
                    Listening::Yes => {
                        down_since = None;
                        let began = Instant::now();
                        link.send_replace(Link::Up(Arc::clone(&live)));
                        let ended =
                            watch_over(settings, forward, &live, end, &mut credentials, &mut reload, shutdown).await;
                        let Some(why) = ended else { return };
                        if began.elapsed() >= SETTLED {
                            backoff.reset();
                        }
                        Fault::lost(&settings.server, &why)
                    }
                    Listening::No(fault) => {
                        live.close().await;
                        fault
                    }
                    Listening::Ended(why) => Fault::lost(&settings.server, &why),
                    Listening::Stopped => return live.close().await,
                }
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
    forward: &Forward,
    live: &Arc<Live>,
    mut end: oneshot::Receiver<String>,
    credentials: &mut Credentials,
    reload: &mut watch::Receiver<u64>,
    shutdown: &CancellationToken,
) -> Option<String> {
    let far_end = live.far_end();
    // A forward's was asked when it came up.
    let mut asked = forward.direction == Direction::Forward;
    loop {
        let ask_again = async {
            sleep(if asked { ASK_AGAIN } else { Duration::ZERO }).await;
            if !asked || *far_end.borrow() == FarEnd::Refuses {
                probe(settings, forward, live).await;
            }
        };
        tokio::select! {
            why = &mut end => return Some(why.unwrap_or_else(|_| "its task ended".into())),
            () = reloaded(reload) => credentials.reload().await,
            () = ask_again => asked = true,
            () = shutdown.cancelled() => return None,
        }
    }
}

/// Asks whether the service behind the tunnel takes connections; the answer is noted in `live`.
async fn probe(settings: &Settings, forward: &Forward, live: &Arc<Live>) {
    match forward.direction {
        Direction::Forward => {
            if let Ok(probe) = live.open(&forward.remote, settings.connect_timeout).await {
                probe.close().await;
            }
        }
        Direction::Reverse => match timeout(settings.connect_timeout, Stream::connect(&forward.local)).await {
            Ok(Ok(_)) => live.note(FarEnd::Answers),
            Ok(Err(_)) => live.note(FarEnd::Refuses),
            Err(_) => {}
        },
    }
}

/// The next SIGHUP; never, once nobody sends any more.
async fn reloaded(reload: &mut watch::Receiver<u64>) {
    if reload.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
