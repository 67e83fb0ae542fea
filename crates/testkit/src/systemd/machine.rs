//! The machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::timeout;

use super::cgroup::Cgroup;
use crate::dirs::TestDir;
use crate::process::{Daemon, Launch};
use crate::users::is_root;
use crate::wait;

const BOOT: Duration = Duration::from_secs(60);
/// For one command inside; starting a unit may take a while.
const COMMAND: Duration = Duration::from_secs(120);

/// A unit file of the test.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its name (`interlink-api.service`, `interlink-api.service.d/port.conf`), below `/etc/systemd/system`.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Unit {
    /// A unit of that name and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// What a machine has beyond this one's own programs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The root file system that it has instead of this machine's own; nothing is written to it. One of a distribution
    /// with systemd.
    pub root: Option<PathBuf>,
    /// Unit files; none is enabled or started.
    pub units: Vec<Unit>,
    /// Folders of this machine and where they are inside. `/tmp` inside is empty otherwise.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// A network of its own with nothing but loopback, instead of this machine's.
    pub private_network: bool,
}

/// A running systemd. Dropped, all that runs on it is killed.
#[derive(Debug)]
pub struct Machine {
    init: i32,
    /// Dies with its child, and the other way round.
    unshare: Daemon,
    cgroup: Cgroup,
    /// Holds the mount namespace with the machine's disk, which outlives a boot.
    disk: Daemon,
    private_network: bool,
    dir: TestDir,
}

impl Machine {
    /// Boots one and returns when systemd has reached its target.
    ///
    /// # Panics
    /// When systemd is missing, the test is not root's, or it does not boot in time.
    pub async fn start(options: Options) -> Self {
        assert!(is_root(), "a machine with a systemd of its own needs root");
        let root = options.root.as_deref().unwrap_or(Path::new("/"));
        assert!(root.join("lib/systemd/systemd").exists(), "systemd is missing: run scripts/setup once as root");
        let dir = TestDir::new();
        dir.folder("units");
        for unit in &options.units {
            let path = dir.write(Path::new("units").join(&unit.name), &unit.text);
            mode(&path, 0o644);
        }
        let binds = options.binds.iter().map(|(from, to)| format!("{}\t{}\n", from.display(), to.display()));
        dir.write("binds", binds.collect::<String>());
        dir.write("root", root.display().to_string());
        dir.write("boot.sh", include_str!("boot.sh"));
        if options.private_network {
            dir.write("private-network", "");
        }
        let disk = disk(&dir).await;
        let cgroup = Cgroup::new();
        let (unshare, init) = boot(&dir, &disk, &cgroup, options.private_network).await;
        let machine = Self { init, unshare, cgroup, disk, private_network: options.private_network, dir };
        machine.is_up().await;
        machine
    }

    /// `systemctl reboot`: everything is stopped in order, and what is on the disk and enabled comes up again.
    ///
    /// # Panics
    /// When it does not go down or come up in time.
    pub async fn reboot(&mut self) {
        // it may be gone before it has answered
        self.output(["systemctl", "reboot"]).await;
        wait::until("the machine to go down", BOOT, async || {
            if Path::new("/proc").join(self.init.to_string()).exists() { Err("it is up") } else { Ok(()) }
        })
        .await;
        self.boot_again().await;
    }

    /// As if its power had failed for a moment: nothing is stopped in order.
    ///
    /// # Panics
    /// When it does not come up in time.
    pub async fn power_cut(&mut self) {
        let _ = kill(Pid::from_raw(self.init), nix::sys::signal::Signal::SIGKILL);
        self.boot_again().await;
    }

    async fn boot_again(&mut self) {
        self.unshare.kill9();
        self.cgroup = Cgroup::new();
        (self.unshare, self.init) = boot(&self.dir, &self.disk, &self.cgroup, self.private_network).await;
        self.is_up().await;
    }

    async fn is_up(&self) {
        wait::until("systemd to be up", BOOT, async || {
            self.unshare.assert_running();
            // before it has become PID 1 there is nobody to ask
            let state = self.output(["systemctl", "is-system-running"]).await;
            match text(&state.stdout).trim() {
                "running" | "degraded" => Ok(()),
                other => Err(format!("{other:?}; {}", self.unshare.log_tail(10))),
            }
        })
        .await;
        // until here to the boot's own log, where it can be read if nothing else works
        self.systemctl(["log-target", "journal"]).await;
    }

