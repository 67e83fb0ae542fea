//! The demo's pod as the kubelet shows it: through its own API, or through the cluster.

use std::time::Duration;

use http::Method;
use interlink_daemon::Failure;
use interlink_transport::{Call, Client, Endpoint};
use interlink_wire::{Envelope, Fault, Object, PodStatus};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::expected::POD;
use super::place::Place;

/// The most of a log or a pod list that is read, in bytes.
const LIMIT: usize = 4 * 1024 * 1024;

/// Where the pod is looked at.
#[allow(clippy::large_enum_variant)] // there is one
#[derive(Debug)]
pub enum View {
    /// The standalone kubelet's own API.
    Standalone(Client),
    /// The cluster's API server.
    Cluster(Cluster),
}

impl View {
    /// Of the standalone kubelet in `place`.
    ///
    /// # Errors
    /// [`Failure`] where its socket's path is impossible.
    pub fn standalone(place: &Place) -> Result<Self, Failure> {
        Ok(Self::Standalone(Client::new(Endpoint::unix(&place.kubelet_socket()).map_err(Failure::failed)?)))
    }

    /// The pod's state; `None` while it isn't known.
    ///
    /// # Errors
    /// Why nobody says.
    pub async fn status(&self) -> Result<Option<PodStatus>, String> {
        let pod = match self {
            Self::Standalone(client) => listed(&get(client, "/pods").await?)?,
            Self::Cluster(cluster) => cluster.pod().await?,
        };
        Ok(pod.and_then(|pod| of_kubernetes(&pod)))
    }

    /// The whole output of a container.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn logs(&self, container: &str) -> Result<String, String> {
        match self {
            Self::Standalone(client) => {
                let pod = listed(&get(client, "/pods").await?)?.ok_or("the kubelet does not know the pod")?;
                let (namespace, name) = (pod.namespace(), pod.name());
                let output = get(client, &format!("/containerLogs/{namespace}/{name}/{container}")).await?;
                Ok(String::from_utf8_lossy(&output).into_owned())
            }
            Self::Cluster(cluster) => cluster.logs(container).await,
        }
    }
}

async fn get(client: &Client, path: &str) -> Result<Vec<u8>, String> {
    let answer = client.send(Call::new(Method::GET, path, "")).await.map_err(|e| e.to_string())?;
    let status = answer.status;
    let body = answer.bytes(LIMIT, Duration::from_secs(30)).await.map_err(|e| e.to_string())?;
    if status.is_success() {
        return Ok(body.to_vec());
    }
    Err(Fault::read("virtual-kubelet", status.as_u16(), None, &body).to_string())
}

/// The demo's pod in a core/v1 PodList. A kubelet appends the node's name to names of pods from manifests.
fn listed(body: &[u8]) -> Result<Option<Object>, String> {
    let list: Value = serde_json::from_slice(body).map_err(|e| format!("the pod list is not JSON: {e}"))?;
    let pods = list.get("items").and_then(Value::as_array).into_iter().flatten();
    let ours = |pod: &Object| pod.name() == POD || pod.name().starts_with(&format!("{POD}-"));
    Ok(pods.cloned().filter_map(Object::from_value).find(ours))
}

/// A pod's status as Kubernetes has it, in the contract's words.
pub(super) fn of_kubernetes(pod: &Object) -> Option<PodStatus> {
    let status = pod.fields().get("status")?;
    let list = |key| status.get(key).cloned().unwrap_or_else(|| json!([]));
    PodStatus::from_value(json!({
        "name": pod.name(), "namespace": pod.namespace(), "UID": pod.uid(), "JID": pod.annotation("JobID"),
        "containers": list("containerStatuses"), "initContainers": list("initContainerStatuses"),
    }))
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_pod_is_found_and_read() {
        let list = json!({"items": [{"metadata": {"name": "other"}}, {"metadata": {"name": "demo-node", "uid": "u", "annotations": {"JobID": "7"}},
            "status": {"phase": "Running", "containerStatuses": [{"name": "a", "state": {"running": {}}}]}}]});
        let pod = listed(list.to_string().as_bytes()).unwrap().unwrap();
        let status = of_kubernetes(&pod).unwrap();
        assert_eq!((status.uid.as_str(), status.jid.as_str()), ("u", "7"));
        assert!(status.containers[0].state.is_running() && status.init_containers.is_empty());
        assert!(listed(b"{}").unwrap().is_none() && listed(b"no").is_err());
    }
}
