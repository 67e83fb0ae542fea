//! The supervisor inside the job: runs one pod.
//!
//! ```text
//! plugin ──launch.json──▶ supervise ──spec──▶ contain ──exec──▶ container
//!        ◀─state.json───            ◀─pipe──────────────────────┘
//!        ◀─.spool/<uid>.<n>         ──▶ run-<ctr>.out, .index, .status
//! ```
//!
//! - [`launch`]: what to run. [`report`]: what became of it. [`layout`]: the names of the files.
//! - [`deletion`], [`exit`], [`index`], [`spool`]: the other files that plugin and supervisor share.
//! - [`durable`]: how files are written.

pub mod deletion;
pub mod durable;
pub mod exit;
pub mod index;
pub mod launch;
pub mod layout;
pub mod report;
pub mod spool;
