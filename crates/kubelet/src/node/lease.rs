//! The node's Lease: the heartbeat by which Kubernetes knows that this process lives. It says nothing of the chain behind.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::kubernetes::api::{Kube, KubeError, Merge};

/// Kubernetes' own values: 40 s without a renewal make a node unknown.
const DURATION_SECONDS: u32 = 40;
const RENEW: Duration = Duration::from_secs(10);
/// After a failure the next try comes sooner: four fit into the time that is left.
const AGAIN: Duration = Duration::from_secs(3);

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Renews the Lease of the node named `name` until `shutdown`. `node_uid` is the Node's, once it is registered.
pub async fn run(kube: Kube, name: String, mut node_uid: watch::Receiver<String>, shutdown: CancellationToken) {
    let mut failing = false;
    loop {
        let uid = node_uid.borrow_and_update().clone();
        let pause = match renew(&kube, &name, &uid).await {
            Ok(()) => {
                if failing {
                    tracing::info!("the node's Lease is renewed again");
                }
                failing = false;
                RENEW
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(err = %error, "the node's Lease can't be renewed; it is tried again");
                }
                failing = true;
                AGAIN
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            // A Node that was made anew needs a Lease that belongs to it.
            changed = node_uid.changed() => if changed.is_err() { return },
        }
    }
}

async fn renew(kube: &Kube, name: &str, node_uid: &str) -> Result<(), KubeError> {
    let lease = lease(name, node_uid, Timestamp::now());
    match kube.patch(&format!("{PATH}/{name}"), Merge::Plain, &lease).await {
        Err(KubeError::NotFound(_)) => kube.create(PATH, &lease).await.map(drop),
        other => other.map(drop),
    }
}

fn lease(name: &str, node_uid: &str, now: Timestamp) -> Value {
    let mut metadata = json!({"name": name, "namespace": "kube-node-lease"});
    if !node_uid.is_empty() {
        metadata["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}]);
    }
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
        // A MicroTime has six digits, no more and no fewer.
        "spec": {"holderIdentity": name, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": format!("{now:.6}")},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_belongs_to_its_node() {
        let made = lease("n1", "u1", Timestamp::UNIX_EPOCH);
        assert_eq!(made["spec"]["renewTime"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "u1");
        assert!(lease("n1", "", Timestamp::UNIX_EPOCH)["metadata"].get("ownerReferences").is_none());
    }
}
