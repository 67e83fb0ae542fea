//! The Node object. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use interlink_wire::ping::PingTaint;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::capacity::{self, Capacity};
use super::{Taint, conditions};
use crate::health::Health;

/// The annotation with the last ping answer, which dashboards read.
pub const PING_RESPONSE: &str = "interlink.virtual-kubelet.io/ping-response";
/// The annotation with the taints that are ours, so that those of others stay when ours go.
pub const OWN_TAINTS: &str = "interlink.virtual-kubelet.io/taints";

/// What is fixed while the configuration stays.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// Name.
    pub name: String,
    /// The ClusterRole that it belongs to: who deletes that one, as an uninstallation does, deletes the Node.
    pub owner: Option<String>,
    /// Labels beyond the fixed ones; they win over them.
    pub labels: BTreeMap<String, String>,
    /// Taints beyond the fixed one.
    pub taints: Vec<Taint>,
    /// `spec.podCIDR`, or empty.
    pub pod_cidr: String,
    /// Configured resources.
    pub resources: Capacity,
    /// `InternalIP`.
    pub address: Option<IpAddr>,
    /// Port of the kubelet API; `None` where it is not served.
    pub port: Option<u16>,
}

impl NodeSpec {
    /// Every label of the node.
    #[must_use]
    pub fn all_labels(&self) -> BTreeMap<String, String> {
        let fixed = [
            ("alpha.service-controller.kubernetes.io/exclude-balancer", "true"),
            ("node.kubernetes.io/exclude-from-external-load-balancers", "true"),
            ("kubernetes.io/os", "virtual-kubelet"),
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/role", "agent"),
            ("virtual-node.interlink/type", "virtual-kubelet"),
        ];
        let mut labels: BTreeMap<_, _> = fixed.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        labels.extend(self.labels.clone());
        labels
    }

    /// Every taint of ours: the fixed one, the configured ones, and those that the plugin asks for.
    #[must_use]
    pub fn all_taints(&self, asked: Option<&[PingTaint]>) -> Vec<Taint> {
        let mut taints = vec![Taint::fixed()];
        let asked = asked.into_iter().flatten().filter(|t| !t.key.is_empty() && t.key != super::FIXED_KEY);
        let asked = asked.map(|t| Taint::read(&t.key, &t.value, &t.effect).0);
        for taint in self.taints.iter().cloned().chain(asked) {
            // Kubernetes allows one taint per key and effect.
            if !taints.iter().any(|t| t.key == taint.key && t.effect == taint.effect) {
                taints.push(taint);
            }
        }
        taints
    }

    /// The object to create.
    #[must_use]
    pub fn create(&self, health: &Health, now: Timestamp) -> Value {
        let taints = self.all_taints(health.pong.response.taints.as_deref());
        let mut spec = json!({"providerID": format!("external:///{}", self.name), "taints": taints});
        if !self.pod_cidr.is_empty() {
            spec["podCIDR"] = self.pod_cidr.as_str().into();
            spec["podCIDRs"] = json!([self.pod_cidr]);
        }
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name, "labels": self.all_labels(), "annotations": {PING_RESPONSE: health.pong.text, OWN_TAINTS: names(&taints)}},
            "spec": spec,
            "status": self.status(&Value::Null, health, now),
        })
    }

    /// The patch (strategic, on the status, which also takes labels and annotations) that makes `current` ours.
    #[must_use]
    pub fn patch(&self, current: &Value, health: &Health, now: Timestamp) -> Value {
        json!({
            "metadata": {"labels": self.all_labels(), "annotations": {PING_RESPONSE: health.pong.text}},
            "status": self.status(current.get("status").unwrap_or(&Value::Null), health, now),
        })
    }

    fn status(&self, before: &Value, health: &Health, now: Timestamp) -> Value {
        let (capacity, _) = capacity::of(&self.resources, health.pong.response.resources.as_ref());
        let mut status = Map::new();
        for key in ["capacity", "allocatable"] {
            let mut offered: Map<String, Value> =
                capacity.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
            // What is no longer offered goes away.
            for gone in before.get(key).and_then(Value::as_object).into_iter().flat_map(Map::keys) {
                if !capacity.contains_key(gone) {
                    offered.insert(gone.clone(), Value::Null);
                }
            }
            status.insert(key.into(), offered.into());
        }
        status.insert("conditions".into(), conditions::of(before.get("conditions"), health, now).into());
        if let Some(address) = self.address {
            // No Hostname: API servers prefer it, and nobody resolves a virtual node's name.
            status.insert("addresses".into(), json!([{"type": "InternalIP", "address": address.to_string()}]));
        }
        if let Some(port) = self.port {
            status.insert("daemonEndpoints".into(), json!({"kubeletEndpoint": {"Port": port}}));
        }
        let version = interlink_daemon::VERSION;
        status.insert(
            "nodeInfo".into(),
            json!({
                "kubeletVersion": format!("v1.36.0-interlink-{version}"), "operatingSystem": "linux", "architecture": "virtual-kubelet",
                "osImage": "interLink", "containerRuntimeVersion": format!("interlink://{version}"),
                "kernelVersion": "", "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": "",
            }),
        );
        status.into()
    }
}

