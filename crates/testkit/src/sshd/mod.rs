//! OpenSSH's own server on loopback, as root (any account may log in) or as one user (only that account may).
//!
//! Keys, `authorized_keys` and configuration belong to one test. [`Sshd::kill_sessions`] cuts connections as an
//! unstable network does, [`Sshd::signal_sessions`] freezes them, [`Sshd::daemon`] is the listener alone.

mod client;
mod config;
mod key;
mod server;

pub use key::{KeyPair, KeyType};
pub use server::{Options, Sshd};
