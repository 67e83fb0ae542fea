//! Who is at the other end of a socket, in words.

use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};

/// The process that `stream` leads to.
pub(super) fn of(stream: &impl AsFd) -> String {
    match getsockopt(stream, sockopt::PeerCredentials) {
        Ok(credentials) => describe(credentials.pid().unsigned_abs()),
        Err(_) => "another process".to_owned(),
    }
}

/// A process by its name and number.
pub(super) fn describe(pid: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} (process {pid})", name.trim()),
        Err(_) => format!("process {pid}"),
    }
}