/// The value of [`OWN_TAINTS`]: `key:effect` of each.
#[must_use]
pub fn names(taints: &[Taint]) -> String {
    taints.iter().map(|t| format!("{}:{}", t.key, t.effect)).collect::<Vec<_>>().join(",")
}

/// Whether `node` is a virtual node, ours or the existing program's, and not some real machine's.
#[must_use]
pub fn is_virtual(node: &Value) -> bool {
    let label = node.get("metadata").and_then(|m| m.get("labels")?.get("virtual-node.interlink/type"));
    let provider = node.get("spec").and_then(|s| s.get("providerID")?.as_str());
    label.is_some() || provider.is_some_and(|p| p.starts_with("external:///"))
}

/// `patch` without what changes by itself, to see whether there is news; and the ping answer, which changes often.
#[must_use]
pub fn essence(patch: &Value) -> (Value, String) {
    let mut essence = patch.clone();
    let annotations = essence.get_mut("metadata").and_then(|m| m.get_mut("annotations")?.as_object_mut());
    let answer = annotations.and_then(|a| a.remove(PING_RESPONSE)).and_then(|a| a.as_str().map(str::to_owned));
    let conditions = essence.get_mut("status").and_then(|s| s.get_mut("conditions")).and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        condition.remove("lastHeartbeatTime");
        condition.remove("lastTransitionTime");
    }
    (essence, answer.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Tracker;
    use crate::interlink::Pong;

    fn spec() -> NodeSpec {
        NodeSpec {
            name: "n1".into(),
            owner: None,
            labels: [("kubernetes.io/role".to_owned(), "batch".to_owned())].into(),
            taints: vec![Taint::read("site", "x", "NoExecute").0],
            pod_cidr: "10.1.0.0/24".into(),
            resources: [("cpu".to_owned(), "8".to_owned())].into(),
            address: Some("192.0.2.1".parse().unwrap()),
            port: Some(10250),
        }
    }

    fn health(ping: &str) -> Health {
        let mut tracker = Tracker::new(Timestamp::UNIX_EPOCH);
        tracker.note(Ok(Pong::read(ping.as_bytes()).unwrap()), Timestamp::UNIX_EPOCH);
        tracker.health().clone()
    }

    #[test]
    fn the_node_is_what_manifests_and_charts_rely_on() {
        let node = spec().create(&health(""), Timestamp::UNIX_EPOCH);
        assert_eq!(node["spec"]["providerID"], "external:///n1");
        assert_eq!(
            node["spec"]["taints"][0],
            json!({"key": "virtual-node.interlink/no-schedule", "value": "true", "effect": "NoSchedule"})
        );
        assert_eq!(node["spec"]["taints"][1]["key"], "site");
        let labels = &node["metadata"]["labels"];
        assert_eq!(
            (&labels["kubernetes.io/hostname"], &labels["kubernetes.io/os"]),
            (&json!("n1"), &json!("virtual-kubelet"))
        );
        assert_eq!(labels["kubernetes.io/role"], "batch", "a configured label wins");
        assert_eq!(labels["virtual-node.interlink/type"], "virtual-kubelet");
        assert_eq!(node["status"]["addresses"], json!([{"type": "InternalIP", "address": "192.0.2.1"}]));
        assert_eq!(node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"], 10250);
        assert_eq!(
            (&node["status"]["capacity"], &node["status"]["allocatable"]),
            (&json!({"cpu": "8"}), &json!({"cpu": "8"}))
        );
        assert!(
            is_virtual(&node) && !is_virtual(&json!({"metadata": {"labels": {}}, "spec": {"providerID": "aws:///i"}}))
        );
    }

    #[test]
    fn a_patch_takes_away_what_is_no_longer_offered() {
        let current = json!({"status": {"capacity": {"cpu": "1", "nvidia.com/gpu": "4"}}});
        let patch = spec().patch(&current, &health(""), Timestamp::UNIX_EPOCH);
        assert_eq!(patch["status"]["capacity"], json!({"cpu": "8", "nvidia.com/gpu": null}));
        let later = spec().patch(&current, &health(""), Timestamp::now());
        assert_ne!(patch, later);
        assert_eq!(essence(&patch), essence(&later));
    }

    #[test]
    fn the_plugins_taints_come_on_top() {
        let ping = health(
            r#"{"taints": [{"key": "drain", "effect": "Odd"}, {"key": "", "effect": "NoSchedule"}, {"key": "site", "value": "y", "effect": "NoExecute"}]}"#,
        );
        let taints = spec().all_taints(ping.pong.response.taints.as_deref());
        let shown: Vec<String> = taints.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["virtual-node.interlink/no-schedule=true:NoSchedule", "site=x:NoExecute", "drain:NoSchedule"]
        );
    }
}
