//! The SSH sessions: each brought up, watched, brought up again, for ever.
//!
//! ```text
//!            ┌─────── connect: dial ▸ handshake ▸ log in ▸ open a way for each forward ───────┐
//!   Connecting ──▶ Up(Live, Ways) ──session ended──▶ Down{since, fault, retry_at} ──pause──────┘
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`link`] | their state, published to everybody else |
//! | [`live`] | one established session: opens channels |
//! | [`fault`] | why there is none, in words |
//! | [`step`] | how far an attempt came |
//! | `connect`, `dial`, `gatekeeper` | one attempt: TCP, SSH, who the server is |
//! | `acknowledge` | that connection, read by somebody who acknowledges at once |
//! | `jump`, `login` | through other hosts on the way, and what is shown at each |
//! | `ways` | what a session does for each forward |
//! | `exec` | one command at the server that carries all connections |
//! | [`conduit`] | what carries one connection |
//!
//! [`keep_up`] never gives up: whatever a person must mend can be mended while it runs, because the key and host key
//! files are read again before every attempt.

mod acknowledge;
mod carried;
pub mod conduit;
mod connect;
mod dial;
mod exec;
pub mod fault;
mod gatekeeper;
mod jump;
pub mod link;
pub mod live;
mod login;
pub mod openssh;
pub mod step;
mod ways;

pub(crate) use connect::connect;
pub use gatekeeper::Incoming;
pub(crate) use ways::running;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, Pace};
use crate::config::Settings;
use crate::credentials::Credentials;
use crate::forward::route::Routes;
use fault::Fault;
use link::{Link, Links, Way, Ways};
use live::Live;
use ways::{Minder, Over, word};

/// A session that lasted this long was a good one: the next fault starts with quick retries again.
const SETTLED: Duration = Duration::from_secs(10);

/// How much later each further session begins.
const STAGGER: Duration = Duration::from_millis(50);

/// How long the session's own word on its end may lag behind that of what it carried.
const REASON: Duration = Duration::from_millis(200);

/// One of the sessions and what it needs to know.
pub struct Session<'a> {
    /// Which one, from 0.
    pub index: usize,
    /// How the server is reached.
    pub settings: &'a Settings,
    /// Who we are, and who the server is.
    pub credentials: Credentials,
    /// Where it tells how it is.
    pub links: &'a Links,
    /// What it should carry.
    pub routes: watch::Receiver<Routes>,
    /// Where the connections go that the server accepts for us.
    pub incoming: mpsc::Sender<Incoming>,
    /// Changes when a person wants the files to be read again.
    pub reload: watch::Receiver<u64>,
    /// Ends it.
    pub shutdown: &'a CancellationToken,
}

/// How the time with one session ended.
enum Ended {
    /// It is gone, for this reason.
    Lost(String),
    /// It can do nothing for any forward.
    Useless(Fault),
    /// The tunnel stops.
    Stopped,
}

