//! The command lines of the four daemons.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pki::Pki;
use crate::process::Launch;

/// What the command lines have in common.
pub(super) struct Components<'a> {
    /// Where the programs are.
    pub(super) programs: &'a Path,
    /// Where logs and data go.
    pub(super) dir: &'a Path,
    /// The cluster's certificates.
    pub(super) pki: &'a Pki,
}

impl Components<'_> {
    /// A fresh etcd.
    pub(super) fn etcd(&self, client_port: u16, peer_port: u16) -> Launch {
        let (client, peer) = (format!("http://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{peer_port}"));
        self.launch("etcd")
            .args(["--name", "test", "--unsafe-no-fsync", "--data-dir"])
            .arg(self.dir.join("etcd-data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
    }

    /// An API server with RBAC whose port for kubelets shows a client certificate of the cluster's CA.
    pub(super) fn api_server(&self, port: u16, etcd_port: u16, verify_kubelets: bool, flags: &[String]) -> Launch {
        let launch = self
            .launch("kube-apiserver")
            .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
            .args(["--bind-address=127.0.0.1", &format!("--secure-port={port}")])
            .arg(self.file("--tls-cert-file", "apiserver.crt"))
            .arg(self.file("--tls-private-key-file", "apiserver.key"))
            .arg(self.file("--client-ca-file", "ca.crt"))
            .arg(self.file("--kubelet-client-certificate", "kubelet-client.crt"))
            .arg(self.file("--kubelet-client-key", "kubelet-client.key"))
            .arg(self.file("--service-account-key-file", "sa.pub"))
            .arg(self.file("--service-account-signing-key-file", "sa.key"))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .args(["--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC", "--allow-privileged=true"])
            .arg("--kubelet-preferred-address-types=InternalIP")
            // 127.0.0.1 is no legal endpoint of the Service `kubernetes`
            .arg("--endpoint-reconciler-type=none");
        let launch =
            if verify_kubelets { launch.arg(self.file("--kubelet-certificate-authority", "ca.crt")) } else { launch };
        launch.args(flags)
    }

    /// A controller-manager that signs certificates and service account tokens.
    pub(super) fn controller_manager(&self, port: u16, kubeconfig: &Path, flags: &[String]) -> Launch {
        self.client("kube-controller-manager", port, kubeconfig)
            .arg(self.file("--service-account-private-key-file", "sa.key"))
            .arg(self.file("--root-ca-file", "ca.crt"))
            .arg(self.file("--cluster-signing-cert-file", "ca.crt"))
            .arg(self.file("--cluster-signing-key-file", "ca.key"))
            .args(flags)
    }

    /// A scheduler.
    pub(super) fn scheduler(&self, port: u16, kubeconfig: &Path, flags: &[String]) -> Launch {
        self.client("kube-scheduler", port, kubeconfig).args(flags)
    }

    fn client(&self, program: &str, port: u16, kubeconfig: &Path) -> Launch {
        let flag = |name: &str| format!("--{name}={}", kubeconfig.display());
        self.launch(program)
            .args(["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"].map(flag))
            .args(["--bind-address=127.0.0.1", &format!("--secure-port={port}"), "--leader-elect=false"])
            .arg(format!("--cert-dir={}", self.dir.join("pki").display()))
    }

    fn launch(&self, program: &str) -> Launch {
        let log: PathBuf = self.dir.join(format!("{program}.log"));
        // a graceful end takes them long, and nobody reads what they would still write
        Launch::new(self.programs.join(program), log).patience(Duration::ZERO)
    }

    fn file(&self, flag: &str, name: &str) -> String {
        format!("{flag}={}", self.pki.file(name).display())
    }
}
