//! The chain as an operator has it: the units, configuration, key and sshd fragment of `deploy/` under a real systemd.
//!
//! ```text
//!   interlink-virtual-kubelet ─▶ interlink-api ─▶ interlink-tunnel ══▶ sshd ─▶ interlink-remote-plugin (local)
//!          └─ a control plane outside
//! ```
//!
//! Both ends are one machine, with the paths that each has alone.
#![allow(clippy::panic, reason = "a test's harness reports by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interlink_testkit::kubernetes::ControlPlane;
use interlink_testkit::systemd::{Machine, Options, Unit};
use interlink_testkit::{binaries, ports, wait};

/// The account of the units.
pub const USER: &str = "interlink";
/// The units beside the cluster, in the order in which requests pass.
pub const LOCAL: [&str; 3] = ["interlink-virtual-kubelet", "interlink-api", "interlink-tunnel"];
/// All units, in the order in which requests pass.
pub const UNITS: [&str; 4] =
    ["interlink-virtual-kubelet", "interlink-api", "interlink-tunnel", "interlink-remote-plugin"];

/// Which of the three keys the tunnel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One command.
    Rexec,
    /// A port of the loopback interface.
    Rport,
    /// A socket.
    Rsock,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Rexec => "rexec",
            Self::Rport => "rport",
            Self::Rsock => "rsock",
        }
    }

    fn destination(self) -> &'static str {
        match self {
            Self::Rexec => "-rexec \"interlink-plugin dial-stdio\"",
            Self::Rport => "-rport 4000",
            Self::Rsock => "-rsock /run/interlink/interlink-plugin.sock",
        }
    }
}

/// A machine with everything in its place.
#[derive(Debug)]
pub struct Deployed {
    /// The machine.
    pub machine: Machine,
}

impl Deployed {
    /// Puts everything in its place and starts sshd, but none of the units. Without a control plane the virtual
    /// kubelet has no kubeconfig.
    ///
    /// # Panics
    /// When a part is missing.
    pub async fn new(form: Form, cluster: Option<&ControlPlane>) -> Self {
        // a network of its own would leave the control plane outside; without one, port 4000 is the machine's alone
        let private_network = cluster.is_none();
        let ssh_port = ports::free_port();
        let mut units = units();
        units.push(Unit::new("test-sshd.service", SSHD_UNIT));
        let bin = binaries::path("interlink").parent().expect("a file is in a folder").to_owned();
        let binds = vec![(bin, PathBuf::from("/opt/interlink/bin"))];
        let machine = Machine::start(Options { units, binds, private_network }).await;
        let deployed = Self { machine };
        deployed.install(form, ssh_port).await;
        if let Some(cluster) = cluster {
            let kubeconfig = cluster.virtual_kubelet_kubeconfig("deployed").await;
            let kubeconfig = fs::read(kubeconfig).expect("it has just been made");
            deployed.machine.write("/opt/interlink/.kube/config", kubeconfig, 0o600);
            deployed.machine.run(["chown", "-R", USER, "/opt/interlink/.kube"]).await;
        }
        deployed.machine.systemctl(["start", "test-sshd"]).await;
        deployed
    }

    /// Starts all units by the seed's commands, and waits until a ping goes through the chain.
    ///
    /// # Panics
    /// When one does not start or the chain does not answer in time.
    pub async fn start(&self) {
        let order = ["interlink-remote-plugin", "interlink-tunnel", "interlink-api", "interlink-virtual-kubelet"];
        for unit in order {
            let started = self.machine.output(["systemctl", "start", unit]).await;
            assert!(started.status.success(), "{unit}: {}", self.machine.journal(unit).await);
        }
        self.answers().await;
    }

