//! The next hop, the interLink API server, seen from the kubelet.
//!
//! `Client` (file `client.rs`) has one method per call of the contract, each with a time limit:
//! `ping()`, `create(&PodCreateRequests)`, `delete(&Object)`, `status(&[Arc<Object>])`, `pods()`, and
//! `logs(&LogStruct) -> Result<LogStream, InterlinkError>`. Errors are [`InterlinkError`].

mod error;

pub use error::InterlinkError;

/// A container's output as it comes. Dropping it ends the call.
pub type LogStream = futures_util::stream::BoxStream<'static, Result<bytes::Bytes, InterlinkError>>;
