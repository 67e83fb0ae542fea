//! Files, accounts and keys, where `deploy/` says.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::ports;
use interlink_testkit::systemd::Unit;
use interlink_testkit::users::User;

use super::health::HEALTH;
use super::{Deployed, Form, Options, UNITS, read};

/// The machine's own sshd, with the fragment of `deploy/`.
pub(super) const SSHD_UNIT: &str = "\
[Service]
ExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/test/sshd_config
RuntimeDirectory=sshd
KillMode=process
[Install]
WantedBy=multi-user.target
";

/// Job directories that compute nodes see, too.
pub(super) fn shared_jobs(account: &str) -> TestDir {
    let dir = TestDir::new();
    let user = User::named(account).expect("the account exists");
    chown(dir.folder("jobs"), Some(user.uid), Some(user.gid)).expect("a machine of one's own needs root already");
    dir
}

/// Another account for all units; for the plugin, what an operator adds whose cluster is elsewhere. Below `/tmp`, as
/// the directories of a test are, its private one must be opened for them.
pub(super) fn drop_ins(account: &str, slurm: &Path, jobs: &Path) -> Vec<Unit> {
    let name = |unit: &str, file: &str| format!("{unit}.service.d/{file}.conf");
    let user = format!("[Service]\nUser={account}\nGroup={account}\n");
    let all = UNITS.iter().chain([&HEALTH]);
    let mut units: Vec<Unit> = all.map(|unit| Unit::new(name(unit, "account"), user.clone())).collect();
    let (slurm, jobs) = (slurm.display(), jobs.display());
    let text = format!("[Service]\nBindReadOnlyPaths={slurm}\nBindPaths={jobs}\nReadWritePaths={jobs}\n");
    units.push(Unit::new(name(UNITS[3], "cluster"), text));
    units
}

impl Deployed {
    pub(super) async fn install(&self, options: Options<'_>, ssh_port: u16) {
        let (form, account) = (options.form, self.account.as_str());
        let machine = &self.machine;
        // '*': sshd without PAM refuses a locked account
        let useradd =
            ["useradd", "--system", "--user-group", "-p", "*", "--home-dir", "/opt/interlink", "-s", "/bin/bash"];
        if account == "interlink" {
            machine.run(useradd.into_iter().chain([account])).await;
        }
        let owner = format!("{account}:");
        machine.run(["mkdir", "-p", "/opt/interlink-plugin/bin", "/opt/interlink-plugin/jobs"]).await;
        machine.run(["chown", &owner, "/opt/interlink-plugin/jobs"]).await;
        machine.run(["chmod", "700", "/opt/interlink-plugin/jobs"]).await;
        machine.run(["ln", "-s", "/opt/interlink/bin/interlink-plugin", "/opt/interlink-plugin/bin/plugin"]).await;

        for name in ["InterLinkConfig.yaml", "VirtualKubeletConfig.yaml"] {
            machine.write(format!("/opt/interlink/config/{name}"), read(&format!("config/{name}")), 0o644);
        }
        let mut plugin = read("config/plugin-config.yaml").replace("Scheduler: slurm", "Scheduler: local");
        if let Some(jobs) = &self.jobs {
            plugin = plugin
                .replace("Scheduler: local", "Scheduler: slurm\nContainerRuntime: host")
                .replace("/opt/interlink-plugin/jobs", &jobs.join("jobs").display().to_string());
        }
        if let Some(slurm) = options.slurm {
            let env = format!("SLURM_CONF={}\n", slurm.conf().display());
            machine.write("/opt/interlink-plugin/config/plugin.env", env, 0o644);
        }
        if form == Form::Rport {
            plugin = plugin.replace("Socket: \"unix:///run/interlink/interlink-plugin.sock\"", "SidecarPort: 4000");
        }
        machine.write("/opt/interlink-plugin/config/plugin-config.yaml", plugin, 0o644);
        let tunnel = format!(
            "TUNNEL_ADDR=127.0.0.1:{ssh_port}\nTUNNEL_USER={account}\nTUNNEL_TO={destination}\n",
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
        machine.run(["chown", "-R", &owner, "/opt/interlink/.ssh"]).await;
        machine.run(["chmod", "700", "/opt/interlink/.ssh"]).await;

        let fragment = read(&format!("sshd/interlink-{}.conf", form.name()));
        let fragment = fragment.replace("Match User interlink", &format!("Match User {account}"));
        machine.write("/etc/ssh/test/interlink.conf", fragment, 0o644);
        let sshd = format!(
            "Port {ssh_port}\nListenAddress 127.0.0.1\nHostKey /etc/ssh/test/host\nUsePAM no\nPasswordAuthentication no\nAuthorizedKeysFile /opt/interlink/.ssh/authorized_keys\nInclude /etc/ssh/test/interlink.conf\n"
        );
        machine.write("/etc/ssh/test/sshd_config", sshd, 0o644);

        if let Some(cluster) = options.cluster {
            let kubeconfig = cluster.virtual_kubelet_kubeconfig("deployed").await;
            let kubeconfig = fs::read(kubeconfig).expect("it has just been made");
            machine.write("/opt/interlink/.kube/config", kubeconfig, 0o600);
            machine.run(["chown", "-R", &owner, "/opt/interlink/.kube"]).await;
        }
    }
}
