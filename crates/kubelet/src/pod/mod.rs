//! Pods: from what Kubernetes wants and what the remote side says to what is done next.

pub mod status;
