//! The Node, which the virtual kubelet registers and only an operator takes away.

use std::path::PathBuf;

use async_trait::async_trait;

use super::{Seen, Site, Step};
use crate::install::cluster::Cluster;

/// The Node and its Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The operator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Its name.
    pub name: String,
}

#[async_trait]
impl Step for Node {
    fn title(&self) -> String {
        format!("Node {} in the cluster", self.name)
    }

    async fn look(&self, _: &Site) -> Result<Seen, String> {
        Ok(Seen::AsWanted)
    }

    async fn make(&self, _: &mut Site) -> Result<(), String> {
        Ok(())
    }

    async fn undo(&self, _: &mut Site) -> Result<bool, String> {
        let cluster = Cluster::open(&self.kubeconfig).await?;
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        let lease = cluster.delete(&format!("{lease}/{}", self.name)).await?;
        Ok(cluster.delete(&format!("/api/v1/nodes/{}", self.name)).await? || lease)
    }
}
