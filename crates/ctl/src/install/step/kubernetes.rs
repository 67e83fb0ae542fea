//! The virtual kubelet's identity in the cluster: a ServiceAccount with just the needed rights, and its kubeconfig.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use serde_json::{Value, json};

use super::account::Owner;
use super::file::File;
use super::{Seen, Site, Step};
use crate::install::cluster::{Cluster, contains, kubeconfig};

/// Where the ServiceAccounts are.
pub const NAMESPACE: &str = "interlink";
/// The token controller fills a Secret within a moment.
const TOKEN: Duration = Duration::from_secs(30);
/// The cluster empties a Namespace before it deletes it, which an earlier `uninstall` need not have waited for.
const GOING: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// One object in the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The operator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The object's path in the API.
    pub path: String,
    /// What it should be.
    pub body: Value,
}

impl Object {
    fn word(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_default()
    }

    /// Waits while one of that name is being deleted: nothing can be made in it, and it takes all with it.
    async fn gone_if_going(&self, cluster: &Cluster) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + GOING;
        while cluster.get(&self.path).await?.is_some_and(|there| going(&there)) {
            if tokio::time::Instant::now() >= deadline {
                return Err(format!(
                    "the cluster has been deleting the one from before for {} s: see what holds it with kubectl get \
                     --raw {}, and run this again when it is gone",
                    GOING.as_secs(),
                    self.path
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Whether it is being deleted.
fn going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The objects of the virtual kubelet of that node, in the order in which they are made.
#[must_use]
pub fn objects(operators: &std::path::Path, node: &str) -> Vec<Object> {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = format!("interlink-{node}");
    let token = format!("{node}-token");
    let object = |path: String, body: Value| Object { kubeconfig: operators.to_owned(), path, body };
    let labels = json!({"app.kubernetes.io/managed-by": "interlinkctl", "app.kubernetes.io/name": "interlink"});
    vec![
        object(
            format!("/api/v1/namespaces/{NAMESPACE}"),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        ),
        object(
            format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{node}"),
            json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": node, "namespace": NAMESPACE, "labels": labels}}),
        ),
        object(
            format!("{rbac}/clusterroles/{role}"),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": role, "labels": labels}, "rules": rules(node)}),
        ),
        object(
            format!("{rbac}/clusterrolebindings/{role}"),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": role, "labels": labels},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": node, "namespace": NAMESPACE}]}),
        ),
        // one that TokenRequest gives would end
        object(
            format!("/api/v1/namespaces/{NAMESPACE}/secrets/{token}"),
            json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
                "metadata": {"name": token, "namespace": NAMESPACE, "labels": labels,
                    "annotations": {"kubernetes.io/service-account.name": node}}}),
        ),
    ]
}

/// What the virtual kubelet of any node does, and nothing else, with `NODE` for the node's name: the chart's.
const RULES: &str = include_str!("../../../../../packaging/helm/interlink/files/rules.yaml");

/// What the virtual kubelet of that node does, and `interlinkctl check`, which asks as the same account.
#[must_use]
pub fn rules(node: &str) -> Value {
    let rules: Result<Vec<Value>, _> = serde_saphyr::from_str(&RULES.replace("NODE", node));
    let mut rules = rules.expect("the file is part of the program, and a test reads it");
    // its own healthz, by way of the API server
    rules.push(json!({"apiGroups": [""], "resources": ["nodes/proxy"], "resourceNames": [node], "verbs": ["get"]}));
    rules.into()
}

#[async_trait]
impl Step for Object {
    fn title(&self) -> String {
        let name = self.body["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name} in the cluster", self.word("kind"))
    }

    async fn look(&self, _: &Site) -> Result<Seen, String> {
        let there = Cluster::open(&self.kubeconfig).await?.get(&self.path).await?;
        Ok(match there {
            None => Seen::Missing(vec![format!("+ {}", self.body)]),
            Some(there) if going(&there) => Seen::Missing(vec![format!("+ {}", self.body)]),
            Some(there) if contains(&there, &self.body) => Seen::AsWanted,
            Some(_) => Seen::Differs(vec![format!("+ {}", self.body)]),
        })
    }

    async fn make(&self, _: &mut Site) -> Result<(), String> {
        let cluster = Cluster::open(&self.kubeconfig).await?;
        self.gone_if_going(&cluster).await?;
        cluster.apply(&self.path, &self.body).await
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        if !site.record.made.contains(&self.title()) {
            return Ok(false);
        }
        let cluster = Cluster::open(&self.kubeconfig).await?;
        if self.word("kind") == "Namespace" {
            let accounts = cluster.get(&format!("{}/serviceaccounts", self.path)).await?.unwrap_or_default();
            let names = accounts["items"].as_array().into_iter().flatten().map(|item| &item["metadata"]["name"]);
            // of another virtual node
            if names.into_iter().any(|name| name != "default") {
                return Ok(false);
            }
        }
        cluster.delete(&self.path).await
    }
}

/// The virtual kubelet's kubeconfig, with the token of its ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The operator's kubeconfig.
    pub operators: PathBuf,
    /// The node, whose name is the ServiceAccount's.
    pub node: String,
    /// The file.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: Owner,
}

impl Login {
    async fn file(&self, patience: Duration) -> Result<Option<File>, String> {
        let cluster = Cluster::open(&self.operators).await?;
        let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/{}-token", self.node);
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let secret = cluster.get(&path).await?.unwrap_or_default();
            if let Some(token) = secret["data"]["token"].as_str() {
                let token = base64::engine::general_purpose::STANDARD.decode(token).map_err(|e| e.to_string())?;
                let text = kubeconfig(&self.operators, &self.node, &String::from_utf8_lossy(&token))?;
                let mut file = File::text(&self.path, text, 0o600, self.owner.clone());
                file.keeps_edits = false;
                return Ok(Some(file));
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[async_trait]
impl Step for Login {
    fn title(&self) -> String {
        format!("kubeconfig {}", self.path.display())
    }

    fn file(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }

    async fn look(&self, site: &Site) -> Result<Seen, String> {
        // never its words: there is a token in them
        let hidden = |_| vec![format!("+ with the token of ServiceAccount {NAMESPACE}/{}", self.node)];
        Ok(match self.file(Duration::ZERO).await? {
            None => Seen::Missing(hidden(())),
            Some(file) => match file.look(site).await? {
                Seen::Missing(_) => Seen::Missing(hidden(())),
                Seen::Differs(_) => Seen::Differs(hidden(())),
                as_wanted => as_wanted,
            },
        })
    }

    async fn make(&self, site: &mut Site) -> Result<(), String> {
        let file = self.file(TOKEN).await?;
        let file =
            file.ok_or("the cluster gives the ServiceAccount no token; see whether kube-controller-manager runs")?;
        file.make(site).await
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        File::text(&self.path, "", 0o600, self.owner.clone()).undo(site).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allowed_in_general_and_nodes_only_by_name() {
        let rules = rules("site");
        for rule in rules.as_array().unwrap() {
            let text = rule.to_string();
            assert!(!text.contains('*'), "{text}");
            let creates = rule["verbs"] == json!(["create"]);
            let nodes = rule["resources"].to_string().contains("nodes");
            assert!(!nodes || creates || rule["resourceNames"] == json!(["site"]), "{text}");
        }
    }
}
