//! A pod as a Slurm job, with every program under its unit's hardening.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, Options, UNITS};
use interlink_e2e::pods;
use interlink_testkit::kubernetes::{self, ControlPlane};
use interlink_testkit::slurm::{self, Cluster};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_as_a_slurm_job_and_has_nothing_of_the_units_sandbox() {
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let slurm = Cluster::start(slurm::Options { nodes: 1, cpus: 8, ..slurm::Options::default() }).await;
    let options = Options { form: Form::Rsock, cluster: Some(&cluster), slurm: Some(&slurm) };
    let deployed = Deployed::new(options).await;
    deployed.start().await;
    for (unit, pid) in UNITS.into_iter().zip(deployed.pids().await) {
        let status = deployed.machine.run(["cat", &format!("/proc/{pid}/status")]).await;
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{unit}: {status}");
    }

    let kubectl = cluster.kubectl();
    let script = "echo here; env; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; umask";
    kubectl.apply(&pods::pod("plain", &["/bin/sh", "-c", script], true).to_string()).await;
    pods::in_phase(kubectl, "plain", &["Succeeded"], SOON).await;
    let log = kubectl.ok(["logs", "plain"]).await;
    assert!(log.starts_with("here\n"), "{log}");
    for leaked in ["NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_", "INVOCATION_ID", "RUNTIME_DIRECTORY", "KUBECONFIG"] {
        assert!(!log.contains(leaked), "{leaked} in {log}");
    }
    assert!(log.contains("NoNewPrivs:\t0") && log.contains("Seccomp:\t0"), "{log}");
    let umask = log.lines().next_back().unwrap_or_default();
    assert_eq!(umask, "0022", "a person's own, not the unit's 0077: {log}");

    kubectl.apply(&pods::pod("long", &["sleep", "3600"], true).to_string()).await;
    let running = pods::in_phase(kubectl, "long", &["Running"], SOON).await;
    deployed.machine.systemctl(["restart", UNITS[3]]).await;
    deployed.answers().await;
    let after = pods::in_phase(kubectl, "long", &["Running"], SOON).await;
    assert_eq!(after["status"]["containerStatuses"], running["status"]["containerStatuses"]);
    kubectl.ok(["delete", "pod", "long", "--wait=false"]).await;
    pods::gone(kubectl, "long", SOON).await;
}
