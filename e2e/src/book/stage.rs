//! The machines of the walkthrough, as a site has them before it: empty but for what the page asks for.
//!
//! ```text
//!   local:  sudo, kubectl with an administrator's kubeconfig ──▶ a control plane outside
//!     └─ login.example.org (an address of the loopback interface)
//!   login:  sudo, sshd, munged, slurmctld, slurmd as their packages bring them: its own only compute node
//! ```
//!
//! The operator is `me` on both, with the release unpacked to `~/interlink`.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use interlink_testkit::kubernetes::{self, ControlPlane};
use interlink_testkit::systemd::{self, Machine};
use interlink_testkit::{binaries, ports, wait};

use super::runner::{Machines, Said};

const SOON: Duration = Duration::from_secs(60);
/// The operator.
const OPERATOR: &str = "me";

/// Both machines and the cluster.
#[derive(Debug)]
pub struct Stage {
    cluster: ControlPlane,
    local: Machine,
    login: Machine,
}

impl Stage {
    /// Starts everything that a site has before interlink.
    ///
    /// # Panics
    /// When a part is missing or does not come up in time.
    pub async fn set() -> Self {
        let cluster = ControlPlane::start(kubernetes::Options::default()).await;
        let bin = binaries::path("interlinkctl").parent().expect("a file is in a folder").to_owned();
        let release = (bin, PathBuf::from("/home/me/interlink/bin"));
        let kubectl = (kubernetes::directory(), PathBuf::from("/srv/kubernetes"));
        let local = machine(vec![release.clone(), kubectl]).await;
        let login = machine(vec![release]).await;

        // one that nobody else listens on, at the port that the page relies on
        let address = format!("127.77.{}.{}", std::process::id() / 250 % 250, std::process::id() % 250 + 1);
        local.run(["ln", "-s", "/srv/kubernetes/kubectl", "/usr/local/bin/kubectl"]).await;
        let kubeconfig = std::fs::read(cluster.kubeconfig()).expect("the control plane has just written it");
        local.write("/home/me/.kube/config", kubeconfig, 0o600);
        local.run(["chown", "-R", "me:", "/home/me/.kube"]).await;
        local.write("/etc/hosts", format!("127.0.0.1 localhost\n{address} login.example.org\n"), 0o644);

        login.run(["ssh-keygen", "-A"]).await;
        let sshd = format!("Include /etc/ssh/sshd_config.d/*.conf\nListenAddress {address}:22\nUsePAM no\n");
        login.write("/etc/ssh/sshd_config", sshd, 0o644);
        login.systemctl(["start", "ssh"]).await;
        slurm(&login).await;
        Self { cluster, local, login }
    }

    /// The control plane.
    #[must_use]
    pub fn cluster(&self) -> &ControlPlane {
        &self.cluster
    }

    /// What a page can't do by itself: the operator carries the tunnel's public key over.
    fn carry_key(&self) {
        if let Ok(key) = std::fs::read(self.local.path("/opt/interlink/.ssh/id_ed25519.pub")) {
            self.login.write("/home/me/tunnel.pub", key, 0o644);
        }
    }
}

impl Machines for Stage {
    async fn run(&self, machine: &str, command: &str, seconds: Option<u64>) -> Said {
        let place = match machine {
            "local" => &self.local,
            "login" => &self.login,
            other => return Said { status: None, text: format!("there is no machine {other}") },
        };
        self.carry_key();
        let limit = seconds.unwrap_or(110).to_string();
        let shell = ["runuser", "-u", OPERATOR, "--", "env", "-C", "/home/me", "HOME=/home/me"];
        let limited = ["timeout", "-k", "5", &limit, "bash", "-o", "pipefail", "-c", command];
        said(&place.output(shell.into_iter().chain(limited)).await)
    }
}

fn said(output: &Output) -> Said {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Said { status: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
}

async fn machine(binds: Vec<(PathBuf, PathBuf)>) -> Machine {
    let machine = Machine::start(systemd::Options { binds, ..systemd::Options::default() }).await;
    machine.run(["useradd", "-M", "-d", "/home/me", "-s", "/bin/bash", OPERATOR]).await;
    machine.run(["chown", "me:", "/home/me", "/home/me/interlink"]).await;
    machine.write("/etc/sudoers.d/me", "me ALL=(ALL) NOPASSWD: ALL\n", 0o440);
    machine
}

/// A Slurm of one machine, by the units of its packages.
async fn slurm(login: &Machine) {
    let name = login.run(["hostname"]).await.trim().to_owned();
    let (controller, node) = (ports::free_port(), ports::free_port());
    let conf = format!(
        "ClusterName=site\nSlurmctldHost={name}(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\nAuthType=auth/munge\n\
         ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nJobAcctGatherType=jobacct_gather/none\n\
         MpiDefault=none\nSelectType=select/cons_tres\nSelectTypeParameters=CR_Core_Memory\nDefMemPerCPU=50\n\
         SlurmdParameters=config_overrides\nReturnToService=2\nSchedulerParameters=batch_sched_delay=0,sched_interval=1\n\
         PropagateResourceLimits=NONE\nSlurmctldPort={controller}\nStateSaveLocation=/var/spool/slurmctld\n\
         SlurmdSpoolDir=/var/spool/slurmd\nSlurmctldPidFile=/run/slurmctld.pid\nSlurmdPidFile=/run/slurmd.pid\n\
         NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={node} CPUs=8 RealMemory=8000 State=UNKNOWN\n\
         PartitionName=batch Nodes={name} Default=YES MaxTime=INFINITE State=UP\n"
    );
    login.write("/etc/slurm/slurm.conf", conf, 0o644);
    // before 23.11 it insists on one, and does not find out which on a machine that has both kinds
    let version = login.run(["slurmctld", "-V"]).await;
    let old = ["slurm-wlm 20.", "slurm-wlm 21.", "slurm-wlm 22.", "slurm-wlm 23.02"];
    let cgroups = if old.iter().any(|old| version.starts_with(old)) { "cgroup/v1" } else { "disabled" };
    login.write("/etc/slurm/cgroup.conf", format!("CgroupPlugin={cgroups}\n"), 0o644);
    login.write("/etc/munge/munge.key", [b'k'; 128], 0o400);
    login.run(["mkdir", "-p", "/var/spool/slurmctld", "/var/spool/slurmd"]).await;
    login.run(["chown", "munge:", "/etc/munge/munge.key"]).await;
    login.systemctl(["start", "munge", "slurmctld", "slurmd"]).await;
    wait::until("the node of the site's Slurm to be idle", SOON, async || {
        let state = said(&login.output(["sinfo", "-h", "-o", "%t"]).await);
        match state.text.trim() {
            "idle" => Ok(()),
            other => Err(format!("{other}; slurmd: {}", login.journal("slurmd").await)),
        }
    })
    .await;
}
