//! From an earlier build to this one and back, while pods run: none of them notices.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, Options, UNITS};
use interlink_e2e::pods;
use interlink_testkit::binaries;
use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::{self, ControlPlane, Kubectl};
use interlink_testkit::slurm::{self, Cluster};
use interlink_testkit::wait;
use serde_json::Value;

const PODS: usize = 10;
const SOON: Duration = Duration::from_secs(90);
const PROGRAMS: [&str; 4] = ["virtual-kubelet", "interlink", "ssh-tunnel", "interlink-plugin"];

/// The programs of an earlier commit.
fn previous() -> PathBuf {
    let script = binaries::workspace().join("scripts/previous");
    let said = std::process::Command::new(script).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    PathBuf::from(String::from_utf8(said.stdout).unwrap().trim())
}

/// As a package manager does it: each file is there, whole, the old or the new one.
fn put(programs: &Path, bin: &Path) {
    for program in PROGRAMS {
        let new = bin.join(format!(".{program}.new"));
        fs::copy(programs.join(program), &new).unwrap();
        fs::rename(new, bin.join(program)).unwrap();
    }
}

/// What must not change while a pod runs.
async fn running(kubectl: &Kubectl) -> Vec<(Value, Value, Value)> {
    let mut seen = Vec::new();
    for pod in 0..PODS {
        let pod = pods::in_phase(kubectl, &format!("p{pod}"), &["Running"], SOON).await;
        let container = &pod["status"]["containerStatuses"][0];
        assert_eq!(container["restartCount"], 0, "{container}");
        assert!(container["state"]["running"].is_object(), "{container}");
        seen.push((pod["metadata"]["uid"].clone(), pod["metadata"]["annotations"].clone(), container["state"].clone()));
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_pods_run_on_through_an_upgrade_and_the_way_back() {
    let bin = TestDir::new();
    put(&previous(), bin.path());
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let slurm = Cluster::start(slurm::Options { nodes: 1, cpus: 16, ..slurm::Options::default() }).await;
    let options = Options { cluster: Some(&cluster), slurm: Some(&slurm), ..Options::alone(Form::Rexec) };
    let deployed = Deployed::with_programs(options, bin.path()).await;
    deployed.start().await;

    let kubectl = cluster.kubectl();
    let go = deployed.jobs().join("go");
    for i in 0..PODS {
        let script = format!("n=0; while [ ! -e {} ]; do n=$((n+1)); echo $n; sleep 0.1; done; exit {i}", go.display());
        kubectl.apply(&pods::pod(&format!("p{i}"), &["/bin/sh", "-c", &script], true).to_string()).await;
    }
    let before = running(kubectl).await;

    for programs in [binaries::path("interlink").parent().unwrap().to_owned(), previous()] {
        put(&programs, bin.path());
        for unit in UNITS {
            deployed.machine.systemctl(["restart", unit]).await;
            let process = deployed.machine.show(unit, "MainPID").await;
            let started = deployed.machine.run(["readlink", &format!("/proc/{process}/exe")]).await;
            assert!(!started.contains("deleted"), "{unit} runs {started}");
        }
        deployed.answers().await;
        assert_eq!(running(kubectl).await, before, "after {}", programs.display());
    }

    fs::write(&go, "").unwrap();
    for i in 0..PODS {
        let name = format!("p{i}");
        let pod = pods::in_phase(kubectl, &name, &["Succeeded", "Failed"], SOON).await;
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(ended["exitCode"].as_u64(), Some(i as u64), "{name}: {ended}");
        let log = wait::until("the whole log", SOON, async || {
            let output = kubectl.run(["logs", &name]).await;
            if output.status.success() {
                Ok(output.stdout)
            } else {
                Err(String::from_utf8_lossy(&output.stderr).into_owned())
            }
        })
        .await;
        let lines: Vec<String> = String::from_utf8(log).unwrap().lines().map(str::to_owned).collect();
        let counted: Vec<String> = (1..=lines.len()).map(|n| n.to_string()).collect();
        assert!(lines.len() > 1 && lines == counted, "{name}: {lines:?}");
    }
    let jobs = slurm.submitted().await;
    assert_eq!(jobs.len(), PODS, "Slurm has seen {jobs:?}");
}
