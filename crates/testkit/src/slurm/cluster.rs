//! The cluster as a whole.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::conf::{self, Options, Ports};
use super::job::Job;
use crate::dirs::TestDir;
use crate::ports::free_port;
use crate::process::{Daemon, Launch, leftovers};
use crate::users::{User, is_root};
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
            munge.alive()?;
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
            self.munge.alive()?;
            self.controller.alive()?;
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

    /// Runs a Slurm command as the user of the test.
    ///
    /// # Panics
    /// When it is not installed or takes longer than thirty seconds.
    pub async fn run<S: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = S>) -> Output {
        output(self.command(program).args(args)).await
    }

    /// Runs a command as another user, in that user's home, with that user's environment and SLURM_CONF.
    ///
    /// # Panics
    /// When it takes longer than thirty seconds.
    pub async fn run_as<S: AsRef<OsStr>>(
        &self,
        user: &User,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Output {
        output(self.command_as(user, program).args(args)).await
    }

    /// A command that a test starts itself, with SLURM_CONF.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.conf()).kill_on_drop(true);
        command
    }

    /// A command that a test starts itself as another user.
    pub fn command_as(&self, user: &User, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("setpriv");
        command.args(["--reuid", &user.name, "--regid", &user.name, "--init-groups", "--reset-env", "env"]);
        // --reset-env forgets it
        let mut conf = std::ffi::OsString::from("SLURM_CONF=");
        conf.push(self.conf());
        command.arg(conf).arg("PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").arg(program).current_dir(&user.home);
        command
    }

    /// Submits `command` (a line of shell) as that user by `sbatch --wrap` and returns the job's number.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn submit<S: AsRef<OsStr>>(
        &self,
        user: &User,
        command: &str,
        options: impl IntoIterator<Item = S>,
    ) -> String {
        let mut sbatch = self.command_as(user, "sbatch");
        sbatch.args(["--parsable", "-o", "/dev/null"]).args(options).args(["--wrap", command]);
        let output = output(&mut sbatch).await;
        assert!(output.status.success(), "sbatch: {}", String::from_utf8_lossy(&output.stderr).trim());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The jobs that slurmctld knows, finished ones included until [`Options::min_job_age`] has passed.
    ///
    /// # Panics
    /// When slurmctld does not answer.
    pub async fn jobs(&self) -> Vec<Job> {
        let output = self.run("scontrol", ["-o", "show", "job"]).await;
        assert!(output.status.success(), "scontrol: {}", String::from_utf8_lossy(&output.stderr).trim());
        String::from_utf8_lossy(&output.stdout).lines().filter_map(Job::parse).collect()
    }

    /// The jobs that have ended, forgotten ones included; asks no daemon.
    pub fn completed(&self) -> Vec<Job> {
        let text = fs::read_to_string(self.dir.join("jobcomp.txt")).unwrap_or_default();
        text.lines().filter_map(Job::parse).collect()
    }

    /// The numbers of all jobs ever submitted: what a test counts to show that a Pod was submitted once.
    ///
    /// # Panics
    /// When slurmctld does not answer.
    pub async fn submitted(&self) -> BTreeSet<u32> {
        let known = self.jobs().await;
        let ended = self.completed();
        known.iter().chain(&ended).filter_map(|job| job.id().parse().ok()).collect()
    }

    /// Waits until a job is in one of `states` (`["COMPLETED"]`) and returns it.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn job_in_state(&self, id: &str, states: &[&str], timeout: Duration) -> Job {
        wait::until(&format!("job {id} to be {}", states.join(" or ")), timeout, async || {
            let jobs = self.jobs().await;
            let job = jobs.iter().find(|job| job.id() == id).cloned();
            match job.or_else(|| self.completed().into_iter().find(|job| job.id() == id)) {
                Some(job) if states.contains(&job.state()) => Ok(job),
                Some(job) => Err(format!("{} ({})", job.state(), job.field("Reason"))),
                None => Err("no such job".to_owned()),
            }
        })
        .await
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

/// A munged with a key and a socket of its own.
fn munged(dir: &TestDir) -> Daemon {
    let munge = User::named("munge").expect("munge is not installed: run scripts/setup once as root");
    let folder = dir.folder("munge");
    let mut key = [0; 1024];
    let mut random = fs::File::open("/dev/urandom").expect("every Linux has /dev/urandom");
    std::io::Read::read_exact(&mut random, &mut key).expect("/dev/urandom never ends");
    let key = dir.write("munge/key", key);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).expect("root may do that");
    for path in [&folder, &key] {
        chown(path, Some(munge.uid), Some(munge.gid)).expect("root may do that");
    }
    let flag = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
    Launch::new(program("munged"), dir.join("munged.log"))
        .user("munge")
        .arg("--foreground")
        .args([flag("key-file", "key"), flag("socket", "socket"), flag("pid-file", "pid"), flag("seed-file", "seed")])
        .args([flag("log-file", "log").as_str(), "--num-threads=4"])
        .start()
}

/// A daemon, where Debian has it and PATH may not.
fn program(name: &str) -> PathBuf {
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

async fn output(command: &mut Command) -> Output {
    let shown = format!("{:?}", command.as_std());
    match tokio::time::timeout(Duration::from_secs(30), command.output()).await {
        Ok(output) => output.unwrap_or_else(|error| panic!("{shown} cannot be started: {error}")),
        Err(_) => panic!("{shown} takes longer than 30 s"),
    }
}
