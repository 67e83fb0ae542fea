//! Whether the plugin answers, since when, and if not, why: one log line a change, the state socket, systemd's status line.

use std::sync::{Mutex, PoisonError};

use interlink_daemon::{HopHandle, notify};
use interlink_wire::{HopState, HopStatus};
use jiff::Timestamp;

use super::trouble::Trouble;

/// The plugin's state as last seen.
#[derive(Debug)]
pub struct Health {
    handle: HopHandle,
    now: Mutex<Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    hop: HopState,
    /// A ping said so. Then only a ping unsays it: a plugin that refuses pings and answers everything else must not
    /// go up and down with every request.
    by_ping: bool,
}

impl Health {
    /// Not yet known. `handle` is this program's own state, behind which the plugin's is shown.
    #[must_use]
    pub fn new(handle: HopHandle) -> Self {
        let hop = HopState {
            hop: "plugin".into(),
            state: HopStatus::Starting,
            since: Some(Timestamp::now()),
            cause: String::new(),
            remedy: String::new(),
        };
        handle.set_behind(vec![hop.clone()]);
        Self { handle, now: Mutex::new(Seen { hop, by_ping: false }) }
    }

    /// It answered a ping, and well.
    pub fn well(&self) {
        self.change(|now| (now.hop.state != HopStatus::Up).then(up));
    }

    /// It answered something.
    pub fn answered(&self) {
        self.change(|now| (now.hop.state != HopStatus::Up && !now.by_ping).then(up));
    }

    /// It was connected to, but did not answer a ping, or answered it with an error.
    pub fn unwell(&self, trouble: &Trouble) {
        self.change(|now| Some(down(now, trouble, true)));
    }

    /// It could not be connected to: the next answer of any kind is good news.
    pub fn unreachable(&self, trouble: &Trouble) {
        self.change(|now| Some(down(now, trouble, false)));
    }

    /// The state now.
    #[must_use]
    pub fn get(&self) -> HopState {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).hop.clone()
    }

    fn change(&self, next: impl FnOnce(&Seen) -> Option<Seen>) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = next(&now) else { return };
        let same = now.hop == next.hop;
        let before = std::mem::replace(&mut *now, next.clone()).hop;
        if same {
            return;
        }
        let next = next.hop;
        // Under the lock, so that two changes are shown in the order in which they happened.
        self.handle.set_behind(vec![next.clone()]);
        let since = before.since.map(|t| t.to_string()).unwrap_or_default();
        match next.state {
            HopStatus::Up => {
                notify::status("the plugin answers");
                tracing::info!(hop = "plugin", state = "up", before = %before.state, before_since = %since, "the plugin answers");
            }
            _ => {
                notify::status(&format!("the plugin does not answer: {}", next.cause));
                tracing::warn!(hop = %next.hop, state = "down", before = %before.state, before_since = %since, remedy = %next.remedy,
                    "the plugin does not answer: {}", next.cause);
            }
        }
    }
}

fn up() -> Seen {
    let since = Some(Timestamp::now());
    let hop =
        HopState { hop: "plugin".into(), state: HopStatus::Up, since, cause: String::new(), remedy: String::new() };
    Seen { hop, by_ping: false }
}

fn down(now: &Seen, trouble: &Trouble, by_ping: bool) -> Seen {
    let was_down = now.hop.state == HopStatus::Down;
    // Another cause is news, but the outage began when the plugin was last seen.
    let since = if was_down { now.hop.since } else { Some(Timestamp::now()) };
    let hop = HopState {
        hop: trouble.hop.clone(),
        state: HopStatus::Down,
        since,
        cause: trouble.cause.clone(),
        remedy: trouble.remedy.clone(),
    };
    Seen { hop, by_ping }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn trouble(hop: &str, cause: &str) -> Trouble {
        let (cause, remedy) = (cause.into(), "do".into());
        Trouble { hop: hop.into(), code: "x", status: StatusCode::BAD_GATEWAY, cause, remedy }
    }

    #[test]
    fn an_outage_has_one_beginning_whatever_its_causes() {
        let handle = HopHandle::new("interlink", "api");
        let health = Health::new(handle.clone());
        assert_eq!(health.get().state, HopStatus::Starting);
        health.unreachable(&trouble("tunnel", "gone"));
        let first = health.get();
        health.unwell(&trouble("plugin", "closed"));
        let second = health.get();
        assert_eq!((second.hop.as_str(), second.cause.as_str(), second.since), ("plugin", "closed", first.since));
        health.well();
        assert_eq!(health.get().state, HopStatus::Up);
        assert_eq!(handle.get().hops[1], health.get(), "the state socket shows the same");
    }

    #[test]
    fn a_plugin_that_refuses_pings_does_not_flap_with_every_other_answer() {
        let health = Health::new(HopHandle::new("interlink", "api"));
        health.unwell(&trouble("plugin", "500"));
        health.answered();
        assert_eq!(health.get().state, HopStatus::Down, "only a ping unsays a ping");
        health.well();
        health.unreachable(&trouble("tunnel", "gone"));
        health.answered();
        assert_eq!(health.get().state, HopStatus::Up, "any answer ends an outage of the road");
    }
}
