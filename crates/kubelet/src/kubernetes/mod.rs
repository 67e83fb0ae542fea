//! The Kubernetes side: an API server in the place of a directory of manifests.
//!
//! ```text
//!   pods of this node ─▶ watch ─▶ PodEvents          Store ─▶ pods/status, pods, Events
//!   ConfigMaps, Secrets, tokens ─▶ objects           node::keeper, node::lease ─▶ Node, Lease
//!   Pending pods without a node ─▶ tolerations ─▶ an Event that names what is missing
//! ```
//!
//! Everything works within the ClusterRole of the existing Helm chart. Objects are raw JSON, so fields of a newer
//! Kubernetes pass through.

pub mod api;
pub mod connect;
pub mod events;
pub mod objects;
mod raw_pod;
pub mod store;
pub mod tolerations;
pub mod watch;

pub use api::{Kube, KubeError};
