//! The descriptors that systemd passes at the start (sd_listen_fds(3)), each owned once.
#![allow(unsafe_code, reason = "the numbers of descriptors become owners of them")]

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// What was passed and nobody has taken yet; `None` before the first look.
static PASSED: Mutex<Option<Vec<(String, OwnedFd)>>> = Mutex::new(None);

/// The descriptor that was kept under `name`. Further ones of that name stay closed to everybody.
pub(super) fn take(name: &str) -> Option<OwnedFd> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let passed = passed.get_or_insert_with(all);
    let at = passed.iter().position(|(own, _)| own == name)?;
    Some(passed.swap_remove(at).1)
}

/// Closes what was kept under other names, and tells these.
pub(super) fn give_up_others(names: &[String]) -> Vec<String> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let passed = passed.get_or_insert_with(all);
    let (ours, others): (Vec<_>, Vec<_>) = std::mem::take(passed).into_iter().partition(|(own, _)| names.contains(own));
    *passed = ours;
    others.into_iter().map(|(name, _)| name).collect()
}

fn all() -> Vec<(String, OwnedFd)> {
    match sd_notify::listen_fds_with_names() {
        Ok(fds) => fds
            .map(|(fd, name)| {
                // SAFETY: systemd opened it for this process (LISTEN_PID is ours), `listen_fds_with_names` has just
                // found it open, and as `PASSED` is filled once, nobody else owns it.
                (name, unsafe { OwnedFd::from_raw_fd(fd) })
            })
            .collect(),
        Err(error) => {
            tracing::warn!(err = %error, "the sockets that systemd kept can't be taken over");
            Vec::new()
        }
    }
}
