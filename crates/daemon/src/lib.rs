//! What every interlink program shares, so that they look and behave alike.
//!
//! - [`flags`]: command lines in Go's style (`-addr x`, `--addr=x`), errors in one sentence.
//! - [`config`]: YAML with lenient scalars, errors with line and key, unknown keys judged against the whole family's.
//! - [`exit`]: exit codes, and [`run`], the frame of every `main`.
//! - [`logs`]: logfmt or JSON on stderr.
//! - [`signals`]: SIGTERM drains, SIGHUP reloads.
//! - [`state`]: a program's own word about itself, as JSON on a private socket.
//! - [`notify`]: systemd's readiness protocol.
//! - [`open_files`]: the limit of open files.
//! - [`sockets`]: listening sockets that survive restarts in the service manager.
//! - [`paths`]: where sockets and state live.

pub mod config;
pub mod exit;
pub mod flags;
pub mod logs;
pub mod notify;
pub mod open_files;
pub mod paths;
pub mod signals;
pub mod sockets;
pub mod state;

pub use exit::{Failure, run, run_on_one_thread};
pub use signals::Signals;
pub use state::{HopHandle, StateServer};

/// The version of all interlink programs of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
