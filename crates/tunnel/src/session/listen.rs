//! The listening socket at the server, for a tunnel in reverse.
//!
//! The server says no without a reason. Dialling what it was asked to listen on tells more: whoever answers there is in
//! the way (often the session before this one, which the server has not yet noticed to be dead).

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use super::link::Link;
use super::live::{ListenError, Live};
use crate::backoff::{Backoff, Pace};
use crate::config::{Forward, Settings};

/// How long one session goes on asking when the reason is unclear: a new one sees a mended sshd_config.
const UNCLEAR: Duration = Duration::from_secs(60);

/// What came of it.
pub(super) enum Listening {
    /// The server listens.
    Yes,
    /// It never will over this session.
    No(Fault),
    /// The session ended, for this reason.
    Ended(String),
    /// The tunnel stops.
    Stopped,
}

/// Asks the server to listen until it does, and tells why it does not yet.
pub(super) async fn listen(
    settings: &Settings,
    forward: &Forward,
    live: &Arc<Live>,
    end: &mut oneshot::Receiver<String>,
    reload: &mut watch::Receiver<u64>,
    link: &watch::Sender<Link>,
    shutdown: &CancellationToken,
) -> Listening {
    let (began, since) = (Instant::now(), Timestamp::now());
    let mut backoff = Backoff::default();
    loop {
        let asked = tokio::select! {
            asked = live.listen(&forward.remote, settings.connect_timeout) => asked,
            why = &mut *end => return Listening::Ended(why.unwrap_or_else(|_| "its task ended".into())),
            () = shutdown.cancelled() => return Listening::Stopped,
        };
        let Err(refused) = asked else { return Listening::Yes };
        let fault = match &refused {
            ListenError::Lost => return Listening::Ended("it did not answer a request to listen".into()),
            refused => Fault::no_listener(&settings.server, &forward.remote, refused),
        };
        if refused == ListenError::Forbidden || (refused == ListenError::Unclear && began.elapsed() > UNCLEAR) {
            return Listening::No(fault);
        }
        let pause = backoff.next(Pace::Eager, rand::random());
        let now = Timestamp::now();
        let retry_at = SignedDuration::try_from(pause).map_or(now, |pause| now + pause);
        let since = match &*link.borrow() {
            Link::Down { since, .. } => *since,
            Link::Connecting | Link::Up(_) => since,
        };
        link.send_replace(Link::Down { since, fault, retry_at });
        tokio::select! {
            () = sleep(pause) => {}
            // A person is at work.
            () = super::reloaded(reload) => {}
            why = &mut *end => return Listening::Ended(why.unwrap_or_else(|_| "its task ended".into())),
            () = shutdown.cancelled() => return Listening::Stopped,
        }
    }
}
