//! `interlinkctl demo` with the real programs, as the users who run it.

#![allow(clippy::unwrap_used, clippy::panic)] // the helpers below are test code as well

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::{ControlPlane, Options};
use interlink_testkit::process::leftovers;
use interlink_testkit::{binaries, users};

const PROGRAMS: [&str; 5] = ["interlinkctl", "virtual-kubelet", "interlink", "ssh-tunnel", "interlink-plugin"];

/// The programs in a directory that every user can reach.
struct Installed {
    dir: TestDir,
}

impl Installed {
    fn new() -> Self {
        let dir = TestDir::new();
        for program in PROGRAMS {
            std::fs::copy(binaries::path(program), dir.join(program)).unwrap();
        }
        Self { dir }
    }

    fn ctl(&self, user: &As) -> Command {
        let program = self.dir.join("interlinkctl");
        let mut command = match user {
            As::Me => Command::new(program),
            As::Account(name) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", name, "--regid", name, "--init-groups", "--"]).arg(program);
                command
            }
            As::Number(uid) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", uid, "--regid", uid, "--clear-groups", "--"]).arg(program);
                command
            }
        };
        if !matches!(user, As::Me) {
            command.env("HOME", "/").env_remove("XDG_RUNTIME_DIR");
        }
        command.env_remove("KUBECONFIG").current_dir("/").stdin(Stdio::null());
        command
    }
}

enum As {
    Me,
    Account(String),
    Number(&'static str),
}

/// The users that a demo is tried as: this one, and if that is root, one who is not and one without an account.
fn everybody() -> Vec<As> {
    if users::is_root() { vec![As::Me, As::Account(users::hpcuser().name), As::Number("54321")] } else { vec![As::Me] }
}

/// The directory that a demo has printed.
fn place(out: &str) -> PathBuf {
    let line = out.lines().find_map(|line| line.strip_prefix("interlink demo in "));
    PathBuf::from(line.unwrap_or_else(|| panic!("no directory in {out}")))
}

fn assert_nothing_is_left(place: &Path) {
    let started = Instant::now();
    while place.exists() || !leftovers::of(place).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?} of {}", leftovers::of(place), place.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_demo_ends_well_for_everybody_and_leaves_nothing() {
    let installed = Installed::new();
    for user in everybody() {
        let output = installed.ctl(&user).arg("demo").output().unwrap();
        let (out, err) = texts(&output);
        assert!(output.status.success() && err.is_empty(), "{out}\n{err}");
        for part in
            ["✓ interlink-plugin", "✓ sshd", "✓ ssh-tunnel", "✓ interlink ", "✓ virtual-kubelet", "Running", "✓ Secret"]
        {
            assert!(out.contains(part), "no {part} in {out}");
        }
        assert!(out.ends_with("s in all\n") && !out.contains('\x1b'), "{out}");
        assert!(!place(&out).exists());
        assert_nothing_is_left(&place(&out));
    }
}

/// Starts a demo and reads its output up to a line with `part`.
fn until(mut command: Command, part: &str) -> (Child, String, impl Read) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut out = String::new();
    while !out.contains(part) {
        assert_ne!(lines.read_line(&mut out).unwrap(), 0, "it ended early: {out}");
    }
    (child, out, lines)
}

#[test]
fn however_and_whenever_the_demo_dies_nothing_is_left() {
    let installed = Installed::new();
    let kill = [("-KILL", None)];
    let moments = ["interlink demo in", "✓ interlink-plugin", "✓ sshd", "✓ interlink ", "Running"];
    let ends = moments.into_iter().flat_map(|moment| kill.map(|(signal, code)| (moment, signal, code)));
    for (moment, signal, code) in ends.chain([("Running", "-INT", Some(130)), ("✓ sshd", "-TERM", Some(143))]) {
        let mut command = installed.ctl(&As::Me);
        command.arg("demo");
        let (mut child, out, _open) = until(command, moment);
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), code);
        assert_nothing_is_left(&place(&out));
    }
}

/// The directory of the demo that one of these processes belongs to, once `program` runs in it.
fn place_of(pids: &BTreeSet<u32>, program: &str) -> Option<PathBuf> {
    let read = |pid: &u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    pids.iter().find(|pid| read(pid, "comm").trim() == program)?;
    let marks = pids.iter().map(|pid| read(pid, "environ"));
    marks.into_iter().find_map(|environ| {
        environ.split('\0').find_map(|variable| variable.strip_prefix("INTERLINK_DEMO=")).map(PathBuf::from)
    })
}

