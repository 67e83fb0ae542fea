//! interlink-plugin: runs pods as batch jobs.
//!
//! ```text
//! HTTP ─▶ lifecycle ─▶ job directory ─▶ scheduler ─▶ supervisor (in the job)
//!             ▲                             │             │
//!             └───── poll ◀─────────────────┘             │
//!             └───── watch ◀── state.json, .spool ◀───────┘
//! ```
//!
//! - [`config`]: the existing Slurm plugin's configuration and ours, judged before anything starts.
//! - [`pod`]: a create request, judged and translated (pure).
//! - [`jobdir`]: the durable record of each pod.
//! - [`scheduler`]: what runs jobs, behind one trait: this machine, or Slurm.
//! - [`lifecycle`]: pods from create to delete.
//! - [`logs`]: a container's output. [`http`]: the contract's calls.
//! - [`dial_stdio`]: the far end of `ssh-tunnel -rexec`.
//! - [`service`]: all of it together. [`command_line`]: what `main` does.

pub mod command_line;
pub mod config;
pub mod dial_stdio;
pub mod http;
pub mod jobdir;
pub mod lifecycle;
pub mod logs;
pub mod pod;
pub mod scheduler;
pub mod service;
