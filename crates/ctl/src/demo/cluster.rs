//! The demo in a cluster: its node, its pod, and that both are gone afterwards.
//!
//! What was joined is noted in the demo's directory before anything is made in the cluster, so that whoever stops the
//! demo can clean up there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use interlink_daemon::Failure;
use interlink_transport::Endpoint;
use interlink_wire::{LogStruct, Object};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret};
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, DeleteParams, LogParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use serde_json::{Value, json};

use super::expected::{EXAMPLE, Example, POD};
use super::keys::write;
use super::place::Place;
use crate::manifest::documents;

/// The longest wait for one answer of the cluster.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the pod may take to be gone from the cluster after its deletion.
const GONE: Duration = Duration::from_secs(30);

/// The taint that keeps pods away from interlink's nodes.
const TAINT: &str = "virtual-node.interlink/no-schedule";

/// What is noted in the demo's directory.
#[derive(Debug, Clone, serde::Serialize, Deserialize)]
struct Joined {
    kubeconfig: PathBuf,
    node: String,
}

/// A cluster that the demo joins.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    joined: Joined,
    api: PathBuf,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("joined", &self.joined).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster that `KUBECONFIG` points to; `None` where it points to no file.
    ///
    /// # Errors
    /// [`Failure`] where the file can't be used.
    pub async fn from_environment(place: &Place) -> Result<Option<Self>, Failure> {
        // A list, as for kubectl; the first file counts.
        let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
        let Some(kubeconfig) = std::env::split_paths(&named).find(|path| path.is_file()) else { return Ok(None) };
        let kubeconfig = std::path::absolute(&kubeconfig).unwrap_or(kubeconfig);
        let user = std::env::var("USER").unwrap_or_default();
        let joined = Joined { kubeconfig, node: node_name(&user) };
        write(&note(place), &json!(joined).to_string())?;
        Self::connect(joined, place).await.map(Some)
    }

    /// The cluster that the demo in `place` has joined.
    ///
    /// # Errors
    /// [`Failure`] where that isn't known or it can't be reached.
    pub async fn open(place: &Place) -> Result<Self, Failure> {
        let text = super::sshd::read(&note(place))?;
        let joined =
            serde_json::from_str(&text).map_err(|e| Failure::failed(format!("{}: {e}", note(place).display())))?;
        Self::connect(joined, place).await
    }

    /// The same for the demo's end: `None` where there is none, or it can't be reached any more.
    pub async fn open_if_joined(place: &Place) -> Option<Self> {
        if note(place).exists() { Self::open(place).await.ok() } else { None }
    }

    async fn connect(joined: Joined, place: &Place) -> Result<Self, Failure> {
        // Whoever was first in this process has installed the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let shown = joined.kubeconfig.display();
        let wrong = |e: &dyn std::fmt::Display| Failure::config(format!("the kubeconfig {shown} can't be used: {e}"));
        let kubeconfig = Kubeconfig::read_from(&joined.kubeconfig).map_err(|e| wrong(&e))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let mut config = config.map_err(|e| wrong(&e))?;
        config.connect_timeout = Some(ANSWER);
        let client = kube::Client::try_from(config).map_err(|e| wrong(&e))?;
        Ok(Self { client, api: place.api_socket(), joined })
    }

    /// The name of the demo's node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.joined.node
    }

    /// The file that leads there.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.joined.kubeconfig
    }

    /// Whether the node is registered, Ready and reachable for the scheduler.
    ///
    /// # Errors
    /// What is missing.
    pub async fn node_ready(&self) -> Result<(), String> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = timely(nodes.get_opt(&self.joined.node)).await?.ok_or("it has not registered its node")?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let is = |kind: &str| conditions.iter().find(|c| c.type_ == kind);
        if is("Ready").is_none_or(|c| c.status != "True") {
            return Err("its node is not Ready".into());
        }
        match is("NetworkUnavailable").filter(|c| c.status == "True") {
            Some(condition) => Err(condition.message.clone().unwrap_or_else(|| "its node has no network".into())),
            None => Ok(()),
        }
    }

    /// Makes the example's objects, the pod bound to the demo's node.
    ///
    /// # Errors
    /// [`Failure`] naming the object.
    pub async fn apply(&self, example: &Example) -> Result<(), Failure> {
        for (_, text) in example.manifests {
            for object in documents(text).map_err(Failure::failed)? {
                let kind = object.fields().get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
                let mut value = object.into_value();
                // It goes where the kubeconfig says.
                if let Some(metadata) = value["metadata"].as_object_mut() {
                    metadata.remove("namespace");
                }
                let made = match kind.as_str() {
                    "ConfigMap" => self.create::<ConfigMap>(value).await,
                    "Secret" => self.create::<Secret>(value).await,
                    _ => {
                        value["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": self.joined.node});
                        value["spec"]["tolerations"] = json!([{"key": TAINT, "operator": "Exists"}]);
                        self.create::<Pod>(value).await
                    }
                };
                made.map_err(|e| Failure::failed(format!("the cluster does not take the example's {kind}: {e}")))?;
            }
        }
        Ok(())
    }

    async fn create<K>(&self, value: Value) -> Result<(), String>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        let object: K = serde_json::from_value(value).map_err(|e| e.to_string())?;
        let api: Api<K> = Api::default_namespaced(self.client.clone());
        timely(api.create(&PostParams::default(), &object)).await.map(drop)
    }

    /// The pod as Kubernetes has it.
    ///
    /// # Errors
    /// Why it can't be asked.
    pub async fn pod(&self) -> Result<Option<Object>, String> {
        let pod = timely(self.pods().get_opt(POD)).await?;
        Ok(pod.and_then(|pod| serde_json::to_value(pod).ok()).and_then(Object::from_value))
    }

    /// A container's output: as `kubectl logs` has it, or through the chain where the cluster can't reach this machine.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn logs(&self, container: &str) -> Result<String, String> {
        let params = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        let why = match timely(self.pods().logs(POD, &params)).await {
            Ok(log) => return Ok(log),
            Err(why) => why,
        };
        let pod = self.pod().await?.ok_or("the pod is gone")?;
        let endpoint = Endpoint::unix(&self.api).map_err(|e| e.to_string())?;
        let owner = format!("local/{}", nix::unistd::geteuid());
        let api = crate::run::api::Api::new(endpoint, owner, "Demo".into());
        let request = LogStruct {
            namespace: pod.namespace().into(),
            pod_uid: pod.uid().into(),
            pod_name: pod.name().into(),
            container_name: container.into(),
            ..LogStruct::default()
        };
        let fetched = api.whole_log(&request).await;
        fetched.map(|log| String::from_utf8_lossy(&log).into_owned()).map_err(|fault| format!("{why}; {fault}"))
    }

    /// Deletes the example's objects and waits until the pod is gone. What can't be deleted is left.
    pub async fn withdraw(&self) {
        let delete = DeleteParams::default();
        let _ = timely(self.pods().delete(POD, &delete)).await;
        // Both examples have the same objects.
        for (_, text) in EXAMPLE.manifests {
            for object in documents(text).unwrap_or_default() {
                let name = object.name();
                let kind = object.fields().get("kind").and_then(Value::as_str);
                let _ = match kind {
                    Some("ConfigMap") => timely(self.api::<ConfigMap>().delete(name, &delete)).await.map(drop),
                    Some("Secret") => timely(self.api::<Secret>().delete(name, &delete)).await.map(drop),
                    _ => Ok(()),
                };
            }
        }
        let give_up = Instant::now() + GONE;
        while Instant::now() < give_up && matches!(self.pod().await, Ok(Some(_))) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Removes the node.
    pub async fn remove_node(&self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let _ = timely(nodes.delete(&self.joined.node, &DeleteParams::default())).await;
    }

    fn pods(&self) -> Api<Pod> {
        self.api()
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::default_namespaced(self.client.clone())
    }
}

async fn timely<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|e| match e {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        }),
        Err(_) => Err(format!("the cluster did not answer within {} s", ANSWER.as_secs())),
    }
}

fn note(place: &Place) -> PathBuf {
    place.join("cluster.json")
}

/// `interlink-demo-<user>` as a Kubernetes name.
fn node_name(user: &str) -> String {
    let user: String =
        user.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    match user.trim_matches('-') {
        "" => format!("interlink-demo-{}", nix::unistd::geteuid()),
        user => format!("interlink-demo-{user}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_user_gives_a_node_name() {
        for (user, name) in [("ada", "interlink-demo-ada"), ("A.Lovelace_", "interlink-demo-a-lovelace")] {
            assert_eq!(node_name(user), name);
        }
        for user in ["", "_", "ü", &"x".repeat(99)] {
            assert!(interlink_wire::names::is_dns_label(&node_name(user)), "{user}");
        }
    }
}
