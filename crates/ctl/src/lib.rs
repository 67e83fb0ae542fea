//! interlinkctl: the operator's program.
//!
//! - [`command`]: the command line.
//! - [`manifest`]: a Pod and what it names, from a file.
//! - [`run`]: one pod through the interLink API, without Kubernetes.

pub mod command;
pub mod manifest;
pub mod run;
