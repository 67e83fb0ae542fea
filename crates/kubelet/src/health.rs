//! Whether the chain to the batch machine works, as the pings tell.
//!
//! [`Tracker`] is pure: answers in, state out. One lost ping is no outage; two in a row are. [`watch_health`] is the rim:
//! it pings and publishes what changed.

use std::sync::Arc;
use std::time::Duration;

use interlink_wire::{HopState, HopStatus};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::interlink::{Capabilities, Client, InterlinkError, Pong};

/// How many failures in a row make an outage.
const FAILURES: u32 = 2;
/// Between pings while all is well.
const CALM: Duration = Duration::from_secs(15);
/// Between pings while something is wrong.
const ALERT: Duration = Duration::from_secs(3);

/// What is known of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// The chain as one hop: up, down (with the hop that is, since when, why) or not yet known.
    pub chain: HopState,
    /// Whether calls can be expected to be answered. True also while a hop behind the plugin (its scheduler) is down.
    pub reachable: bool,
    /// What the API server can serve.
    pub capabilities: Capabilities,
    /// The latest answer.
    pub pong: Arc<Pong>,
}

impl Health {
    fn starting(now: Timestamp) -> Self {
        let chain = HopState {
            hop: "api".into(),
            state: HopStatus::Starting,
            since: Some(now),
            cause: String::new(),
            remedy: String::new(),
        };
        Self { chain, reachable: false, capabilities: Capabilities::default(), pong: Arc::default() }
    }

    /// Whether every hop works.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.chain.state == HopStatus::Up
    }

    /// One sentence about the chain.
    #[must_use]
    pub fn sentence(&self) -> String {
        let since = self.chain.since.map(|t| format!(" since {t:.0}")).unwrap_or_default();
        match self.chain.state {
            HopStatus::Up => "every hop to the batch machine answers".into(),
            HopStatus::Starting => "the interLink API server has not answered yet".into(),
            HopStatus::Down => {
                let remedy =
                    if self.chain.remedy.is_empty() { String::new() } else { format!("; {}", self.chain.remedy) };
                format!("{} is down{since}: {}{remedy}", self.chain.hop, self.chain.cause)
            }
        }
    }
}

/// Turns answers into [`Health`].
#[derive(Debug)]
pub struct Tracker {
    health: Health,
    failures: u32,
}

impl Tracker {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { health: Health::starting(now), failures: 0 }
    }

    /// What is known now.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// When to ask again.
    #[must_use]
    pub fn pause(&self) -> Duration {
        if self.failures == 0 { CALM } else { ALERT }
    }

    /// Takes the answer to a ping.
    pub fn note(&mut self, answer: Result<Pong, InterlinkError>, now: Timestamp) {
        let (down, reachable) = match answer {
            Ok(pong) => {
                let down = pong.down().cloned();
                self.health.capabilities = pong.capabilities();
                self.health.pong = Arc::new(pong);
                (down, true)
            }
            Err(error) => (Some(explained(&error)), false),
        };
        let Some(down) = down else {
            self.failures = 0;
            self.health.reachable = true;
            if self.health.chain.state != HopStatus::Up {
                self.health.chain = HopState {
                    hop: "api".into(),
                    state: HopStatus::Up,
                    since: Some(now),
                    cause: String::new(),
                    remedy: String::new(),
                };
            }
            return;
        };
        self.failures = self.failures.saturating_add(1);
        let chain = &mut self.health.chain;
        // At the start there is no good past that a single failure could be an exception to.
        if self.failures >= FAILURES || chain.state == HopStatus::Starting {
            let since = if chain.state == HopStatus::Down { chain.since } else { Some(now) };
            *chain = HopState { state: HopStatus::Down, since, ..down };
            self.health.reachable = reachable;
        }
    }
}

