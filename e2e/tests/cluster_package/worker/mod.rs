//! An ordinary worker node of the cluster, on a small scale: it runs the containers of a pod as the pod in the API server
//! says, of images that are built from the container files.
//!
//! ```text
//!   packaging/containers ─▶ images ──┐
//!   pod in the API server ─▶ volumes ├─▶ container: own mounts, account, root file system ─▶ a program of ours
//!                         ─▶ network ┘
//! ```
//!
//! What a pod asks for and this does not do ends the test, instead of being left out. Left out on purpose: limits of
//! resources, seccomp, a PID namespace, and capabilities, of which an account other than root's has none anyway.
#![allow(clippy::panic, reason = "a test's harness reports by panicking")]

mod container;
pub(crate) mod images;
mod network;
mod volumes;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::{ControlPlane, Kubectl};
use interlink_testkit::process::{Daemon, Signal};
use interlink_testkit::wait;
use serde_json::{Value, json};

use images::Images;
use network::Network;

/// How long a container may take to end after SIGTERM; Kubernetes' own default.
const GRACE: Duration = Duration::from_secs(30);

/// A pod whose containers run here. Dropped, they are killed.
#[derive(Debug)]
pub(crate) struct RunningPod {
    /// The containers by name, in the order of the spec.
    pub(crate) containers: Vec<(String, Daemon)>,
    pod: Value,
    kubectl: Kubectl,
    network: Network,
    // last: it ends what still names it
    _dir: TestDir,
}

