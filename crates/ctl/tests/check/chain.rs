//! The real chain on this machine, without a cluster: plugin, sshd, tunnel, API server and a standalone kubelet.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::ports::free_port;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::sshd::{self, KeyPair, KeyType, Sshd};
use interlink_testkit::users::User;
use interlink_testkit::{binaries, wait};
use serde_json::Value;

/// A busy machine needs a while.
const SOON: Duration = Duration::from_secs(60);

/// How a chain differs from the usual one.
#[derive(Default)]
pub(crate) struct Plan {
    /// Lines of sshd_config.
    pub(crate) sshd: Vec<String>,
    /// Instead of the tunnel's usual host keys.
    pub(crate) known_hosts: Option<String>,
    /// Let the key in?
    pub(crate) locked_out: bool,
    /// Instead of the tunnel's usual far end.
    pub(crate) far_end: Option<[String; 2]>,
    /// More flags of the tunnel.
    pub(crate) tunnel: Vec<String>,
    /// More lines of the API server's file; they win.
    pub(crate) api: String,
    /// More lines of the kubelet's file; they win.
    pub(crate) kubelet: String,
    /// More lines of the plugin's file; they win.
    pub(crate) plugin: String,
    /// Instead of the address of sshd.
    pub(crate) addr: Option<String>,
    /// Another address of this machine for sshd.
    pub(crate) host: Option<String>,
    /// Slurm's configuration, for the plugin's commands.
    pub(crate) slurm: Option<PathBuf>,
    /// The cluster to join.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubelet's address.
    pub(crate) pod_ip: Option<String>,
}

pub(crate) struct Chain {
    pub(crate) kubelet: Daemon,
    pub(crate) api: Daemon,
    pub(crate) tunnel: Daemon,
    pub(crate) plugin: Daemon,
    pub(crate) sshd: Sshd,
    pub(crate) key: KeyPair,
    pub(crate) dir: TestDir,
    /// What the check asks Kubernetes with.
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// What a check said.
pub(crate) struct Report {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    pub(crate) steps: Vec<Value>,
}

impl Report {
    /// What is not as it should be, for the message of a failed test.
    fn amiss(&self) -> String {
        let amiss = |step: &&Value| !step["cause"].as_str().is_some_and(str::is_empty);
        let amiss: Vec<String> = self.steps.iter().filter(amiss).map(Value::to_string).collect();
        format!("exit code {:?}, {}", self.code, amiss.join(" "))
    }

    /// The one step of that name and hop.
    pub(crate) fn step(&self, name: &str, hop: &str) -> &Value {
        let found = self.steps.iter().find(|step| step["step"] == name && step["hop"] == hop);
        found.unwrap_or_else(|| panic!("no {hop} {name} in {}", self.text))
    }

