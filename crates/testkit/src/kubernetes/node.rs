//! A Node without a kubelet that stays Ready.

use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::Kubectl;
use crate::wait;

/// Well within the shortest `--node-monitor-grace-period` that a test would set.
const RENEWAL: Duration = Duration::from_secs(2);

/// A Node made by hand, untainted, Ready, with room for many Pods; a thread renews its Lease. Pods are bound to it and nobody
/// runs them.
///
/// Dropped, it is no longer renewed; the Node stays and becomes NotReady as a dead one does.
#[derive(Debug)]
pub struct HealthyNode {
    name: String,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HealthyNode {
    pub(super) async fn register(kubectl: Kubectl, name: &str) -> Self {
        kubectl.apply(&node(name).to_string()).await;
        let status = json!({ "status": status() }).to_string();
        kubectl.ok(["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status]).await;
        kubectl.apply(&lease(name).to_string()).await;
        let (stop, stopped) = channel();
        let renewed = name.to_owned();
        let renewing = kubectl.clone();
        // a thread, not a task: the node may be shared by tests, each of which has a runtime of its own
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
                renew(&renewing, &renewed);
            }
        });
        let node = Self { name: name.to_owned(), stop: Some(stop), thread: Some(thread) };
        // Kubernetes taints every new Node until it has seen it Ready
        wait::until(&format!("the Node {name} to lose its taints"), Duration::from_secs(30), async || {
            let node = kubectl.json(["get", "node", name]).await;
            match &node["spec"]["taints"] {
                Value::Null => Ok(()),
                taints => Err(taints.to_string()),
            }
        })
        .await;
        node
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for HealthyNode {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn renew(kubectl: &Kubectl, name: &str) {
    let patch = json!({ "spec": { "renewTime": now() } }).to_string();
    // while a test has the API server down, this fails, as it would for a real kubelet
    let _ = kubectl
        .blocking_command(["patch", "lease", name, "-n", "kube-node-lease", "--request-timeout=5s"])
        .args(["--type=merge", "-p", &patch])
        .stdin(Stdio::null())
        .output();
}

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" } },
    })
}

fn status() -> Value {
    let room = json!({ "cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "1000" });
    let conditions: Vec<Value> = [
        ("Ready", "True"),
        ("MemoryPressure", "False"),
        ("DiskPressure", "False"),
        ("PIDPressure", "False"),
        ("NetworkUnavailable", "False"),
    ]
    .into_iter()
    .map(|(kind, status)| {
        json!({
            "type": kind, "status": status, "reason": "Testkit", "message": "a node of the testkit",
            "lastHeartbeatTime": now(), "lastTransitionTime": now(),
        })
    })
    .collect();
    json!({
        "capacity": room,
        "allocatable": room,
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        // nobody listens there: logs and exec of its Pods fail at once
        "daemonEndpoints": { "kubeletEndpoint": { "Port": 1 } },
        "conditions": conditions,
    })
}

fn lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name, "namespace": "kube-node-lease" },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now() },
    })
}

/// RFC 3339 with microseconds, as a Lease wants it.
fn now() -> String {
    let now = jiff::Timestamp::now();
    format!("{now:.6}")
}
