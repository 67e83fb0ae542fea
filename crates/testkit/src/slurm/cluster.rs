//! The cluster as a whole.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::conf::{self, Options, Ports};
use super::munge::munged;
use crate::dirs::TestDir;
use crate::ports::free_port;
use crate::process::{Daemon, Launch, leftovers};
use crate::users::is_root;
use crate::wait;

/// A start takes one second on an idle machine; the rest is for a busy one.
const START: Duration = Duration::from_secs(30);

/// A running cluster. Dropped, it cancels its jobs, stops its daemons and ends what is left of the jobs.
#[derive(Debug)]
pub struct Cluster {
    // in the order of their end
    nodes: Vec<Daemon>,
    controller: Daemon,
    munge: Daemon,
    dir: TestDir,
}

impl Cluster {
    /// Starts one, and returns when all its nodes are idle.
    ///
    /// # Panics
    /// Without root, without the programs (`scripts/setup` installs them), or when a daemon is not ready in time.
    pub async fn start(options: Options) -> Self {
        assert!(is_root(), "a Slurm cluster runs jobs as their owners: run the tests as root");
        let dir = TestDir::new();
        let munge = munged(&dir);
        for folder in ["state", "spool"] {
            dir.folder(folder);
        }
        let ports = Ports { controller: free_port(), nodes: (0..options.nodes).map(|_| free_port()).collect() };
        dir.write("jobcomp.txt", "");
        let conf = dir.write("slurm.conf", conf::slurm_conf(dir.path(), &ports, &options));
        if let Some(gres) = conf::gres_conf(&options) {
            dir.write("gres.conf", gres);
        }
        if knows_cgroups_as_optional() {
            dir.write("cgroup.conf", "CgroupPlugin=disabled\n");
        }
        let daemon = |name: &str, log: &str| {
            Launch::new(program(name), dir.join(log)).args(["-D", "-f"]).arg(&conf).env("SLURM_CONF", &conf)
        };
        wait::until("munged's socket", START, async || {
            munge.assert_running();
            if dir.join("munge/socket").exists() { Ok(()) } else { Err("it is not there".to_owned()) }
        })
        .await;
        let controller = daemon("slurmctld", "slurmctld.log").start();
        let nodes = (1..=options.nodes)
            .map(|number| {
                dir.folder(format!("spool/n{number}"));
                daemon("slurmd", &format!("slurmd-n{number}.log")).args(["-N", &format!("n{number}")]).start()
            })
            .collect();
        let cluster = Self { nodes, controller, munge, dir };
        cluster.ready().await;
        cluster
    }

    /// Waits until slurmctld answers and every node is up.
    ///
    /// # Panics
    /// When slurmctld has ended or time is up.
    pub async fn ready(&self) {
        wait::until("all nodes of the Slurm cluster to be up", START, async || {
            self.munge.assert_running();
            self.controller.assert_running();
            let output = self.run("sinfo", ["-h", "-N", "-p", "batch", "-o", "%N %t"]).await;
            let states = String::from_utf8_lossy(&output.stdout).into_owned();
            let up = |line: &&str| ["idle", "mix", "alloc"].iter().any(|state| line.ends_with(state));
            if states.lines().filter(up).count() == self.nodes.len() {
                Ok(())
            } else {
                Err(states + &String::from_utf8_lossy(&output.stderr))
            }
        })
        .await;
    }

    /// slurm.conf, the value of SLURM_CONF for every Slurm command.
    pub fn conf(&self) -> PathBuf {
        self.dir.join("slurm.conf")
    }

    /// The directory with the cluster's state, logs and spool.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// slurmctld, to be stopped, frozen, killed and started again.
    ///
    /// Slurm writes its state some seconds late: after SIGKILL it has forgotten the jobs submitted just before
    /// (they run on, unknown to it), after SIGTERM it knows them all.
    pub fn controller(&self) -> &Daemon {
        &self.controller
    }

    /// The slurmd of `n1`, `n2`, …; the first has index 0.
    pub fn node(&self, index: usize) -> &Daemon {
        &self.nodes[index]
    }

    /// Cancels everything, for slurmstepd and the jobs outlive slurmd.
    fn cancel_all(&self) {
        let squeue = || self.blocking(&["squeue", "-h", "-r", "-o", "%i"]);
        let Some(ids) = squeue().filter(|ids| !ids.is_empty()) else { return };
        let mut scancel = vec!["scancel", "-f", "-s", "KILL"];
        scancel.extend(ids.split_whitespace());
        self.blocking(&scancel);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && squeue().is_some_and(|ids| !ids.is_empty()) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a command prints, unless it fails or takes longer than five seconds.
    fn blocking(&self, command: &[&str]) -> Option<String> {
        let mut timeout = std::process::Command::new("timeout");
        let output = timeout.arg("5").args(command).env("SLURM_CONF", self.conf()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.controller.is_running() {
            self.cancel_all();
        }
        // those of a slurmd that the test killed, and those that slurmctld has lost
        leftovers::end(&self.dir.join("spool"));
    }
}

/// A daemon, where Debian has it and PATH may not.
pub(super) fn program(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    assert!(path.exists(), "{} is missing: run scripts/setup once as root", path.display());
    path
}

/// slurmd of 23.11 and later looks for cgroups even where no plugin of slurm.conf uses them.
fn knows_cgroups_as_optional() -> bool {
    let output = std::process::Command::new(program("slurmctld")).arg("-V").output().expect("slurmctld is executable");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers =
        text.trim().rsplit(' ').next().unwrap_or_default().split('.').map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(23), Some(11))
}