#[test]
fn when_the_process_of_a_test_is_killed_nothing_of_its_demo_is_left() {
    for program in ["sshd", "virtual-kubelet"] {
        let mut test = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_demo_ends_well_for_everybody_and_leaves_nothing"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let (pids, place) = loop {
            let pids = leftovers::with_descendants(vec![test.id()]);
            if let Some(place) = place_of(&pids, program) {
                break (pids, place);
            }
            assert!(started.elapsed() < Duration::from_secs(60), "no {program}");
            std::thread::sleep(Duration::from_millis(5));
        };
        test.kill().unwrap();
        test.wait().unwrap();
        assert_nothing_is_left(&place);
        let title = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let ours = |pid: &&u32| title(pid).contains(&place.display().to_string()) || title(pid).contains("warden");
        while let Some(pid) = pids.iter().find(ours) {
            assert!(started.elapsed() < Duration::from_secs(120), "{pid}: {}", title(pid));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_kept_demo_runs_pods_until_it_is_stopped() {
    let installed = Installed::new();
    let output = installed.ctl(&As::Me).args(["demo", "--keep"]).output().unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
    let place = place(&out);

    let pod = installed.dir.write("pod.yaml", include_str!("../../../examples/failing.yaml"));
    let api = format!("unix://{}", place.join("api.sock").display());
    let mut run = installed.ctl(&As::Me);
    let output = run.args(["run", "--api", &api, "-f"]).arg(&pod).output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(3), "the input is missing\n"), "{err}");
    assert!(err.contains("run: pod failing: Failed (exit code 3)"), "{err}");

    let output = installed.ctl(&As::Me).args(["demo", "--stop"]).arg(&place).output().unwrap();
    assert!(output.status.success(), "{:?}", texts(&output));
    assert!(!place.exists());
    assert_nothing_is_left(&place);
}

#[test]
fn a_hop_that_does_not_come_up_is_named() {
    let installed = Installed::new();
    installed.dir.write("ssh-tunnel", "#!/bin/sh\necho the key is not to its taste\nexit 78\n");
    let output = installed.ctl(&As::Me).arg("demo").output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("✗ ssh-tunnel") && out.contains("      the key is not to its taste"), "{out}");
    let log = place(&out).join("log/ssh-tunnel.log");
    let sentence = format!("ssh-tunnel did not come up: it ended with exit status: 78; its log is {}", log.display());
    assert!(err.contains(&sentence) && err.lines().count() == 1, "{err}");
    assert!(std::fs::read_to_string(&log).unwrap().contains("taste"));
    assert!(leftovers::of(&place(&out)).is_empty());
    std::fs::remove_dir_all(place(&out)).unwrap();

    std::fs::remove_file(installed.dir.join("ssh-tunnel")).unwrap();
    let output = installed.ctl(&As::Me).arg("demo").output().unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.code() == Some(1) && err.contains("ssh-tunnel is missing; run make"), "{err}");
    std::fs::remove_dir_all(place(&out)).unwrap();
}

/// As in many containers: no capability for mounts, no user namespaces, and an sshd that can't drop its rights.
const SANDBOX: &str = "echo 0 > /proc/sys/user/max_user_namespaces
    exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin \"$0\" demo";

#[test]
fn in_a_sandbox_our_own_sshd_and_an_example_without_volumes_take_over() {
    let installed = Installed::new();
    let program = installed.dir.join("interlinkctl");
    let possible = Command::new("unshare").args(["-Ur", "true"]).status().unwrap().success();
    // Where a sandbox can't be made, this is one.
    let mut demo = if possible {
        let mut demo = Command::new("unshare");
        demo.args(["-Ur", "sh", "-c", SANDBOX]).arg(program);
        demo
    } else {
        let mut demo = Command::new(program);
        demo.arg("demo");
        demo
    };
    let output = demo.env_remove("KUBECONFIG").current_dir("/").stdin(Stdio::null()).output().unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success() && err.is_empty(), "{out}\n{err}");
    assert!(!possible || out.contains("✓ sshd              our own on 127.0.0.1"), "{out}");
    assert!(out.contains("pod demo, from examples/demo-without-volumes, because the kernel"), "{out}");
    assert_nothing_is_left(&place(&out));
}

#[tokio::test]
async fn with_a_kubeconfig_the_demo_joins_the_cluster_and_leaves_it() {
    let installed = Installed::new();
    let cluster = ControlPlane::start(Options::default()).await;
    let mut demo = installed.ctl(&As::Me);
    demo.arg("demo").env("KUBECONFIG", cluster.kubeconfig()).env("USER", "Ada.L");
    let output = tokio::task::spawn_blocking(move || demo.output().unwrap()).await.unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success() && err.is_empty(), "{out}\n{err}");
    assert!(out.contains("✓ virtual-kubelet   node interlink-demo-ada-l of the cluster"), "{out}");
    assert_nothing_is_left(&place(&out));
    for kind in ["nodes", "pods", "configmaps", "secrets"] {
        let left = cluster.kubectl().ok(["get", kind, "--namespace", "default", "-o", "name"]).await;
        assert!(!left.contains("demo"), "{left}");
    }
}
