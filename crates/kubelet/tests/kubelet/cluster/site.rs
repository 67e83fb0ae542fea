//! A control plane, a scripted API server, and the virtual kubelet between them.

use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::{ControlPlane, Kubectl, Options};
use interlink_testkit::ports::free_port;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::wait;
use serde_json::{Value, json};

use crate::scripted::ScriptedApi;

pub(crate) const NODE: &str = "virtual";
const PATIENCE: Duration = Duration::from_secs(90);

/// A pod that asks for the node.
pub(crate) fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "restartPolicy": "Never", "nodeSelector": {"kubernetes.io/hostname": NODE},
        "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "3600"]}]}})
}

/// The same with the toleration that it needs.
pub(crate) fn tolerating(mut pod: Value) -> String {
    pod["spec"]["tolerations"] = json!([{"key": "virtual-node.interlink/no-schedule", "operator": "Exists"}]);
    pod.to_string()
}

/// What the first configuration says of the node.
pub(crate) const FIRST: &str = "NodeLabels: {site: test}\nResources: {CPU: 8, Memory: 16Gi, Pods: 100}\n";

fn write_config(dir: &TestDir, api: &ScriptedApi, more: &str) {
    dir.write("config.yaml", format!("InterlinkURL: unix://{}\nVerboseLogging: true\n{more}", api.socket.display()));
}

pub(crate) struct Site {
    // In the order of their end.
    pub(crate) kubelet: Daemon,
    pub(crate) api: ScriptedApi,
    pub(crate) plane: ControlPlane,
    dir: TestDir,
}

impl Site {
    pub(crate) async fn start(options: Options) -> Self {
        let plane = ControlPlane::start(options).await;
        let api = ScriptedApi::start(&["idempotentCreate", "podList"]).await;
        let dir = TestDir::new();
        write_config(&dir, &api, FIRST);
        let kubelet = Launch::new(env!("CARGO_BIN_EXE_virtual-kubelet"), dir.join("kubelet.log"))
            .args(["--provider", "interlink", "--nodename", NODE, "--config"])
            .arg(dir.join("config.yaml"))
            .env("KUBECONFIG", plane.virtual_kubelet_kubeconfig("vk").await)
            .env("KUBELET_PORT", free_port().to_string())
            .env("RUNTIME_DIRECTORY", dir.folder("run"))
            .env("STATE_DIRECTORY", dir.folder("state"))
            .start();
        Self { kubelet, api, plane, dir }
    }

    /// Writes the configuration file anew.
    pub(crate) fn configure(&self, more: &str) {
        write_config(&self.dir, &self.api, more);
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        self.plane.kubectl()
    }

    pub(crate) async fn end(mut self) {
        self.api.down().await;
    }

    pub(crate) fn report(&self, uid: &str, state: Value) {
        self.api.script().report(uid, state);
    }

    pub(crate) async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        wait::until(what, PATIENCE, async || if done(self) { Ok(()) } else { Err("not yet") }).await;
    }

    /// Waits until the node is as `fits` says.
    pub(crate) async fn until_node(&self, what: &str, fits: impl Fn(&Value) -> bool) {
        wait::until(what, PATIENCE, async || {
            assert!(self.kubelet.exit_status().is_none(), "the kubelet ended: {}", self.kubelet.log_tail(20));
            let output = self.kubectl().run(["get", "node", NODE, "-o", "json"]).await;
            let node: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if fits(&node) { Ok(()) } else { Err(format!("{node}\n{}", self.kubelet.log_tail(20))) }
        })
        .await;
    }

    pub(crate) async fn node_condition(&self, kind: &str, status: &str) {
        self.until_node(&format!("the node's condition {kind} to be {status}"), |node| {
            let all = node["status"]["conditions"].as_array();
            all.into_iter().flatten().any(|c| c["type"] == kind && c["status"] == status)
        })
        .await;
    }

    /// When the node became Ready.
    pub(crate) async fn ready_since(&self) -> Value {
        let node = self.kubectl().json(["get", "node", NODE]).await;
        let ready = node["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
        json!([ready["status"], ready["lastTransitionTime"]])
    }

    /// Waits until the pod is as `fits` says.
    pub(crate) async fn shown(&self, name: &str, fits: impl Fn(&Value) -> bool) {
        wait::until(&format!("pod {name} to change"), PATIENCE, async || {
            let pod = self.kubectl().json(["get", "pod", name]).await;
            if fits(&pod) { Ok(()) } else { Err(format!("{}\n{}", pod["status"], self.kubelet.log_tail(20))) }
        })
        .await;
    }

    pub(crate) async fn gone(&self, name: &str) {
        wait::until(&format!("pod {name} to be gone"), PATIENCE, async || {
            let output = self.kubectl().run(["get", "pod", name, "--ignore-not-found"]).await;
            if output.stdout.is_empty() { Ok(()) } else { Err(self.kubelet.log_tail(20)) }
        })
        .await;
    }

    /// Waits until the pod has been sent; its UID.
    pub(crate) async fn submitted(&self, name: &str) -> String {
        let pod = self.kubectl().json(["get", "pod", name]).await;
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        wait::until(&format!("pod {name} to be submitted"), PATIENCE, async || {
            let made = self.api.script().made.contains_key(&uid);
            if made { Ok(()) } else { Err(self.kubelet.log_tail(20)) }
        })
        .await;
        uid
    }

    /// Waits for an Event about the pod.
    pub(crate) async fn event(&self, pod: &str, reason: &str, words: &str) {
        let about = format!("involvedObject.name={pod},reason={reason}");
        wait::until(&format!("the event {reason} of {pod}"), PATIENCE, async || {
            let events = self.kubectl().json(["get", "events", "--field-selector", &about]).await;
            let found =
                events["items"].as_array().unwrap().iter().any(|e| e["message"].as_str().unwrap().contains(words));
            if found { Ok(()) } else { Err(format!("{events}\n{}", self.kubelet.log_tail(20))) }
        })
        .await;
    }
}
