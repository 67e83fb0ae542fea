//! The real program behind its socket: on this machine, and on a real Slurm cluster.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

mod bad_input;
mod local;
mod slurm;
mod support;
