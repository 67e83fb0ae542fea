//! systemd's readiness protocol (sd_notify(3)). Without `NOTIFY_SOCKET` every call does nothing.

use sd_notify::NotifyState;

/// Configuration is valid and the socket listens.
pub fn ready() {
    send(&[NotifyState::Ready]);
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
