//! Programs that a test starts, and their certain end.
//!
//! ```text
//!   Launch ──start──▶ Daemon ──drop, panic──▶ SIGTERM, then SIGKILL, to its process group
//!                        │
//!       the test process is killed ──▶ warden ──▶ SIGKILL to all that carry the process's mark
//!       let go of by the daemon    ──▶ leftovers, when the TestDir is dropped
//! ```

mod daemon;
mod launch;
pub mod leftovers;
pub mod warden;

pub use daemon::Daemon;
pub use launch::Launch;
pub use nix::sys::signal::Signal;
