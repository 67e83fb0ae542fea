//! interlinkctl: the operator's program.
//!
//! - [`check`]: what is broken in a chain, why, and what to do.
//! - [`command`]: the command line.
//! - [`demo`]: the whole chain on this machine, and a pod through it.
//! - [`install`]: puts the programs, their accounts, keys and units in place, and takes them away.
//! - [`manifest`]: a Pod and what it names, from a file.
//! - [`run`]: one pod through the interLink API, without Kubernetes.
//! - [`status`]: the chain and the pods on it, live.

pub mod check;
pub mod command;
pub mod demo;
pub mod install;
pub mod manifest;
pub mod run;
pub mod status;
