//! Whom a Node belongs to: an object that goes with an installation, so that the cluster's garbage collector takes the Node
//! along, whenever and however the installation ends.
//!
//! A ClusterRole, because the owner of an object without a namespace has none, and each installation has one.

use serde_json::{Value, json};

use crate::kubernetes::api::{Kube, KubeError};

const KIND: &str = "ClusterRole";

/// The entry of `ownerReferences` that names ClusterRole `name` as it is now.
pub(super) async fn reference(kube: &Kube, name: &str) -> Result<Value, KubeError> {
    let role = kube.get(&format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}")).await?;
    let uid = role.get("metadata").and_then(|m| m.get("uid"));
    Ok(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": KIND, "name": name, "uid": uid}))
}

/// Whether `node` belongs to ClusterRole `name`.
pub(super) fn owns(name: &str, node: &Value) -> bool {
    references(node).any(|owner| is(name, owner))
}

/// The merge patch that adds `reference` to the owners of `node`, in the place of an earlier one of that name.
pub(super) fn patch(node: &Value, reference: &Value) -> Value {
    let name = reference.get("name").and_then(Value::as_str).unwrap_or_default();
    let others = references(node).filter(|owner| !is(name, owner));
    let version = node.get("metadata").and_then(|m| m.get("resourceVersion"));
    let all: Vec<&Value> = others.chain([reference]).collect();
    json!({"metadata": {"resourceVersion": version, "ownerReferences": all}})
}

fn references(node: &Value) -> impl Iterator<Item = &Value> {
    node.get("metadata").and_then(|m| m.get("ownerReferences")?.as_array()).into_iter().flatten()
}

fn is(name: &str, owner: &Value) -> bool {
    let says = |key: &str, value: &str| owner.get(key).and_then(Value::as_str) == Some(value);
    says("kind", KIND) && says("name", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_added_to_those_that_are_there() {
        let other = json!({"kind": "Machine", "name": "role", "uid": "1"});
        let node = json!({"metadata": {"resourceVersion": "7", "ownerReferences": [other]}});
        assert!(!owns("role", &node) && !owns("role", &Value::Null));
        let reference = json!({"kind": KIND, "name": "role", "uid": "2"});
        let patch = patch(&node, &reference);
        assert_eq!(patch["metadata"]["resourceVersion"], "7", "a Node that has changed is looked at again");
        assert_eq!(patch["metadata"]["ownerReferences"], json!([other, reference]));
        assert!(owns("role", &patch));
    }
}
