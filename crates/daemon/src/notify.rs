//! systemd's readiness protocol (sd_notify(3)). Without `NOTIFY_SOCKET` every call does nothing.

use std::sync::{Mutex, PoisonError};

use sd_notify::NotifyState;

/// Whether there is a status line. Held while the first is sent, so that it never comes after a later one.
static STATUS_SAID: Mutex<bool> = Mutex::new(false);

/// Configuration is valid and the socket listens. Inside a tokio runtime it also begins to show systemd's watchdog
/// (`WatchdogSec=`) that the runtime's loop turns; the network and the hops behind have no say in that.
pub fn ready() {
    {
        // No service is ready without a word on what is behind it.
        let mut said = STATUS_SAID.lock().unwrap_or_else(PoisonError::into_inner);
        if *said {
            send(&[NotifyState::Ready]);
        } else {
            send(&[NotifyState::Ready, NotifyState::Status("listening; the next hop has not answered yet")]);
        }
        *said = true;
    }
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        // Ends with the runtime. Twice as often as systemd's manual asks for, so that one late turn is no failure.
        runtime.spawn(async move {
            let mut turns = tokio::time::interval(limit / 4);
            loop {
                turns.tick().await;
                send(&[NotifyState::Watchdog]);
            }
        });
    }
}

/// What `systemctl status` shows: one line.
pub fn status(line: &str) {
    *STATUS_SAID.lock().unwrap_or_else(PoisonError::into_inner) = true;
    send(&[NotifyState::Status(line)]);
}

/// Shutting down.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(err = %error, "systemd could not be notified");
    }
}
