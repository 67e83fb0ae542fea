//! How interlink's programs reach one another.
//!
//! ```text
//!   Client ──Call──▶ Endpoint (unix:///path | http://host:port) ──▶ Listener ──Stream──▶ serve(router)
//! ```
//!
//! - [`endpoint`]: where a peer is, parsed once.
//! - [`listener`]: a listening socket that owns its file: private, one live owner, stale files removed.
//! - [`stream`], [`peer`]: a connection of either kind, and who is at its other end.
//! - [`server`]: HTTP/1.1 over a listener, with limits and a drain.
//! - [`mux`]: many connections over one stream of bytes, such as a command's stdin and stdout.
//! - [`client`]: a pooled HTTP/1.1 client that tells whether anything was sent.

pub mod client;
pub mod endpoint;
pub mod listener;
pub mod mux;
pub mod peer;
pub mod server;
pub mod stream;

pub use client::{Answer, Call, CallError, Client};
pub use endpoint::{Endpoint, EndpointError};
pub use listener::{BindError, Listener};
pub use peer::Peer;
pub use server::{BODY_LIMIT, serve};
pub use stream::Stream;
