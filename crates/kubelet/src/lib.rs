//! virtual-kubelet: makes a batch machine one more Kubernetes node.
//!
//! ```text
//!   kubernetes ┐                                        ┌─▶ interlink ──HTTP──▶ the interLink API server
//!              ├─ source ─▶ pod::engine ─▶ pod::worker ─┤
//!   standalone ┘               ▲     │                  └─▶ Store (status, job ids, events)
//!                              │     ▼
//!             health ◀─ ping   pod_table ◀── server (logs, /pods)
//!               │
//!               └─▶ node (Node, Lease)
//! ```
//!
//! - [`config`]: command line, environment and file of the existing program.
//! - [`run`]: wiring, start, reload and stop.
//! - [`source`]: the seam between pods and where they come from; [`kubernetes`] and [`standalone`] are its two sides.
//! - [`pod`]: what to do with a pod, and what is shown of it. [`pod_table`]: what is known of all of them.
//! - [`resolve`]: a pod's variables and volumes become a create request.
//! - [`interlink`]: the next hop. [`health`]: whether the chain behind it works.
//! - [`node`]: the Node and its Lease.
//! - [`server`]: the kubelet API.
//!
//! It keeps no state of its own: Kubernetes (or the directory) has what is wanted, the remote side what is.

pub mod config;
pub mod health;
pub mod interlink;
pub mod kubernetes;
pub mod node;
pub mod pod;
pub mod pod_table;
pub mod resolve;
pub mod run;
pub mod server;
pub mod source;
pub mod standalone;

/// The hop's name in errors, logs and states.
pub const HOP: &str = "virtual-kubelet";

/// The program's name.
pub const PROGRAM: &str = "virtual-kubelet";
