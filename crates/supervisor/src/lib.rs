//! The supervisor inside the job: runs one pod.
//!
//! ```text
//! plugin ──launch.json──▶ supervise ──spec──▶ contain ──exec──▶ container
//!        ◀─state.json───       ▲ ▲                                  │
//!        ◀─.spool/<uid>.<n>    │ └── pipe: why it did not start     │
//!        ◀─run-<ctr>.out,      └──── pipe: its output ◀─────────────┘
//!           .index, .status
//! ```
//!
//! Two entry points, both sub-commands of one binary: [`supervise`] runs a pod, [`contain`] is the last step before a
//! container's program. Neither looks up a name of a user, a group or a host.
//!
//! What the plugin shares with it:
//! - [`launch`]: what to run. [`report`]: what became of it. [`layout`]: the names of the files.
//! - [`deletion`], [`exit`], [`index`], [`spool`]: the other files.
//! - [`durable`]: how files are written. [`expand()`]: `$(VAR)`.
//!
//! Inside: `pod` decides (no I/O) and follows one container, `runtime` knows `host` and `apptainer`, `contain` makes a
//! container's view of the node's files, `children` and `processes` see to it that nothing is left, `output`
//! and `publish` write, `ballast` keeps room for the last word, `oom` asks the kernel
//! whether it killed for want of memory.

mod ballast;
mod children;
mod claim;
mod contain;
pub mod deletion;
pub mod durable;
pub mod exit;
mod expand;
pub mod index;
pub mod launch;
pub mod layout;
mod oom;
mod output;
mod pod;
mod processes;
mod publish;
pub mod report;
mod runtime;
pub mod spool;
mod stopping;
mod supervise;

pub use contain::contain;
pub use expand::expand;
pub use supervise::supervise;
