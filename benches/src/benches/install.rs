//! `install.ready_s`: from `interlinkctl install` to a Ready node.
//!
//! ```text
//!   a fresh machine { systemd, sshd } ── interlinkctl install, both ends at once ──▶ kube-apiserver: node Ready
//! ```
//!
//! Every round has a machine of its own, with the root file system that `INTERLINK_ROOT` names, else this machine's. The
//! machine behind SSH is the same one, reached by its sshd as any other would be.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use interlink_testkit::kubernetes::{self, ControlPlane};
use interlink_testkit::systemd::{self, Machine};
use interlink_testkit::{binaries, ports};
use tokio::time::sleep;

use crate::bench::Bench;
use crate::figure::{Better, Figure};

pub(crate) const BENCH: Bench = Bench {
    figures: &[READY],
    about: "one interlinkctl install of both ends on a fresh machine, until the node is Ready",
    programs: &["virtual-kubelet", "interlink", "ssh-tunnel", "interlink-plugin", "interlinkctl"],
    run: || Box::pin(run()),
};

const READY: &str = "install.ready_s";
const LIMIT: &str = "the limit";

const ROUNDS: usize = 3;
/// s: a tenth of the ten minutes in which an operator gets there; the others are for reading.
const READY_WITHIN: f64 = 60.0;
/// When nothing more is to be expected.
const GIVEN_UP: Duration = Duration::from_secs(120);
/// Where the release is unpacked.
const PROGRAMS: &str = "/srv/interlink";

async fn run() -> anyhow::Result<Vec<Figure>> {
    let root = std::env::var_os("INTERLINK_ROOT").map(PathBuf::from);
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let took = ready(root.clone()).await?;
        eprintln!("  round {round} of {ROUNDS}: {took:.1} s");
        rounds.push((took, READY_WITHIN));
    }
    Ok(vec![Figure::of_rounds(READY, "s", Better::Lower, LIMIT, &rounds)])
}

/// Seconds, in a world of its own.
async fn ready(root: Option<PathBuf>) -> anyhow::Result<f64> {
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let port = ports::free_port();
    let machine = machine(&cluster, root, port).await;
    let (admin, kubelet_port) = (cluster.kubeconfig().display().to_string(), ports::free_port().to_string());
    let target = format!("root@127.0.0.1:{port}");
    let program = format!("{PROGRAMS}/interlinkctl");
    let install = [&program, "install", "--role", "local", "--kubeconfig", &admin, "--kubelet-port", &kubelet_port];

    let begun = Instant::now();
    let output = machine.output(install.into_iter().chain(["--scheduler", "local", "--remote", &target])).await;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "interlinkctl install: {said}{error}");
    let installed = begun.elapsed();
    let path = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
    while cluster.kubectl().ok(["get", "nodes", "-o", path]).await != "True" {
        ensure!(begun.elapsed() < GIVEN_UP, "no node is Ready after {GIVEN_UP:?}; install said: {said}");
        sleep(Duration::from_millis(20)).await;
    }
    let took = begun.elapsed();
    eprintln!("  installed after {:.1} s", installed.as_secs_f64());
    answers(&machine).await.with_context(|| format!("install said: {said}"))?;
    Ok(took.as_secs_f64())
}

/// A node is Ready before the way to the plugin is open: the figure is of a chain that came to work.
async fn answers(machine: &Machine) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let output = machine.output([&format!("{PROGRAMS}/interlinkctl"), "check"]).await;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(begun.elapsed() < GIVEN_UP, "the chain does not come to work: {said}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// A machine with sshd as its packages bring it, on that port, which lets root log in from itself.
async fn machine(cluster: &ControlPlane, root: Option<PathBuf>, port: u16) -> Machine {
    let bin = binaries::path("interlinkctl").parent().expect("a file is in a folder").to_owned();
    let kubeconfig = cluster.kubeconfig().parent().expect("a file is in a folder").to_owned();
    let binds = vec![(bin, PathBuf::from(PROGRAMS)), (kubeconfig.clone(), kubeconfig)];
    let machine = Machine::start(systemd::Options { root, binds, ..systemd::Options::default() }).await;
    machine.run(["ssh-keygen", "-A"]).await;
    let config = format!(
        "Include /etc/ssh/sshd_config.d/*.conf\nPort {port}\nListenAddress 127.0.0.1\nUsePAM no\nSubsystem sftp /usr/lib/openssh/sftp-server\n"
    );
    machine.write("/etc/ssh/sshd_config", config, 0o644);
    machine.systemctl(["start", "ssh"]).await;
    machine.run(["mkdir", "-p", "-m", "700", "/root/.ssh"]).await;
    machine.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519"]).await;
    machine.run(["cp", "/root/.ssh/id_ed25519.pub", "/root/.ssh/authorized_keys"]).await;
    machine.write("/root/.ssh/config", "StrictHostKeyChecking accept-new\n", 0o600);
    machine
}
