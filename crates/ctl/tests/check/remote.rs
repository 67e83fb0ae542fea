//! The far end, looked at on its own machine: `interlinkctl check --remote`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use interlink_testkit::ports::free_port;
use interlink_testkit::slurm::{self, Cluster};
use interlink_testkit::users::{User, hpcuser};
use serde_json::Value;

use crate::chain::{Chain, Plan, Report};

const GRACE: Duration = Duration::from_secs(20);

/// How the check is told where to look.
struct Far<'a> {
    chain: &'a Chain,
    account: String,
    plugin: PathBuf,
    sshd: PathBuf,
    more: Vec<&'a str>,
}

impl<'a> Far<'a> {
    fn of(chain: &'a Chain) -> Self {
        let (plugin, sshd) = (chain.dir.join("plugin.yaml"), chain.sshd.dir().join("sshd_config"));
        Self { chain, account: User::current().name, plugin, sshd, more: Vec::new() }
    }

    /// The same with another file of the plugin.
    fn plugin(mut self, text: &str) -> Self {
        self.plugin = self.chain.dir.write("other/plugin.yaml", text);
        self
    }

    /// The same with sshd's files and these lines before them; for sshd the first value counts.
    fn sshd(mut self, lines: &str) -> Self {
        let own = std::fs::read_to_string(&self.sshd).unwrap();
        self.sshd = self.chain.dir.write("other/sshd_config", format!("{lines}\n{own}"));
        // As if sshd had read it.
        touch(&self.sshd, SystemTime::UNIX_EPOCH);
        self
    }

    /// The same with another line in authorized_keys.
    fn key(self, options: &str) -> Self {
        let line = format!("{options} {} interlink-tunnel\n", self.chain.key.public());
        self.chain.sshd.set_authorized_keys(&self.account, line.trim_start());
        self
    }

