//! ssh-tunnel: holds a forward open between a service and a machine behind SSH.
//!
//! ```text
//!   client ──▶ listener ──▶ forward ══channel══▶ session ══SSH══▶ sshd ──▶ localhost:PORT | /path.sock
//!              (local socket)   one a connection      one, kept up for ever
//! ```
//!
//! In reverse the server listens, and each of its connections is carried to a service on this machine. Where forwarding
//! is forbidden, one command at the server carries them all over its stdin and stdout.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the command line, checked |
//! | [`identity`] | the key that logs in: a file's, or an agent's |
//! | [`hostkeys`] | which servers are trusted |
//! | [`credentials`] | both of these, read again while running |
//! | [`backoff`] | when to try again |
//! | [`session`] | the SSH session: brought up, watched, brought up again; by this program or by the system's `ssh` |
//! | [`forward`] | local connections carried over channels of the session |
//! | [`check`] | everything tried once, in words |
//! | [`metrics`] | numbers for Prometheus |
//! | [`state`] | what is told to operators and to the programs in front |
//!
//! It ends only when told to, or at the start for what a person must mend (exit codes 2 and 78 of
//! [`interlink_daemon::exit`], 1 of a check that found something); never because of the network, nor because of the server.

pub mod backoff;
pub mod check;
pub mod config;
pub mod credentials;
pub mod forward;
pub mod hostkeys;
pub mod identity;
pub mod metrics;
pub mod session;
pub mod state;

mod run;

pub use run::run;