fn explained(error: &InterlinkError) -> HopState {
    let (hop, cause, remedy) = match error {
        InterlinkError::Refused(fault) => (fault.hop.clone(), fault.sentence.clone(), ""),
        InterlinkError::Unreachable(why) => (
            "api".into(),
            why.strip_prefix("api: ").unwrap_or(why).to_owned(),
            "start the interLink API server, or correct InterlinkURL and InterlinkPort",
        ),
        InterlinkError::Unknown(why) => ("api".into(), why.strip_prefix("api: ").unwrap_or(why).to_owned(), ""),
    };
    HopState { hop, state: HopStatus::Down, since: None, cause, remedy: remedy.into() }
}

/// Pings until `shutdown`, the first time at once, and publishes what changed.
pub async fn watch_health(client: Client, health: watch::Sender<Health>, shutdown: CancellationToken) {
    let mut tracker = Tracker::new(Timestamp::now());
    loop {
        let answer = tokio::select! {
            () = shutdown.cancelled() => return,
            answer = client.ping() => answer,
        };
        if let Err(error) = &answer {
            tracing::debug!(err = %error, "the ping failed");
        }
        let before = tracker.health().clone();
        tracker.note(answer, Timestamp::now());
        let now = tracker.health();
        if now.chain.state != before.chain.state || now.chain.cause != before.chain.cause {
            match now.chain.state {
                HopStatus::Down => tracing::warn!(state = "down", "{}", now.sentence()),
                _ => tracing::info!(state = %now.chain.state, "{}", now.sentence()),
            }
        }
        health.send_if_modified(|seen| {
            let news = seen != now;
            if news {
                seen.clone_from(now);
            }
            news
        });
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(tracker.pause()) => {}
        }
    }
}

/// The channel for [`watch_health`], on which nothing is known yet.
#[must_use]
pub fn channel() -> (watch::Sender<Health>, watch::Receiver<Health>) {
    watch::channel(Health::starting(Timestamp::now()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlink_wire::Fault;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn refused() -> Result<Pong, InterlinkError> {
        Err(InterlinkError::Refused(Fault::passing("tunnel", "down", "the SSH connection is lost")))
    }

    fn with_hop_down() -> Result<Pong, InterlinkError> {
        Ok(Pong::read(br#"{"hops": [{"hop": "slurm", "state": "down", "cause": "slurmctld does not answer"}]}"#)
            .unwrap())
    }

    #[test]
    fn one_lost_ping_is_no_outage_two_are() {
        let mut tracker = Tracker::new(at(0));
        assert!(!tracker.health().is_up() && !tracker.health().reachable);
        tracker.note(Ok(Pong::default()), at(1));
        assert!(tracker.health().is_up() && tracker.pause() == CALM);
        tracker.note(refused(), at(2));
        assert!(tracker.health().is_up() && tracker.health().reachable && tracker.pause() == ALERT);
        tracker.note(refused(), at(3));
        assert_eq!(
            tracker.health().sentence(),
            "tunnel is down since 1970-01-01T00:00:03Z: the SSH connection is lost"
        );
        assert!(!tracker.health().reachable);
        tracker.note(refused(), at(9));
        assert_eq!(tracker.health().chain.since, Some(at(3)), "the outage began when it began");
        tracker.note(Ok(Pong::default()), at(10));
        assert!(tracker.health().is_up() && tracker.health().chain.since == Some(at(10)));
    }

    #[test]
    fn at_the_start_the_first_failure_counts() {
        let mut tracker = Tracker::new(at(0));
        tracker.note(refused(), at(1));
        assert_eq!(tracker.health().chain.state, HopStatus::Down);
    }

    #[test]
    fn behind_a_plugin_that_answers_the_scheduler_may_be_down() {
        let mut tracker = Tracker::new(at(0));
        tracker.note(with_hop_down(), at(1));
        assert!(!tracker.health().is_up() && tracker.health().reachable);
        assert!(tracker.health().sentence().starts_with("slurm is down"));
    }
}
