//! interlink: the API server between virtual kubelet and plugin.
//!
//! ```text
//!  virtual-kubelet ──HTTP──▶ server (router, one handler a path) ──▶ plugin::Plugin ──HTTP──▶ tunnel or plugin
//!                              │ create::arrange   pure               │ plugin::limits    how many, how long
//!                              │ status::merge     pure               │ plugin::trouble   which hop, why, what to do
//!                              │ ping::compose     pure               │ plugin::dialect   what this plugin can do
//!                              │ logs::check       pure               │ plugin::health    up or down since when
//!                              └ status::cache     in memory only
//! ```
//!
//! It passes requests on, and makes up for what known kubelets and plugins lack: it fills defaults, matches answers
//! by UID, never sends a create twice to a plugin that would run it twice, and says of every error which hop it was.
//! It keeps nothing on disk: whatever it remembers can be asked for again.
//!
//! - [`flags`], [`config`]: command line, environment and file of the existing program.
//! - [`server`]: wiring, start and stop.
//! - [`answer`], [`caller`]: what every answer and every request have in common.
//! - [`create`], [`delete`], [`status`], [`ping`], [`logs`], [`pods`], [`update_cache`]: the paths of the contract.
//! - [`plugin`]: everything about the other side.

pub mod answer;
pub mod caller;
pub mod config;
pub mod create;
pub mod delete;
pub mod flags;
pub mod logs;
pub mod ping;
pub mod plugin;
pub mod pods;
pub mod server;
pub mod status;
pub mod update_cache;

/// The hop's name in errors, logs and states.
pub const HOP: &str = "api";

/// The program's name.
pub const PROGRAM: &str = "interlink";
