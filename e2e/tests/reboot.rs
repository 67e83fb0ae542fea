//! The machine with the services reboots, and once its power fails: the chain comes up by itself and the pods run on.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, Options, UNITS};
use interlink_e2e::pods;
use interlink_testkit::kubernetes::{self, ControlPlane};
use interlink_testkit::slurm::{self, Cluster};

const SOON: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_comes_up_by_itself_and_the_pods_run_on() {
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let slurm = Cluster::start(slurm::Options { nodes: 1, cpus: 8, ..slurm::Options::default() }).await;
    let options = Options { cluster: Some(&cluster), slurm: Some(&slurm), ..Options::alone(Form::Rexec) };
    let mut deployed = Deployed::new(options).await;
    deployed.start().await;
    deployed.machine.systemctl(["enable", "test-sshd"].into_iter().chain(UNITS)).await;

    let kubectl = cluster.kubectl();
    let go = deployed.jobs().join("go");
    let script = format!("echo begun; while [ ! -e {} ]; do sleep 0.2; done; echo ended; exit 7", go.display());
    kubectl.apply(&pods::pod("early", &["/bin/sh", "-c", &script], true).to_string()).await;
    let before = pods::in_phase(kubectl, "early", &["Running"], SOON).await;

    // under ProtectSystem=strict as well, what must be the same tomorrow is kept
    let certificate = ["sh", "-c", "cd /var/lib/interlink && sha256sum kubelet-serving.pem"];
    let kept = deployed.machine.run(certificate).await;

    for cut in [false, true] {
        if cut {
            deployed.machine.power_cut().await;
        } else {
            deployed.machine.reboot().await;
        }
        deployed.answers().await;
        assert_eq!(deployed.machine.run(certificate).await, kept);
        let name = if cut { "after-power-cut" } else { "after-reboot" };
        kubectl.apply(&pods::pod(name, &["/bin/sh", "-c", "exit 0"], true).to_string()).await;
        pods::in_phase(kubectl, name, &["Succeeded"], SOON).await;
        let after = pods::get(kubectl, "early").await;
        assert_eq!(after["status"]["containerStatuses"], before["status"]["containerStatuses"], "{name}");
        for unit in UNITS {
            assert_eq!(deployed.machine.show(unit, "NRestarts").await, "0", "{}", deployed.machine.journal(unit).await);
        }
    }

    fs::write(&go, "").unwrap();
    let ended = pods::in_phase(kubectl, "early", &["Succeeded", "Failed"], SOON).await;
    assert_eq!(ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 7);
    assert_eq!(kubectl.ok(["logs", "early"]).await, "begun\nended\n");
    assert_eq!(slurm.submitted().await.len(), 3);
}
