//! `/stats/summary` (stats/v1alpha1): what runs here. Usage is left out as long as nobody measures it.

use serde_json::{Value, json};

use super::routes::KubeletApi;

/// The summary of all pods that have not ended.
pub(super) fn summary(api: &KubeletApi) -> Value {
    let pods: Vec<Value> = api
        .sorted()
        .iter()
        .filter(|pod| !pod.is_finished())
        .map(|pod| {
            let object = pod.to_object();
            let statuses =
                object.fields().get("status").and_then(|s| s.get("containerStatuses")).and_then(Value::as_array);
            let containers: Vec<Value> = statuses
                .into_iter()
                .flatten()
                .filter_map(|status| {
                    let started = status.pointer("/state/running/startedAt").filter(|t| t.is_string())?;
                    Some(json!({"name": status.get("name")?, "startTime": started}))
                })
                .collect();
            let created = object.fields().get("metadata").and_then(|m| m.get("creationTimestamp")).cloned();
            json!({
                "podRef": {"name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid.as_str()},
                "startTime": created.unwrap_or(Value::Null),
                "containers": containers,
            })
        })
        .collect();
    json!({"node": {"nodeName": api.node, "startTime": api.started.to_string()}, "pods": pods})
}
