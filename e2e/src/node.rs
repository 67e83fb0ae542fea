//! The cluster's side: a control plane, a second healthy node, and the virtual kubelet.

use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::{self, ControlPlane, HealthyNode, Kubectl};
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::{binaries, ports, wait};
use serde_json::Value;

use crate::link::Link;

/// The name of the virtual node.
pub const NODE: &str = "interlink-node";

/// A control plane with the virtual node in it.
#[derive(Debug)]
pub struct Node {
    /// The virtual kubelet, with no more rights than the existing chart gives.
    pub kubelet: Daemon,
    /// A node that stays Ready and runs nothing, so that the cluster is not one of a single node.
    pub healthy: HealthyNode,
    /// The cluster.
    pub cluster: ControlPlane,
    /// Logs and configuration.
    pub dir: TestDir,
}

impl Node {
    /// Starts a cluster and a virtual node in it, and waits until the node is Ready.
    ///
    /// # Panics
    /// When it is not in time.
    pub async fn start(link: &Link) -> Self {
        let socket = link.socket.clone();
        Self::start_with(move |launch, dir| {
            let config = format!(
                "InterlinkURL: \"unix://{}\"\nInterlinkPort: \"\"\nVerboseLogging: true\nNodeLabels:\n  \"interlink.cern.ch/provider\": \"remote-hpc\"\n",
                socket.display()
            );
            launch.arg(dir.write("VirtualKubeletConfig.yaml", config)).env("POD_IP", "127.0.0.1")
        })
        .await
    }

    /// The same, with a configuration of the test's own: `configure` adds the value of `--config`.
    ///
    /// # Panics
    /// When the node is not Ready in time.
    pub async fn start_with(configure: impl FnOnce(Launch, &TestDir) -> Launch) -> Self {
        let cluster = ControlPlane::start(kubernetes::Options::default()).await;
        let healthy = cluster.healthy_node("standby").await;
        let kubeconfig = cluster.virtual_kubelet_kubeconfig("interlink").await;
        let dir = TestDir::new();
        let kubelet = Launch::new(binaries::path("virtual-kubelet"), dir.join("kubelet.log")).args([
            "--provider",
            "interlink",
            "--nodename",
            NODE,
            "--config",
        ]);
        let kubelet = configure(kubelet, &dir)
            .env("KUBECONFIG", kubeconfig)
            .env("KUBELET_PORT", ports::free_port().to_string())
            .env("RUNTIME_DIRECTORY", dir.path())
            .env("STATE_DIRECTORY", dir.path())
            .start();
        let node = Self { kubelet, healthy, cluster, dir };
        node.ready().await;
        node
    }

    /// `kubectl` as the cluster's administrator.
    pub fn kubectl(&self) -> &Kubectl {
        self.cluster.kubectl()
    }

    /// Waits until the virtual node is Ready and its network is available.
    ///
    /// # Panics
    /// When it is not in time.
    pub async fn ready(&self) {
        wait::until("the virtual node to be Ready", Duration::from_secs(60), async || {
            let output = self.kubectl().run(["get", "node", NODE, "-o", "json"]).await;
            let node: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is = |kind: &str, status: &str| conditions.iter().any(|c| c["type"] == kind && c["status"] == status);
            if is("Ready", "True") && is("NetworkUnavailable", "False") && is("InterlinkConnectivity", "True") {
                return Ok(());
            }
            Err(format!("{}; its log ends: {}", Value::from(conditions), self.kubelet.log_tail(5)))
        })
        .await;
    }
}
