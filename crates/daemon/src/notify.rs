//! systemd's readiness protocol (sd_notify(3)). Without `NOTIFY_SOCKET` every call does nothing.

use sd_notify::NotifyState;

/// Configuration is valid and the socket listens. Inside a tokio runtime it also begins to show systemd's watchdog
/// (`WatchdogSec=`) that the runtime's loop turns; the network and the hops behind have no say in that.
pub fn ready() {
    send(&[NotifyState::Ready]);
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