    fn with(mut self, more: &[&'a str]) -> Self {
        self.more = more.to_vec();
        self
    }

    fn check(&self) -> Report {
        let mut check = Command::new(env!("CARGO_BIN_EXE_interlinkctl"));
        check.args(["check", "--remote", "--json", "--timeout", "5s", "--account", &self.account]);
        check.arg("--runtime-dir").arg(self.chain.dir.join("far"));
        check.arg("--plugin-config").arg(&self.plugin).arg("--sshd-config").arg(&self.sshd).args(&self.more);
        let output = check.env_remove("KUBECONFIG").stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let steps = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        Report { code: output.status.code(), text, steps }
    }

    /// There is just one cause, with these words.
    fn names(&self, step: &str, hop: &str, cause: &str, remedy: &str) {
        let report = self.check();
        let causes = report.causes();
        let has = |value: &Value, part: &str| value.as_str().is_some_and(|text| text.contains(part));
        let [found] = causes.as_slice() else { panic!("{step}: {causes:?} in {}", report.text) };
        assert!(found["step"] == step && found["hop"] == hop && report.code == Some(1), "{found}");
        assert!(has(&found["cause"], cause) && has(&found["remedy"], remedy), "{found}");
    }

    fn warns(&self, step: &str, cause: &str, remedy: &str) {
        let report = self.check();
        let warned: Vec<&Value> = report.steps.iter().filter(|step| step["warning"] == true).collect();
        let has = |value: &Value, part: &str| value.as_str().is_some_and(|text| text.contains(part));
        let [found] = warned.as_slice() else { panic!("{step}: {warned:?} in {}", report.text) };
        assert!(found["step"] == step && report.code == Some(0), "{}", report.text);
        assert!(has(&found["cause"], cause) && has(&found["remedy"], remedy), "{found}");
    }

    fn nothing(&self) {
        let report = self.check();
        let amiss = |step: &Value| step["ok"] == false || step["warning"] == true;
        assert!(report.code == Some(0) && !report.steps.iter().any(amiss), "{}", report.text);
    }
}

/// The key that `deploy/` has for -rexec, with a program that is there.
const REXEC: &str = "restrict,command=\"/bin/sh dial-stdio\"";
const RSOCK: &str = "restrict,port-forwarding,command=\"/bin/false\"";

fn touch(path: &Path, time: SystemTime) {
    std::fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_far_end_has_no_fault_and_what_sshd_and_keys_forbid_is_named() {
    let chain = Chain::healthy().await;
    let far = || Far::of(&chain);
    far().nothing();
    far().key(REXEC).sshd("DisableForwarding yes").nothing();

    // The effective values of sshd, for the key at hand.
    far().key(REXEC).sshd("ForceCommand /bin/false").names(
        "effective sshd",
        "sshd",
        "sshd runs `/bin/false` for",
        "take ForceCommand out of its Match block",
    );
    for (line, cause, remedy) in [
        ("DisableForwarding yes", "DisableForwarding is yes", "interlink-rport.conf"),
        ("AllowTcpForwarding no", "AllowTcpForwarding is no", "set AllowTcpForwarding local"),
        ("AllowStreamLocalForwarding no", "AllowStreamLocalForwarding is no", "set AllowStreamLocalForwarding local"),
        ("AllowUsers somebody", "(AllowUsers, DenyUsers)", "to AllowUsers in sshd_config"),
        ("PubkeyAuthentication no", "PubkeyAuthentication is no", "set PubkeyAuthentication yes"),
        ("NoSuchOption yes", "sshd does not accept its configuration", "until sshd -t says nothing"),
    ] {
        far().key(RSOCK).sshd(line).names("effective sshd", "sshd", cause, remedy);
    }
    let reloaded = chain.sshd.dir().join("sshd_config");
    touch(&reloaded, SystemTime::now() + Duration::from_secs(3600));
    far().warns("effective sshd", "has not read", "systemctl reload ssh");
    touch(&reloaded, SystemTime::UNIX_EPOCH);

    // The key's line.
    let seed = "command=\"/usr/bin/false\",no-pty,no-X11-forwarding,no-agent-forwarding,no-port-forwarding";
    far().key(seed).names("authorized key", "sshd", "forbids forwarding (no-port-forwarding", "-rexec");
    far().key("restrict,command=\"/nowhere/plugin dial-stdio\"").names(
        "authorized key",
        "sshd",
        "runs `/nowhere/plugin dial-stdio` in place of dial-stdio: /nowhere/plugin: No such file",
        "set command=",
    );
    far().key("restrict,command=\"/bin/false\"").names(
        "authorized key",
        "sshd",
        "that carries no connections",
        "dial-stdio",
    );
    far().key("").warns("authorized key", "gives a shell", "restrict,command=");
    chain.sshd.set_authorized_keys(&User::current().name, "# nobody\n");
    far().names(
        "authorized key",
        "sshd",
        "has no key, so none lets the tunnel in",
        "put the tunnel's public key there",
    );
    let mut nobody = far();
    nobody.account = "no-such-account".to_owned();
    nobody.names("authorized key", "sshd", "there is no account no-such-account", "--account");

    // The plugin's file and its directories.
    let far = || Far::of(&chain).key(RSOCK);
    far().nothing();
    let socket = chain.dir.join("far/plugin.sock").display().to_string();
    let jobs = chain.dir.join("jobs").display().to_string();
    far().plugin("Scheduler: none\n").names("configuration", "plugin", "Scheduler must be local or slurm", "");
    let no_socket = format!("Scheduler: local\nDataRootFolder: {jobs}/\n");
    let report = far().key(REXEC).plugin(&no_socket).check();
    let step = report.step("configuration", "plugin");
    assert!(step["cause"].as_str().unwrap().contains("has no Socket, so dial-stdio"), "{step}");
    assert!(step["remedy"].as_str().unwrap().contains("set Socket: \"unix://"), "{step}");
    far().plugin(&format!("Scheduler: local\nSocket: unix://{socket}\nDataRootFolder: /nowhere/jobs/\n")).names(
        "job directory",
        "plugin",
        "the DataRootFolder /nowhere/jobs does not exist",
        "start interlink-plugin, which makes it",
    );
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    far().warns("socket", "open to other users of this machine (mode 0666)", "chmod 600");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = chain.dir.join("plugin.yaml");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o666)).unwrap();
    far().warns("file modes", "every user of this machine can change", "chmod o-w");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();