    /// Waits until a ping goes through the chain to the plugin.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn answers(&self) {
        wait::until("a ping through the chain", Duration::from_secs(60), async || {
            let curl = ["curl", "-s", "-m", "10", "-w", " %{http_code}", "-X", "POST", "--unix-socket"];
            let args = curl.into_iter().chain(["/run/interlink/api.sock", "http://interlink/pinglink"]);
            let said = String::from_utf8_lossy(&self.machine.output(args).await.stdout).into_owned();
            if said.ends_with(" 200") { Ok(()) } else { Err(said) }
        })
        .await;
    }

    /// The processes of the units.
    ///
    /// # Panics
    /// When systemd does not answer.
    pub async fn pids(&self) -> [String; 4] {
        let mut pids = UNITS.map(str::to_owned);
        for pid in &mut pids {
            *pid = self.machine.show(pid, "MainPID").await;
        }
        pids
    }

    async fn install(&self, form: Form, ssh_port: u16) {
        let machine = &self.machine;
        // '*': sshd without PAM refuses a locked account
        let useradd =
            ["useradd", "--system", "--user-group", "-p", "*", "--home-dir", "/opt/interlink", "-s", "/bin/bash"];
        machine.run(useradd.into_iter().chain([USER])).await;
        machine.run(["mkdir", "-p", "/opt/interlink-plugin/bin", "/opt/interlink-plugin/jobs"]).await;
        machine.run(["chown", "interlink:", "/opt/interlink-plugin/jobs"]).await;
        machine.run(["chmod", "700", "/opt/interlink-plugin/jobs"]).await;
        machine.run(["ln", "-s", "/opt/interlink/bin/interlink-plugin", "/opt/interlink-plugin/bin/plugin"]).await;

        for name in ["InterLinkConfig.yaml", "VirtualKubeletConfig.yaml"] {
            machine.write(format!("/opt/interlink/config/{name}"), read(&format!("config/{name}")), 0o644);
        }
        let mut plugin = read("config/plugin-config.yaml").replace("Scheduler: slurm", "Scheduler: local");
        if form == Form::Rport {
            plugin = plugin.replace("Socket: \"unix:///run/interlink/interlink-plugin.sock\"", "SidecarPort: 4000");
        }
        machine.write("/opt/interlink-plugin/config/plugin-config.yaml", plugin, 0o644);
        let tunnel = format!(
            "TUNNEL_ADDR=127.0.0.1:{ssh_port}\nTUNNEL_USER={USER}\nTUNNEL_TO={destination}\n",
            destination = form.destination()
        );
        machine.write("/opt/interlink/config/tunnel.env", tunnel, 0o644);
        let port = format!("KUBELET_PORT={}\n", ports::free_port());
        machine.write("/opt/interlink/config/virtual-kubelet.env", port, 0o644);

        for folder in ["/opt/interlink/.ssh", "/etc/ssh/test"] {
            machine.run(["mkdir", "-p", folder]).await;
        }
        for key in ["/opt/interlink/.ssh/id_ed25519", "/etc/ssh/test/host"] {
            machine.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key]).await;
        }
        let public = machine.run(["cat", "/opt/interlink/.ssh/id_ed25519.pub"]).await;
        let authorized = read(&format!("sshd/authorized_keys.{}", form.name())).replace("PUBLIC-KEY", public.trim());
        machine.write("/opt/interlink/.ssh/authorized_keys", authorized, 0o600);
        machine.write("/opt/interlink/.ssh/host_key", machine.run(["cat", "/etc/ssh/test/host.pub"]).await, 0o644);
        machine.run(["chown", "-R", "interlink:", "/opt/interlink/.ssh"]).await;
        machine.run(["chmod", "700", "/opt/interlink/.ssh"]).await;

        machine.write("/etc/ssh/test/interlink.conf", read(&format!("sshd/interlink-{}.conf", form.name())), 0o644);
        let sshd = format!(
            "Port {ssh_port}\nListenAddress 127.0.0.1\nHostKey /etc/ssh/test/host\nUsePAM no\nPasswordAuthentication no\nInclude /etc/ssh/test/interlink.conf\n"
        );
        machine.write("/etc/ssh/test/sshd_config", sshd, 0o644);
    }
}

/// The unit files of `deploy/`.
///
/// # Panics
/// When there are none.
pub fn units() -> Vec<Unit> {
    let folder = binaries::workspace().join("deploy/systemd");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let units: Vec<Unit> = entries
        .flatten()
        .map(|entry| Unit::new(entry.file_name().to_string_lossy(), read_file(&entry.path())))
        .collect();
    assert!(units.len() >= UNITS.len(), "{units:?}");
    units
}

fn read(name: &str) -> String {
    read_file(&binaries::workspace().join("deploy").join(name))
}

fn read_file(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const SSHD_UNIT: &str = "\
[Service]
ExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/test/sshd_config
RuntimeDirectory=sshd
KillMode=process
";