    /// Where a file of the machine is, seen from the test: absolute paths only.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        let relative = inside.strip_prefix("/").unwrap_or(inside);
        PathBuf::from(format!("/proc/{}/root", self.init)).join(relative)
    }

    /// Writes a file inside with that mode, and the folders that lead to it; it is root's.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, inside: impl AsRef<Path>, content: impl AsRef<[u8]>, permissions: u32) {
        let path = self.path(&inside);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, content));
        written.unwrap_or_else(|error| panic!("{}: {error}", inside.as_ref().display()));
        mode(&path, permissions);
    }

    /// Runs a command inside as root and returns what became of it.
    ///
    /// # Panics
    /// When it can't be started or takes more than two minutes.
    pub async fn output<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.to_string(), "-m", "-u", "-i", "-p", "-n", "-C", "-r", "-w", "--"]);
        command.args(args).stdin(std::process::Stdio::null()).kill_on_drop(true);
        command.env_clear().env("LANG", "C.UTF-8").env("SYSTEMD_PAGER", "").env("SYSTEMD_COLORS", "0");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        let ended = timeout(COMMAND, command.output()).await.expect("a command on the machine ends in time");
        ended.expect("nsenter is part of util-linux")
    }

    /// Runs a command inside as root and returns its standard output.
    ///
    /// # Panics
    /// When it fails; the message has what it said.
    pub async fn run<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<S> = args.into_iter().collect();
        let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy().into_owned()).collect();
        let output = self.output(args).await;
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{} ({}): {stdout}{stderr}", shown.join(" "), output.status);
        stdout
    }

    /// `systemctl ARGS`, which must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub async fn systemctl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> String {
        self.run(std::iter::once("systemctl").chain(args)).await
    }

    /// A property of a unit, as `systemctl show` prints it; empty when it has none of that name.
    ///
    /// # Panics
    /// When systemd does not answer.
    pub async fn show(&self, unit: &str, property: &str) -> String {
        self.systemctl(["show", "--value", "-p", property, unit]).await.trim().to_owned()
    }

    /// Waits until a property of a unit has that value.
    ///
    /// # Panics
    /// When it has not in time; the message has the end of the unit's journal.
    pub async fn shows(&self, unit: &str, property: &str, value: &str, limit: Duration) {
        wait::until(&format!("{property} of {unit} to be {value}"), limit, async || {
            match self.show(unit, property).await {
                found if found == value => Ok(()),
                found => Err(format!("{found}; its journal: {}", self.journal(unit).await)),
            }
        })
        .await;
    }

    /// What a unit has said, and systemd about it: the messages of its journal.
    ///
    /// # Panics
    /// When journald does not answer.
    pub async fn journal(&self, unit: &str) -> String {
        self.run(["journalctl", "--no-pager", "-q", "-o", "cat", "-u", unit]).await
    }

    /// The control group that its own are below, as this machine sees it.
    pub fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// The directory of its files on this machine.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // the end of a process namespace's first process is the end of all in it
        let _ = kill(Pid::from_raw(self.init), nix::sys::signal::Signal::SIGKILL);
        self.unshare.kill9();
    }
}

/// The machine's disk: memory, in a mount namespace that ends with the process that holds it.
async fn disk(dir: &TestDir) -> Daemon {
    let at = dir.folder("disk");
    let script =
        "mount -t tmpfs -o size=2g tmpfs \"$1\" && mkdir \"$1/upper\" \"$1/work\" \"$1/root\" && exec sleep infinity";
    let launch = Launch::new("unshare", dir.join("disk.log")).args(["--mount", "--propagation", "private"]);
    let holder = launch.args(["/bin/sh", "-c", script, "sh"]).arg(&at).patience(Duration::ZERO).start();
    let seen = PathBuf::from(format!("/proc/{}/root", holder.pid())).join(at.strip_prefix("/").unwrap_or(&at));
    wait::until("the machine's disk", BOOT, async || {
        holder.assert_running();
        if seen.join("root").exists() { Ok(()) } else { Err("not mounted") }
    })
    .await;
    holder
}

/// The process that ends with the machine, and the machine's first.
async fn boot(dir: &TestDir, disk: &Daemon, cgroup: &Cgroup, private_network: bool) -> (Daemon, i32) {
    // a process enters the control group before its cgroup namespace begins there
    let mut launch = Launch::new("/bin/sh", dir.join("boot.log"))
        .args(["-c", "echo $$ > \"$1/cgroup.procs\"; shift; exec \"$@\"", "sh"])
        .arg(cgroup.path())
        .args(["nsenter", "-t", &disk.pid().to_string(), "-m", "--"])
        .args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--cgroup"])
        .args(["--propagation", "private"]);
    if private_network {
        launch = launch.arg("--net");
    }
    let launch = launch.arg("/bin/sh").arg(dir.join("boot.sh")).arg(dir.path());
    let unshare = launch.patience(Duration::ZERO).start();
    let init = wait::until("the first process of the machine", BOOT, async || {
        unshare.assert_running();
        child_of(unshare.pid()).ok_or("none")
    })
    .await;
    (unshare, init)
}

fn child_of(pid: u32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode of one's own file can be set");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