impl RunningPod {
    /// Starts the pod of that namespace which the scheduler has bound to a node. `reaches` are addresses that the pod
    /// connects to, with where they are on this machine; the cluster's own address is always one of them.
    ///
    /// # Panics
    /// When there is no such pod in time, or it asks for something that is not done here.
    pub(crate) async fn start(
        cluster: &ControlPlane,
        namespace: &str,
        images: &Images,
        reaches: &[(SocketAddrV4, SocketAddr)],
    ) -> Self {
        let kubectl = cluster.kubectl().clone();
        let pod = bound(&kubectl, namespace).await;
        let service = kubectl.json(["get", "service", "kubernetes", "-n", "default"]).await;
        let host = service["spec"]["clusterIP"].as_str().expect("it has an address").to_owned();
        let port = service["spec"]["ports"][0]["port"].as_u64().expect("it has a port");
        let port = u16::try_from(port).expect("a port's number");
        let api: u16 = cluster.url().rsplit(':').next().and_then(|p| p.parse().ok()).expect("a URL with a port");

        let mut network = Network::new();
        let service = SocketAddrV4::new(host.parse().expect("the cluster's services have IPv4 addresses"), port);
        network.outward(service, (Ipv4Addr::LOCALHOST, api).into());
        for (from, to) in reaches {
            network.outward(*from, *to);
        }
        for port in ports(&pod) {
            network.inward(port);
        }
        let address = network.address().to_string();
        let pod =
            status(&kubectl, &pod, json!({"podIP": address, "podIPs": [{"ip": address}], "phase": "Running"})).await;

        let dir = TestDir::new();
        let volumes = volumes::make(&kubectl, &pod, &dir).await;
        let environment = [("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port.to_string())];
        let mut containers = Vec::new();
        for container in list(&pod["spec"]["containers"]) {
            let name = text(&container["name"]).to_owned();
            let image = images.get(text(&container["image"]));
            let launch = container::launch(&pod, container, &image, &volumes, &environment, &dir);
            containers.push((name, launch.namespace(network.namespace().clone()).start()));
        }
        assert!(pod["spec"]["initContainers"].is_null(), "initContainers are not run here");
        Self { containers, pod, kubectl, network, _dir: dir }
    }

    /// Waits until the readiness probes of all containers succeed, and says so to the cluster.
    ///
    /// # Panics
    /// When they don't in time, or a container has ended.
    pub(crate) async fn ready(&self) {
        wait::until("the pod to be ready", Duration::from_secs(60), async || {
            self.all_run();
            for container in list(&self.pod["spec"]["containers"]) {
                self.probe(container)?;
            }
            Ok::<(), String>(())
        })
        .await;
        let conditions: Vec<Value> = ["Initialized", "ContainersReady", "Ready"]
            .into_iter()
            .map(|kind| json!({"type": kind, "status": "True"}))
            .collect();
        status(&self.kubectl, &self.pod, json!({"conditions": conditions})).await;
    }

    /// Waits for the cluster's word that the pod is to end, ends its containers as a kubelet does, and says that it is done.
    ///
    /// # Panics
    /// When the word does not come, or a container does not end by itself.
    pub(crate) async fn end_when_told(self) {
        let (name, namespace) = (self.meta("name").to_owned(), self.meta("namespace").to_owned());
        wait::until("the cluster's word that the pod is to end", Duration::from_secs(60), async || {
            let output = self.kubectl.run(["get", "pod", &name, "-n", &namespace, "-o", "json"]).await;
            let pod: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let told = pod["metadata"]["deletionTimestamp"].is_string() || !output.status.success();
            if told { Ok(()) } else { Err(pod["status"].to_string()) }
        })
        .await;
        for (_, daemon) in &self.containers {
            daemon.signal(Signal::SIGTERM);
        }
        for (_, daemon) in &self.containers {
            let status = daemon.exited(GRACE).await;
            assert!(status.success(), "{status}: {}", daemon.log_tail(5));
        }
        let args = ["delete", "pod", &name, "-n", &namespace, "--grace-period=0", "--force", "--ignore-not-found"];
        self.kubectl.ok(args).await;
    }

    /// What the container of that name has printed.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn log(&self, container: &str) -> String {
        let found = self.containers.iter().find(|(name, _)| name == container);
        found.unwrap_or_else(|| panic!("the pod has no container {container}")).1.log()
    }

    fn all_run(&self) {
        for (name, daemon) in &self.containers {
            assert!(daemon.is_running(), "container {name} has ended; its log ends:\n{}", daemon.log_tail(10));
        }
    }

    /// As a kubelet asks: over TCP, or over HTTP without a certificate and without verifying one.
    fn probe(&self, container: &Value) -> Result<(), String> {
        let probe = &container["readinessProbe"];
        if probe.is_null() {
            return Ok(());
        }
        let asked = if probe["tcpSocket"].is_object() { &probe["tcpSocket"] } else { &probe["httpGet"] };
        assert!(asked.is_object(), "this kind of probe is not made here: {probe}");
        let port = match asked["port"].as_str() {
            None => asked["port"].clone(),
            Some(name) => list(&container["ports"]).find(|port| port["name"] == name).map_or_else(
                || panic!("the probe's port {name} is none of the container's"),
                |p| p["containerPort"].clone(),
            ),
        };
        if probe["tcpSocket"].is_object() {
            let port = port.as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port's number");
            let dial = || TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_secs(1));
            return self.network.namespace().within(dial).map(drop).map_err(|e| format!("port {port}: {e}"));
        }
        let scheme = asked["scheme"].as_str().unwrap_or("HTTP").to_lowercase();
        let url = format!("{scheme}://127.0.0.1:{port}{}", text(&asked["path"]));
        let mut curl = self.network.namespace().command("curl");
        let output = curl.args(["-ksSf", "-m", "2", &url]).output().map_err(|e| e.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    fn meta(&self, key: &str) -> &str {
        text(&self.pod["metadata"][key])
    }
}

/// The namespace's pod that has a node and is not on its way out.
async fn bound(kubectl: &Kubectl, namespace: &str) -> Value {
    wait::until("the pod to be bound to a node", Duration::from_secs(60), async || {
        let pods = kubectl.json(["get", "pods", "-n", namespace]).await;
        let pod = list(&pods["items"])
            .find(|pod| pod["spec"]["nodeName"].is_string() && pod["metadata"]["deletionTimestamp"].is_null());
        pod.cloned().ok_or_else(|| pods["items"].to_string())
    })
    .await
}

/// Writes to the pod's status and returns the pod.
async fn status(kubectl: &Kubectl, pod: &Value, status: Value) -> Value {
    let patch = json!({ "status": status }).to_string();
    let (name, namespace) = (text(&pod["metadata"]["name"]), text(&pod["metadata"]["namespace"]));
    kubectl
        .json(["patch", "pod", name, "-n", namespace, "--subresource=status", "--type=strategic", "-p", &patch])
        .await
}

fn ports(pod: &Value) -> Vec<u16> {
    let containers = list(&pod["spec"]["containers"]);
    let ports = containers.flat_map(|container| list(&container["ports"]));
    ports.filter_map(|port| u16::try_from(port["containerPort"].as_u64()?).ok()).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text"))
}

/// Runs a tool of this machine, which must succeed, and returns what it prints.
fn ran(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; run scripts/setup once as root"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}", said.trim());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
