//! The cluster, with the operator's kubeconfig: objects as JSON, by their paths.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

/// For one request.
const LIMIT: Duration = Duration::from_secs(20);
/// By whom fields are managed.
const MANAGER: &str = "interlinkctl";
/// What a body is otherwise.
const JSON: &str = "application/json";

/// A connection to the cluster.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
}

impl Cluster {
    /// With the kubeconfig of that file. Nothing is sent yet.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub async fn open(kubeconfig: &Path) -> Result<Self, String> {
        let wrong =
            |why: &dyn std::fmt::Display| format!("the kubeconfig {} can't be used: {why}", kubeconfig.display());
        // whoever was first in this process has installed the same
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = Kubeconfig::read_from(kubeconfig).map_err(|e| wrong(&e))?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        let mut config = config.map_err(|e| wrong(&e))?;
        config.connect_timeout = Some(LIMIT);
        Ok(Self { client: kube::Client::try_from(config).map_err(|e| wrong(&e))? })
    }

    /// An object or a list; `None` where there is none.
    ///
    /// # Errors
    /// One sentence.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, String> {
        self.send("GET", path, None).await
    }

    /// Makes an object what it should be, by server-side apply. `path` names it.
    ///
    /// # Errors
    /// One sentence.
    pub async fn apply(&self, path: &str, object: &Value) -> Result<(), String> {
        let path = format!("{path}?fieldManager={MANAGER}&force=true");
        // server-side apply takes YAML, which JSON is
        match self.send("PATCH", &path, Some(("application/apply-patch+yaml", object))).await? {
            Some(_) => Ok(()),
            None => Err(format!("{path} can't be made: what it belongs to does not exist")),
        }
    }

    /// Keeps the scheduler from binding more pods to a node, as `kubectl cordon` does; `false` where there is none.
    ///
    /// # Errors
    /// One sentence.
    pub async fn cordon(&self, node: &str) -> Result<bool, String> {
        let patch = json!({"spec": {"unschedulable": true}});
        let path = format!("/api/v1/nodes/{node}?fieldManager={MANAGER}");
        Ok(self.send("PATCH", &path, Some(("application/merge-patch+json", &patch))).await?.is_some())
    }

    /// Deletes an object with what depends on it; `false` where there is none.
    ///
    /// # Errors
    /// One sentence.
    pub async fn delete(&self, path: &str) -> Result<bool, String> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        Ok(self.send("DELETE", path, Some((JSON, &options))).await?.is_some())
    }

    async fn send(&self, method: &str, path: &str, body: Option<(&str, &Value)>) -> Result<Option<Value>, String> {
        let (kind, body) = body.map_or((JSON, String::new()), |(kind, body)| (kind, body.to_string()));
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        let body = body.into_bytes();
        let request = request.body(body).map_err(|e| e.to_string())?;
        let text = match tokio::time::timeout(LIMIT, self.client.request_text(request)).await {
            Err(_) => return Err(format!("the cluster does not answer within {} s", LIMIT.as_secs())),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Ok(None),
            Ok(Err(kube::Error::Api(status))) => return Err(format!("the cluster says: {}", status.message)),
            Ok(Err(error)) => return Err(format!("the cluster can't be asked: {}", chain(&error))),
            Ok(Ok(text)) => text,
        };
        serde_json::from_str(&text).map(Some).map_err(|_| format!("the cluster's answer to {path} is not JSON"))
    }
}

/// The innermost cause, which is the one that says something.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Whether all that `wanted` says is so in `there`, which may say more.
#[must_use]
pub fn contains(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| there.get(key).is_some_and(|found| contains(found, value)))
        }
        (there, wanted) => there == wanted,
    }
}

/// The kubeconfig of a ServiceAccount's token, for the cluster that the operator's own leads to.
///
/// # Errors
/// One sentence about the operator's file.
pub fn kubeconfig(operators: &Path, name: &str, token: &str) -> Result<String, String> {
    let wrong = |why: String| format!("the kubeconfig {}: {why}", operators.display());
    let file = Kubeconfig::read_from(operators).map_err(|e| wrong(e.to_string()))?;
    let current = file.current_context.ok_or_else(|| wrong("it has no current-context".into()))?;
    let context = file.contexts.into_iter().find(|context| context.name == current);
    let context = context.and_then(|named| named.context).ok_or_else(|| wrong(format!("no context {current}")))?;
    let cluster = file.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let mut cluster =
        cluster.and_then(|named| named.cluster).ok_or_else(|| wrong(format!("no cluster {}", context.cluster)))?;
    // inside, so that the services need no file of the operator's
    if let Some(path) = cluster.certificate_authority.take() {
        use base64::Engine as _;
        let pem = std::fs::read(&path).map_err(|e| wrong(format!("its authority {path} can't be read: {e}")))?;
        cluster.certificate_authority_data = Some(base64::engine::general_purpose::STANDARD.encode(pem));
    }
    let cluster = serde_json::to_value(&cluster).map_err(|e| wrong(e.to_string()))?;
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": "interlink", "context": {"cluster": "cluster", "user": name}}],
        "current-context": "interlink",
    });
    Ok(format!("{text:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_what_is_wanted_is_as_wanted() {
        let there = json!({"a": {"b": 1, "c": [1, 2]}, "d": 4});
        for (wanted, is) in [
            (json!({"a": {"b": 1}}), true),
            (json!({"a": {"c": [1, 2]}}), true),
            (json!({"a": {"c": [1]}}), false),
            (json!({"e": 1}), false),
        ] {
            assert_eq!(contains(&there, &wanted), is, "{wanted}");
        }
    }
}
