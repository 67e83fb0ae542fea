//! The next hop, the interLink API server, seen from the kubelet.
//!
//! - [`client`]: one method per call of the contract, each with a time limit.
//! - [`ping`]: what a ping answer means: whether the chain is up, and what the API server can serve.
//! - [`InterlinkError`]: why a call failed, sorted by what the caller may do next.
//!
//! Of a ping answer only the key `interlinkAPI` decides what is used: the API server announces there what it can serve with
//! its plugin. `capabilities` beside it is the plugin's word to the API server and is never read here.

pub mod client;
mod error;
pub mod ping;

pub use client::{Caller, Client};
pub use error::InterlinkError;
pub use ping::{Capabilities, Pong};

/// A container's output as it comes. Dropping it ends the call.
pub type LogStream = futures_util::stream::BoxStream<'static, Result<bytes::Bytes, InterlinkError>>;