/// Keeps a session up until the shutdown, then leaves the last one to whoever still uses it.
pub async fn keep_up(mut session: Session<'_>) {
    let mut backoff = Backoff::default();
    let mut down_since = None;
    loop {
        let shutdown = session.shutdown;
        let attempt = async {
            session.its_turn().await;
            session.credentials.refresh().await;
            connect(session.settings, &session.credentials, Some(session.incoming.clone())).await
        };
        let connected = tokio::select! {
            connected = attempt => connected,
            () = shutdown.cancelled() => return,
        };
        let fault = match connected {
            Ok((live, end)) => {
                let mut up_since = None;
                let ended = session.serve(&live, end, &mut up_since, &mut down_since).await;
                if up_since.is_some_and(|began: Instant| began.elapsed() >= SETTLED) {
                    backoff.reset();
                }
                match ended {
                    Ended::Lost(why) => Fault::lost(&session.settings.server, &why),
                    Ended::Useless(fault) => {
                        live.close().await;
                        fault
                    }
                    Ended::Stopped => return,
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
        session.links.set(session.index, Link::Down { since, fault, retry_at });
        tokio::select! {
            () = sleep(pause) => {}
            () = reloaded(&mut session.reload) => {
                // A person is at work: they want to see the effect now, also after many failures.
                if patient { backoff.reset(); }
            }
            () = session.shutdown.cancelled() => return,
        }
    }
}

impl Session<'_> {
    /// The others follow the first: what a person must mend is tried by one of them, because servers ban clients that
    /// keep failing to log in, and not all come at once (MaxStartups).
    async fn its_turn(&self) {
        if self.index == 0 {
            return;
        }
        let worth_trying = |links: &Vec<Link>| {
            let first = matches!(links.first(), Some(Link::Down { fault, .. }) if fault.pace == Pace::Eager);
            first || links.iter().any(|link| link.live().is_some())
        };
        // The sender is ours.
        let _ = self.links.watch().wait_for(worth_trying).await;
        sleep(STAGGER.saturating_mul(u32::try_from(self.index).unwrap_or(u32::MAX))).await;
    }

    /// Opens a way for each forward, and tells how they are, until the session ends.
    async fn serve(
        &mut self,
        live: &Arc<Live>,
        mut end: oneshot::Receiver<String>,
        up_since: &mut Option<Instant>,
        down_since: &mut Option<Timestamp>,
    ) -> Ended {
        let ways = watch::Sender::new(Ways::new());
        let mut told = ways.subscribe();
        let count = AtomicUsize::new(0);
        let mut minders: FuturesUnordered<Pin<Box<dyn Future<Output = Over> + '_>>> = FuturesUnordered::new();
        let mut minded = Vec::new();
        self.routes.mark_changed();
        loop {
            tokio::select! {
                biased;
                why = word(&mut end) => return Ended::Lost(why),
                () = self.shutdown.cancelled() => {
                    if self.links.get(self.index).live().is_none() {
                        live.close().await;
                    }
                    return Ended::Stopped;
                }
                _ = self.routes.changed() => {
                    let routes = Arc::clone(&self.routes.borrow_and_update());
                    count.store(routes.len(), Ordering::Relaxed);
                    for route in routes.iter() {
                        if minded.iter().any(|known| Arc::ptr_eq(known, route)) {
                            continue;
                        }
                        let (settings, reload) = (self.settings, self.reload.clone());
                        let minder =
                            Minder { settings, live, route: Arc::clone(route), ways: &ways, count: &count, reload };
                        minders.push(Box::pin(minder.mind()));
                    }
                    minded = routes.to_vec();
                }
                Some(over) = minders.next(), if !minders.is_empty() => {
                    if let Over::Lost(why) = over {
                        return Ended::Lost(timeout(REASON, word(&mut end)).await.unwrap_or(why));
                    }
                }
                _ = told.changed() => {
                    let now = told.borrow_and_update().clone();
                    match self.judge(live, now, down_since) {
                        Judged::Up => { up_since.get_or_insert_with(Instant::now); }
                        Judged::Unclear => {}
                        Judged::Useless(fault) => return Ended::Useless(fault),
                    }
                }
                () = reloaded(&mut self.reload) => {
                    // The others read the files before each attempt; one is enough to say that it was done.
                    if self.index == 0 {
                        self.credentials.reload().await;
                    }
                }
            }
        }
    }

    /// Publishes what the session can do.
    fn judge(&self, live: &Arc<Live>, ways: Ways, down_since: &mut Option<Timestamp>) -> Judged {
        if ways.values().any(|way| matches!(way, Way::Open | Way::Standby)) {
            *down_since = None;
            self.links.set(self.index, Link::Up(Arc::clone(live), ways));
            return Judged::Up;
        }
        if ways.values().any(|way| *way == Way::Opening) {
            return Judged::Unclear;
        }
        let closed = || {
            ways.values().filter_map(|way| match way {
                Way::Closed { fault, retry_at } => Some((fault, *retry_at)),
                Way::Opening | Way::Open | Way::Standby => None,
            })
        };
        let Some((fault, _)) = closed().next() else { return Judged::Unclear };
        match closed().filter_map(|(fault, retry_at)| Some((fault, retry_at?))).min_by_key(|(_, at)| *at) {
            Some((fault, retry_at)) => {
                let since = *down_since.get_or_insert_with(Timestamp::now);
                self.links.set(self.index, Link::Down { since, fault: fault.clone(), retry_at });
                Judged::Unclear
            }
            None => Judged::Useless(fault.clone()),
        }
    }
}

enum Judged {
    Up,
    Unclear,
    Useless(Fault),
}

/// The next SIGHUP; never, once nobody sends any more.
async fn reloaded(reload: &mut watch::Receiver<u64>) {
    if reload.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
