//! The HTTP service: the contract's calls, whatever their method, on one router.
//!
//! - [`answer`]: how answers look, good and bad. [`routes`]: which path does what.
//! - [`ping`]: the answer to an empty status request. `logs`: `/getLogs`.

pub mod answer;
mod logs;
pub mod ping;
pub mod routes;
