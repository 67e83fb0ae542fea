//! A pod directory and the supervisor that runs it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use interlink_supervisor::launch::{ContainerLaunch, Launch, Mount, RestartPolicy, Runtime};
use interlink_supervisor::report::Report;
use interlink_supervisor::{layout, spool};
use interlink_testkit::dirs::TestDir;
use interlink_wire::status::Terminated;
use interlink_wire::{ContainerStatus, PodUid};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) const UID: &str = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";
/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pod to be run.
pub(crate) struct Pod {
    pub(crate) home: TestDir,
    pub(crate) launch: Launch,
    /// Account to run the supervisor as, by number; the test's own without it.
    pub(crate) account: Option<u32>,
    /// Put before the supervisor's command line.
    pub(crate) wrapper: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
}

/// A container of the host runtime that runs a shell script, whose dollars are its own.
pub(crate) fn script(name: &str, text: &str) -> ContainerLaunch {
    ContainerLaunch {
        name: name.into(),
        image: "image".into(),
        runtime: Runtime::Host,
        command: vec!["/bin/sh".into(), "-c".into(), text.replace('$', "$$")],
        args: vec![],
        env: vec![],
        working_dir: None,
        mounts: vec![],
    }
}

pub(crate) fn mount(source: impl Into<PathBuf>, target: &str, read_only: bool) -> Mount {
    Mount { source: source.into(), target: target.into(), read_only, within: vec![] }
}

impl Pod {
    pub(crate) fn new(init_containers: Vec<ContainerLaunch>, containers: Vec<ContainerLaunch>) -> Self {
        let home = TestDir::new();
        for folder in ["pod", "spool"] {
            fs::create_dir(home.join(folder)).unwrap();
        }
        let launch = Launch {
            uid: PodUid::parse(UID).unwrap(),
            namespace: "ns".into(),
            name: "p".into(),
            restart_policy: RestartPolicy::Never,
            grace_seconds: 30,
            active_deadline_seconds: None,
            init_containers,
            containers,
            spool: home.join("spool"),
            image_cache: home.join("images"),
        };
        Self { home, launch, account: None, wrapper: vec![], variables: vec![] }
    }

    pub(crate) fn of(container: ContainerLaunch) -> Self {
        Self::new(vec![], vec![container])
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.home.join("pod")
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> PathBuf {
        self.home.write(file, text)
    }

    /// Starts the supervisor as job `job`.
    pub(crate) fn start(&self, job: &str) -> Supervisor {
        self.launch.store(&self.dir()).unwrap();
        if let Some(account) = self.account {
            for path in [self.dir(), self.home.join("spool"), self.dir().join(layout::LAUNCH), self.home.path().into()]
            {
                std::os::unix::fs::chown(path, Some(account), Some(account)).unwrap();
            }
        }
        self.start_again(job)
    }

    /// Starts the supervisor on what is there.
    pub(crate) fn start_again(&self, job: &str) -> Supervisor {
        let own = std::env::current_exe().unwrap().display().to_string();
        let line: Vec<String> = self
            .wrapper
            .iter()
            .cloned()
            .chain([own, "supervise".into(), self.dir().display().to_string(), job.into()])
            .collect();
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .envs(self.variables.clone());
        if let Some(account) = self.account {
            command.uid(account).gid(account);
        }
        Supervisor { child: command.spawn().unwrap(), ended: None }
    }

    /// Runs the pod to its end as job 7 and returns the supervisor's exit code.
    pub(crate) fn run(&self) -> i32 {
        self.start("7").end()
    }

    pub(crate) fn report(&self) -> Report {
        Report::load(&self.dir()).unwrap().expect("a report was written")
    }

    /// How a main container ended.
    pub(crate) fn ended(&self, index: usize) -> Terminated {
        terminated(&self.report().containers[index]).clone()
    }

    pub(crate) fn output(&self, file: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.dir().join(file)).unwrap()).into_owned()
    }

    /// Waits until a report fulfils the condition.
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&Report) -> bool) -> Report {
        until(what, || Report::load(&self.dir()).unwrap().filter(&condition))
    }

    pub(crate) fn until_running(&self, index: usize) -> Report {
        self.until("a running container", |r| r.containers.get(index).is_some_and(|c| c.state.is_running()))
    }

    /// Sequences announced in the spool, in order.
    pub(crate) fn events(&self) -> Vec<u64> {
        let mut found: Vec<u64> = fs::read_dir(self.home.join("spool"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| spool::parse_name(&name).unwrap_or_else(|| panic!("{name} is left in the spool")).1)
            .collect();
        found.sort_unstable();
        found
    }
}

pub(crate) fn terminated(status: &ContainerStatus) -> &Terminated {
    status.state.terminated().unwrap_or_else(|| panic!("{} has not ended: {:?}", status.name, status.state))
}

/// Waits until `probe` has something.
pub(crate) fn until<T>(what: &str, probe: impl Fn() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A started supervisor.
pub(crate) struct Supervisor {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Supervisor {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end; its exit code, or minus the signal's number.
    pub(crate) fn end(mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let give_up = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < give_up, "the supervisor does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        self.ended = Some(status);
        status.code().unwrap_or_else(|| -status.signal().unwrap())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether a process with this number lives.
pub(crate) fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
