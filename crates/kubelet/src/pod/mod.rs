//! Pods: from what the source wants and what the remote side says to what is done next.
//!
//! ```text
//!   source ─▶ engine ─▶ table ◀─ poll, sweep ◀─ GET /status, /pods
//!                │        ▲
//!                ▼        │
//!             worker ─▶ decide ─▶ POST /create, DELETE /delete, status and job id to the store
//! ```
//!
//! - [`engine`]: events in, one worker per pod.
//! - [`worker`], `calls`: the task of one pod; its calls and what each answer means.
//! - [`decide`]: what to do next. Pure.
//! - [`status`]: what Kubernetes shows. Pure.
//! - `poll`, `sweep`: what the remote side says.
//! - `survive`: a task that panics is begun again.

mod backoff;
mod calls;
pub mod decide;
pub mod engine;
mod poll;
pub mod status;
mod survive;
mod sweep;
pub mod worker;

pub use worker::Context;