    /// The failed steps that nothing else explains.
    pub(crate) fn causes(&self) -> Vec<&Value> {
        self.steps.iter().filter(|step| step["ok"] == false && step["follows_from"].is_null()).collect()
    }
}

impl Chain {
    /// Starts one; what listens, listens.
    pub(crate) async fn start(plan: Plan) -> Self {
        let (dir, user) = (TestDir::new(), User::current());
        let (run, far) = (dir.folder("run"), dir.folder("far"));
        let at = |name: &str| dir.join(name).display().to_string();
        let plugin = dir.write(
            "plugin.yaml",
            format!(
                "Socket: unix://{}\nDataRootFolder: {}/\nScheduler: local\nContainerRuntime: host\n{}",
                at("far/plugin.sock"),
                at("jobs"),
                plan.plugin
            ),
        );
        let launch = |name: &str, run: &PathBuf| {
            Launch::new(binaries::path(name), dir.join(format!("{name}.log")))
                .clean_env()
                .env("HOME", dir.path())
                .env("RUNTIME_DIRECTORY", run)
                .env("STATE_DIRECTORY", dir.join("state"))
        };
        let mut launched = launch("interlink-plugin", &far).arg("-SlurmConfigpath").arg(plugin);
        if let Some(conf) = &plan.slurm {
            launched = launched.env("SLURM_CONF", conf);
        }
        let plugin = launched.start();
        let listen = plan.host.iter().map(|host| format!("ListenAddress {host}"));
        let lines = plan.sshd.into_iter().chain(listen).collect();
        let sshd = Sshd::start(sshd::Options { lines, ..sshd::Options::default() }).await;
        let key = sshd.key_pair("tunnel", KeyType::Ed25519);
        if !plan.locked_out {
            sshd.authorize(&user.name, "restrict,port-forwarding,command=\"/bin/false\"", &key);
        }
        // Keys without a name are those of whatever is dialled.
        let bare = || sshd.host_keys().iter().map(|key| format!("{}\n", key.public())).collect();
        let known = plan.known_hosts.unwrap_or_else(|| if plan.host.is_some() { bare() } else { sshd.known_hosts() });
        let hosts = dir.write("hosts", known);
        let host = plan.host.unwrap_or_else(|| "127.0.0.1".to_owned());
        let far_end = plan.far_end.unwrap_or_else(|| ["-rsock".into(), at("far/plugin.sock")]);
        let tunnel = launch("ssh-tunnel", &run)
            .args(["-addr", &plan.addr.unwrap_or_else(|| format!("{host}:{}", sshd.port()))])
            .args(["-user", &user.name, "-keyfile"])
            .arg(key.private())
            .arg("-hostkeyfile")
            .arg(hosts)
            .args(["-wait", "1s", "-lsock", &at("run/plugin.sock")])
            .args(far_end)
            .args(plan.tunnel)
            .start();
        let api = dir.write(
            "config/InterLinkConfig.yaml",
            format!(
                "InterlinkAddress: unix://{}\nSidecarURL: unix://{}\n{}",
                at("run/api.sock"),
                at("run/plugin.sock"),
                plan.api
            ),
        );
        let api = launch("interlink", &run).env("INTERLINKCONFIGPATH", api).start();
        let kubelet = dir.write(
            "config/VirtualKubeletConfig.yaml",
            format!("InterlinkURL: unix://{}\n{}", at("run/api.sock"), plan.kubelet),
        );
        let mut launched =
            launch("virtual-kubelet", &run).args(["--nodename", "interlink-node", "--config"]).arg(kubelet);
        launched = match &plan.kubeconfig {
            None => launched.arg("--pod-manifest-path").arg(dir.folder("manifests")),
            Some(kubeconfig) => launched.env("KUBECONFIG", kubeconfig).env("KUBELET_PORT", free_port().to_string()),
        };
        if let Some(address) = plan.pod_ip {
            launched = launched.env("POD_IP", address);
        }
        let kubelet = launched.start();
        Self { kubelet, api, tunnel, plugin, sshd, key, dir, kubeconfig: plan.kubeconfig }
    }

    /// Starts the usual one and waits until nothing is amiss.
    pub(crate) async fn healthy() -> Self {
        let chain = Self::start(Plan::default()).await;
        chain.until("a healthy chain", |report| report.code == Some(0)).await;
        chain
    }

    /// `interlinkctl check` of this chain, as text or JSON.
    pub(crate) fn command(&self) -> Command {
        let mut check = Command::new(env!("CARGO_BIN_EXE_interlinkctl"));
        check.arg("check").arg("--config-dir").arg(self.dir.join("config"));
        check.arg("--runtime-dir").arg(self.dir.join("run")).args(["--timeout", "5s"]);
        if let Some(kubeconfig) = &self.kubeconfig {
            check.arg("--kubeconfig").arg(kubeconfig);
        }
        check.env_remove("KUBECONFIG").stdin(Stdio::null());
        check
    }

    /// Checks it.
    pub(crate) fn check(&self) -> Report {
        self.check_with(&[])
    }

    /// Checks it with more arguments.
    pub(crate) fn check_with(&self, more: &[&str]) -> Report {
        let output = self.command().arg("--json").args(more).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let steps = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        Report { code: output.status.code(), text, steps }
    }

    /// Checks it until the report is as wanted: programs notice a fault after a while.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        self.until_with(&[], what, wanted).await
    }

    /// The same with more arguments.
    pub(crate) async fn until_with(&self, more: &[&str], what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        wait::until(what, SOON, async || {
            let report = tokio::task::block_in_place(|| self.check_with(more));
            if wanted(&report) { Ok(report) } else { Err(report.amiss()) }
        })
        .await
    }

    /// Checks it until there is just one cause, with these words; the exit code says so too.
    pub(crate) async fn names(&self, step: &str, hop: &str, cause: &str, remedy: &str) -> Report {
        self.names_with(&[], step, hop, cause, remedy).await
    }

    /// The same with more arguments.
    pub(crate) async fn names_with(&self, more: &[&str], step: &str, hop: &str, cause: &str, remedy: &str) -> Report {
        let what = format!("{hop} {step}: {cause}; {remedy}");
        self.until_with(more, &what, |report| {
            let causes = report.causes();
            let has = |value: &Value, part: &str| value.as_str().is_some_and(|text| text.contains(part));
            report.code == Some(1)
                && causes.len() == 1
                && causes[0]["step"] == step
                && causes[0]["hop"] == hop
                && has(&causes[0]["cause"], cause)
                && has(&causes[0]["remedy"], remedy)
        })
        .await
    }
}
