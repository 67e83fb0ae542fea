//! interlinkctl: the operator's program.
//!
//! - [`command`]: the command line.
//! - [`demo`]: the whole chain on this machine, and a pod through it.
//! - [`manifest`]: a Pod and what it names, from a file.
//! - [`run`]: one pod through the interLink API, without Kubernetes.

pub mod command;
pub mod demo;
pub mod manifest;
pub mod run;
