//! The rights of a virtual kubelet: the existing Helm chart's ClusterRole.

use std::time::Duration;

use serde_json::{Value, json};

use super::Kubectl;
use crate::wait;

/// Where the ServiceAccounts live.
const NAMESPACE: &str = "interlink";

/// Makes a ServiceAccount with the chart's rights and returns a token of it that outlives any test.
pub(super) async fn virtual_kubelet_token(kubectl: &Kubectl, name: &str) -> String {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } },
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": NAMESPACE } },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
          "metadata": { "name": "virtual-kubelet" }, "rules": rules() },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
          "metadata": { "name": format!("virtual-kubelet-{name}") },
          "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "virtual-kubelet" },
          "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": NAMESPACE }] },
    ] });
    kubectl.apply(&list.to_string()).await;
    let token = kubectl.ok(["create", "token", name, "-n", NAMESPACE, "--duration=24h"]).await;
    // the authorizer follows by watch: a first request must not meet yesterday's rules
    let user = format!("--as=system:serviceaccount:{NAMESPACE}:{name}");
    wait::until("the rights of the ServiceAccount", Duration::from_secs(10), async || {
        let output = kubectl.run(["auth", "can-i", "create", "events", &user]).await;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into_owned()) }
    })
    .await;
    token.trim().to_owned()
}

/// `patch` of nodes, `create` of secrets, persistentVolumeClaims, TokenReviews and SubjectAccessReviews are not
/// there: programs must work without.
fn rules() -> Value {
    let write = ["create", "delete", "get", "list", "patch", "update", "watch"];
    let read = ["get", "list", "watch"];
    json!([
        { "apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"], "verbs": write },
        { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": write },
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": write },
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": write },
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": write },
        { "apiGroups": [""], "resources": ["secrets", "services", "serviceaccounts", "namespaces"], "verbs": read },
        { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["create"] },
        { "apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"] },
        { "apiGroups": [""], "resources": ["pods", "services"], "verbs": write },
        { "apiGroups": [""], "resources": ["nodes"], "verbs": ["create", "delete", "get"] },
        { "apiGroups": [""], "resources": ["nodes/status", "pods/status"], "verbs": ["patch", "update"] },
        { "apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"] },
    ])
}