    chain.plugin.terminate(GRACE).await;
    far().names("process", "plugin", "interlink-plugin is not running", "systemctl start interlink-remote-plugin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_open_to_other_machines_is_named() {
    let port = free_port();
    let plugin = format!("Socket: \"\"\nSidecarPort: {port}\n");
    let far_end = Some(["-rport".to_owned(), port.to_string()]);
    let address = crate::cluster::own_address();
    let host = Some(address.clone());
    let chain = Chain::start(Plan { plugin, far_end, host, ..Plan::default() }).await;
    let report = chain.until("a healthy chain", |report| report.code == Some(0)).await;
    let seen = report.step("plugin port", "plugin")["seen"].as_str().unwrap_or_default();
    assert_eq!(seen, format!("{address}:{port} does not answer past the tunnel"));
    let far = Far::of(&chain).key("restrict,port-forwarding,permitopen=\"localhost:4000\",command=\"/bin/false\"");
    far.nothing();
    let _open = std::net::TcpListener::bind((address.as_str(), port)).unwrap();
    far.names(
        "plugin port",
        "plugin",
        &format!("the plugin's port {port} is open to other machines (something listens on {address})"),
        "bind it to 127.0.0.1, or set Socket:",
    );
    // The same from the other end, which tries it.
    let cause = format!("the plugin's port answers at {address}:{port} without the tunnel");
    chain.names("plugin port", "plugin", &cause, "bind it to 127.0.0.1 there, or set Socket:").await;
}

/// Gone when it is dropped.
struct InMemory(PathBuf);

impl InMemory {
    fn new() -> Self {
        let dir = PathBuf::from(format!("/dev/shm/interlink-check-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn job_directories_that_compute_nodes_do_not_see_are_named() {
    let slurm = Cluster::start(slurm::Options::default()).await;
    let chain = Chain::healthy().await;
    let mut far = Far::of(&chain).key(RSOCK);
    let socket = chain.dir.join("far/plugin.sock").display().to_string();
    let config = |sbatch: &Path, root: &Path| {
        format!(
            "Scheduler: slurm\nSocket: unix://{socket}\nSbatchPath: {}\nDataRootFolder: {}/\n",
            sbatch.display(),
            root.display()
        )
    };
    let (user, jobs) = (hpcuser(), chain.dir.folder("shared"));
    std::os::unix::fs::chown(&jobs, Some(user.uid), Some(user.gid)).unwrap();
    let script = |name: &str, text: String| {
        let path = chain.dir.write(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    // srun beside sbatch, as at a site; with the configuration of this cluster.
    let conf = slurm.conf().display().to_string();
    let srun = script("slurm/srun", format!("#!/bin/sh\nSLURM_CONF={conf} exec /usr/bin/srun \"$@\"\n"));
    far.chain.sshd.set_authorized_keys(&user.name, &format!("{RSOCK} {}\n", chain.key.public()));
    far.account = user.name.clone();
    let far = far.plugin(&config(&srun.with_file_name("sbatch"), &jobs)).with(&["--deep"]);
    let report = far.check();
    let seen = report.step("job directory", "plugin")["seen"].as_str().unwrap_or_default();
    assert!(seen.contains("compute nodes see"), "{}", report.text);
    assert_eq!(std::fs::read_dir(&jobs).unwrap().count(), 0, "nothing is left there");

    // A node with another disk at that place.
    let apart = format!(
        "#!/bin/sh\nSLURM_CONF={conf} exec /usr/bin/srun --quiet --ntasks=1 --time=1 --chdir=/ ls -d {}/elsewhere\n",
        jobs.display()
    );
    script("slurm/srun", apart);
    far.names(
        "job directory",
        "plugin",
        "a compute node does not see the DataRootFolder",
        "login and compute nodes share",
    );
    // One with another list of accounts.
    script("slurm/srun", "#!/bin/sh\necho none\n".to_owned());
    far.names(
        "job directory",
        "plugin",
        &format!("the account {} is not the compute nodes': one does not know it", user.name),
        "run interlink-plugin as one that compute nodes know",
    );
    script("slurm/srun", "#!/bin/sh\necho srun: error: Invalid account >&2\nexit 1\n".to_owned());
    far.warns("job directory", "Invalid account", "srun --ntasks=1 id");

    let memory = InMemory::new();
    let far = far.plugin(&config(&srun, &memory.0)).with(&[]);
    far.names(
        "job directory",
        "plugin",
        "is in this machine's memory, which no compute node sees",
        "set DataRootFolder",
    );
}
