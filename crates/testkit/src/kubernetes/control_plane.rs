//! The control plane as a whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use super::components::Components;
use super::pki::Pki;
use super::{HealthyNode, Kubectl, binaries, kubeconfig, rights};
use crate::dirs::TestDir;
use crate::ports::free_port;
use crate::process::Daemon;
use crate::wait;

/// A start takes four seconds on an idle machine; the rest is for a busy one.
const START: Duration = Duration::from_secs(90);

/// How a control plane differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More flags for kube-apiserver.
    pub api_server_flags: Vec<String>,
    /// More flags for kube-controller-manager (`--node-monitor-grace-period=10s`).
    pub controller_manager_flags: Vec<String>,
    /// More flags for kube-scheduler.
    pub scheduler_flags: Vec<String>,
    /// Whether the API server verifies the certificates of kubelets against the cluster's CA; the usual cluster
    /// does not.
    pub verify_kubelets: bool,
}

/// A running control plane, ended when dropped.
///
/// API objects go when it goes. Its daemons may be killed and started again by the test: the data stay.
#[derive(Debug)]
pub struct ControlPlane {
    // in the order of their end
    scheduler: Daemon,
    controller_manager: Daemon,
    api_server: Daemon,
    etcd: Daemon,
    url: String,
    ca: String,
    kubectl: Kubectl,
    programs: PathBuf,
    dir: TestDir,
}

impl ControlPlane {
    /// Starts one, and returns when Pods can be created in it.
    ///
    /// # Panics
    /// When the programs are missing, or one of them ends or is not ready in time.
    pub async fn start(options: Options) -> Self {
        let programs = binaries::directory();
        let dir = TestDir::new();
        let pki = Pki::new(dir.join("pki"));
        pki.write_api_server_files();
        let components = Components { programs: &programs, dir: dir.path(), pki: &pki };

        let (port, etcd_port) = (free_port(), free_port());
        let url = format!("https://127.0.0.1:{port}");
        let login = |file: &str, user: &str| {
            let identity = pki.sign(user, Some("system:masters"), &[]);
            dir.write(file, kubeconfig::with_certificate(&url, pki.ca(), &identity))
        };
        let kubectl =
            Kubectl::new(programs.join("kubectl"), login("admin.kubeconfig", "admin"), dir.join("kubectl-cache"));

        let etcd = components.etcd(etcd_port, free_port()).start();
        let api_server =
            components.api_server(port, etcd_port, options.verify_kubelets, &options.api_server_flags).start();
        // the others give up when the API server is not ready within ten seconds, which a busy machine takes
        api_server_ready(&kubectl, &etcd, &api_server).await;
        let controller_manager = components
            .controller_manager(
                free_port(),
                // masters: all controllers share one client, which starts a second faster
                &login("controller-manager.kubeconfig", "system:kube-controller-manager"),
                &options.controller_manager_flags,
            )
            .start();
        let scheduler = components
            .scheduler(free_port(), &login("scheduler.kubeconfig", "system:kube-scheduler"), &options.scheduler_flags)
            .start();
        let plane = Self {
            scheduler,
            controller_manager,
            api_server,
            etcd,
            url,
            ca: pki.ca().to_owned(),
            kubectl,
            programs,
            dir,
        };
        plane.ready().await;
        plane
    }

    /// Waits until the API server is ready and namespaces get their default ServiceAccount.
    ///
    /// # Panics
    /// When a daemon has ended or time is up.
    pub async fn ready(&self) {
        api_server_ready(&self.kubectl, &self.etcd, &self.api_server).await;
        wait::until("the ServiceAccount `default`", START, async || {
            self.controller_manager.assert_running();
            self.scheduler.assert_running();
            as_result(self.kubectl.run(["get", "serviceaccount", "default", "-n", "default"]).await)
        })
        .await;
    }

    /// kubectl with an administrator's rights.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// kubectl with another kubeconfig.
    pub fn kubectl_with(&self, kubeconfig: impl Into<PathBuf>) -> Kubectl {
        Kubectl::new(self.programs.join("kubectl"), kubeconfig.into(), self.dir.join("kubectl-cache"))
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        self.kubectl.kubeconfig()
    }

    /// Where the API server listens: `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of the cluster's CA, PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// The files of the certificate and key that the API server shows to kubelets.
    pub fn kubelet_client(&self) -> (PathBuf, PathBuf) {
        (self.dir.join("pki/kubelet-client.crt"), self.dir.join("pki/kubelet-client.key"))
    }

    /// etcd, to be killed and started again.
    pub fn etcd(&self) -> &Daemon {
        &self.etcd
    }

    /// kube-apiserver, to be killed and started again.
    pub fn api_server(&self) -> &Daemon {
        &self.api_server
    }

    /// kube-controller-manager, to be killed and started again.
    pub fn controller_manager(&self) -> &Daemon {
        &self.controller_manager
    }

    /// kube-scheduler, to be killed and started again.
    pub fn scheduler(&self) -> &Daemon {
        &self.scheduler
    }

    /// A kubeconfig with the rights that the existing Helm chart gives to a virtual kubelet, and no others: those
    /// of a ServiceAccount `name` in the namespace `interlink`.
    pub async fn virtual_kubelet_kubeconfig(&self, name: &str) -> PathBuf {
        let token = rights::virtual_kubelet_token(&self.kubectl, name).await;
        let path = self.dir.join(format!("{name}.kubeconfig"));
        fs::write(&path, kubeconfig::with_token(&self.url, &self.ca, &token))
            .expect("a test's own directory must be writable");
        path
    }

    /// A second Node that is always healthy, so that the node under test is not the whole cluster: Kubernetes
    /// stops evicting when all nodes of a zone are down.
    pub async fn healthy_node(&self, name: &str) -> HealthyNode {
        HealthyNode::register(self.kubectl.clone(), name).await
    }
}

async fn api_server_ready(kubectl: &Kubectl, etcd: &Daemon, api_server: &Daemon) {
    wait::until("kube-apiserver to be ready", START, async || {
        etcd.assert_running();
        api_server.assert_running();
        as_result(kubectl.run(["get", "--raw", "/readyz"]).await)
    })
    .await;
}

fn as_result(output: Output) -> Result<(), String> {
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
