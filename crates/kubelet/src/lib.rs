//! virtual-kubelet: makes a batch machine one more Kubernetes node.

pub mod config;
pub mod health;
pub mod interlink;
pub mod node;
pub mod pod;
pub mod pod_table;
pub mod resolve;
pub mod server;
pub mod source;
pub mod standalone;
