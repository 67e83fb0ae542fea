//! The chain as an operator has it: the units, configuration, key and sshd fragment of `deploy/` under a real systemd.
//!
//! ```text
//!   interlink-virtual-kubelet ─▶ interlink-api ─▶ interlink-tunnel ══▶ sshd ─▶ interlink-remote-plugin ─▶ local, or a Slurm outside
//!          └─ a control plane outside
//! ```
//!
//! Both ends are one machine, with the paths that each has alone.
#![allow(clippy::panic, reason = "a test's harness reports by panicking")]

pub mod health;
mod install;
pub mod logs;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::ControlPlane;
use interlink_testkit::slurm::Cluster;
use interlink_testkit::systemd::{self, Machine, Unit};
use interlink_testkit::users::hpcuser;
use interlink_testkit::{binaries, ports, wait};

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

/// What a deployment is connected with.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The tunnel's key.
    pub form: Form,
    /// A control plane; without one, the virtual kubelet has no kubeconfig.
    pub cluster: Option<&'a ControlPlane>,
    /// A batch system; without one, the plugin has the scheduler `local`. Its nodes know the accounts of this machine
    /// only, so all units run as `hpcuser` then.
    pub slurm: Option<&'a Cluster>,
}

impl Options<'_> {
    /// Connected with nothing.
    pub fn alone(form: Form) -> Self {
        Self { form, cluster: None, slurm: None }
    }
}

/// A machine with everything in its place.
#[derive(Debug)]
pub struct Deployed {
    /// The machine.
    pub machine: Machine,
    /// The account of the units.
    pub account: String,
    /// What must outlive the machine's processes.
    jobs: Option<TestDir>,
}

impl Deployed {
    /// Puts everything in its place and starts sshd, but none of the units.
    ///
    /// # Panics
    /// When a part is missing.
    pub async fn new(options: Options<'_>) -> Self {
        let bin = binaries::path("interlink").parent().expect("a file is in a folder").to_owned();
        Self::with_programs(options, &bin).await
    }

    /// The same with the programs in the folder `bin`, which may be replaced by others while they run.
    ///
    /// # Panics
    /// As [`Deployed::new`].
    pub async fn with_programs(options: Options<'_>, bin: &Path) -> Self {
        let ssh_port = ports::free_port();
        let account = if options.slurm.is_some() { hpcuser().name } else { "interlink".to_owned() };
        let mut units = units();
        units.push(Unit::new("test-sshd.service", install::SSHD_UNIT));
        let mut binds = vec![(bin.to_owned(), PathBuf::from("/opt/interlink/bin"))];
        let mut jobs = None;
        if let Some(slurm) = options.slurm {
            let shared = install::shared_jobs(&account);
            for dir in [slurm.dir(), shared.path()] {
                binds.push((dir.to_owned(), dir.to_owned()));
            }
            units.extend(install::drop_ins(&account, slurm.dir(), shared.path()));
            jobs = Some(shared);
        }
        // one of its own leaves nothing outside within reach, and port 4000 is the machine's alone
        let private_network = options.cluster.is_none() && options.slurm.is_none();
        let machine = Machine::start(systemd::Options { root: None, units, binds, private_network }).await;
        let deployed = Self { machine, account, jobs };
        deployed.install(options, ssh_port).await;
        deployed.machine.systemctl(["start", "test-sshd"]).await;
        deployed
    }

    /// The folder that the jobs' nodes see, too.
    ///
    /// # Panics
    /// When there is no batch system.
    pub fn jobs(&self) -> &Path {
        self.jobs.as_ref().expect("jobs have a folder where there is a batch system").path()
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
        let shown = self.machine.systemctl(["show", "--value", "-p", "MainPID"].into_iter().chain(UNITS)).await;
        let pids: Vec<String> = shown.split_whitespace().map(str::to_owned).collect();
        pids.try_into().unwrap_or_else(|shown| panic!("{shown:?}"))
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

/// A file of `deploy/`.
///
/// # Panics
/// When it is not there.
pub fn read(name: &str) -> String {
    read_file(&binaries::workspace().join("deploy").join(name))
}

fn read_file(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
