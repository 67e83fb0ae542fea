//! interlinkctl: the operator's program.
//!
//! - [`check`]: what is broken in a chain, why, and what to do.
//! - [`command`]: the command line.
//! - [`demo`]: the whole chain on this machine, and a pod through it.
//! - [`manifest`]: a Pod and what it names, from a file.
//! - [`run`]: one pod through the interLink API, without Kubernetes.

pub mod check;
pub mod command;
pub mod demo;
pub mod manifest;
pub mod run;
