//! Manifests, and what `kubectl` says about them.

use std::time::Duration;

use interlink_testkit::kubernetes::Kubectl;
use interlink_testkit::wait;
use serde_json::{Value, json};

use crate::node::NODE;

/// A pod for the virtual node that runs `command` in one container named `test`.
pub fn pod(name: &str, command: &[&str], tolerates: bool) -> Value {
    let tolerations = if tolerates {
        json!([{"key": "virtual-node.interlink/no-schedule", "operator": "Exists"}])
    } else {
        json!([])
    };
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": {"kubernetes.io/hostname": NODE},
            "tolerations": tolerations,
            "containers": [{"name": "test", "image": "busybox", "command": command}],
        },
    })
}

/// The pod as the API server has it now; `null` when it has none.
pub async fn get(kubectl: &Kubectl, name: &str) -> Value {
    let output = kubectl.run(["get", "pod", name, "-o", "json", "--ignore-not-found"]).await;
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// Waits until the pod is in one of `phases`, and returns it.
///
/// # Panics
/// When it is not in time; the message has its last status.
pub async fn in_phase(kubectl: &Kubectl, name: &str, phases: &[&str], timeout: Duration) -> Value {
    wait::until(&format!("pod {name} to be {phases:?}"), timeout, async || {
        let pod = get(kubectl, name).await;
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        if phases.contains(&phase) { Ok(pod) } else { Err(pod["status"].to_string()) }
    })
    .await
}

/// Waits until the API server no longer has the pod.
///
/// # Panics
/// When it still has it after `timeout`.
pub async fn gone(kubectl: &Kubectl, name: &str, timeout: Duration) {
    wait::until(&format!("pod {name} to be gone"), timeout, async || {
        let pod = get(kubectl, name).await;
        if pod.is_null() { Ok(()) } else { Err(pod["status"].to_string()) }
    })
    .await;
}

/// Waits for an Event about the pod whose message contains `words`.
///
/// # Panics
/// When there is none in time; the message has the Events that there are.
pub async fn event(kubectl: &Kubectl, name: &str, words: &str, timeout: Duration) -> String {
    wait::until(&format!("an Event about {name} that says {words:?}"), timeout, async || {
        let selector = format!("involvedObject.name={name}");
        let list = kubectl.json(["get", "events", "--field-selector", &selector, "-o", "json"]).await;
        let messages: Vec<String> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| format!("{}: {}", e["reason"].as_str().unwrap_or("?"), e["message"].as_str().unwrap_or("?")))
            .collect();
        messages.iter().find(|m| m.contains(words)).cloned().ok_or_else(|| format!("{messages:?}"))
    })
    .await
}
