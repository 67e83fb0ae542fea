//! The seed's test pod on real Kubernetes, Slurm and sshd: scheduled, run, read, failed, deleted.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::{Link, Node, Site, pods, site};
use interlink_testkit::wait;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_as_a_slurm_job_and_is_read_failed_and_deleted() {
    let site = Site::start(site::Options::default()).await;
    let link = Link::start(&site).await;
    let node = Node::start(&link).await;
    let kubectl = node.kubectl();

    // Without the toleration the pod stays Pending, and an Event says what is missing.
    kubectl.apply(&pods::pod("intolerant", &["sleep", "3600"], false).to_string()).await;

    // The seed's pod.
    kubectl.apply(&pods::pod("test-tunnel", &["sleep", "3600"], true).to_string()).await;
    let running = pods::in_phase(kubectl, "test-tunnel", &["Running"], SOON).await;
    assert_eq!(running["spec"]["nodeName"], interlink_e2e::node::NODE);
    let wide = kubectl.ok(["get", "pod", "test-tunnel", "-o", "wide"]).await;
    assert!(wide.contains("1/1") && wide.contains("Running") && wide.contains(interlink_e2e::node::NODE), "{wide}");
    let uid = running["metadata"]["uid"].as_str().unwrap().to_owned();
    let jid = wait::until("the JobID annotation", SOON, async || {
        let pod = pods::get(kubectl, "test-tunnel").await;
        pod["metadata"]["annotations"]["JobID"].as_str().map(str::to_owned).ok_or("none")
    })
    .await;
    let job = site.slurm.job_in_state(&jid, &["RUNNING"], SOON).await;
    assert_eq!(job.name(), uid, "the job is named after the pod");
    assert!(site.job_dir(&uid).join("create.json").exists());

    // Logs, followed while they are written.
    let script = "for i in 1 2 3; do echo line $i; sleep 1; done";
    kubectl.apply(&pods::pod("talker", &["/bin/sh", "-c", script], true).to_string()).await;
    pods::in_phase(kubectl, "talker", &["Running", "Succeeded"], SOON).await;
    assert_eq!(kubectl.ok(["logs", "-f", "talker"]).await, "line 1\nline 2\nline 3\n");
    assert_eq!(kubectl.ok(["logs", "--tail=1", "talker"]).await, "line 3\n");
    pods::in_phase(kubectl, "talker", &["Succeeded"], SOON).await;

    // A failing pod shows its own exit code and reason.
    kubectl.apply(&pods::pod("failing", &["/bin/sh", "-c", "echo sorry; exit 42"], true).to_string()).await;
    let failed = pods::in_phase(kubectl, "failing", &["Failed"], SOON).await;
    let ended = &failed["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((ended["exitCode"].as_i64(), ended["reason"].as_str()), (Some(42), Some("Error")), "{failed}");
    assert_eq!(kubectl.ok(["logs", "failing"]).await, "sorry\n");

    // Deleting cancels the job and cleans its directory.
    kubectl.ok(["delete", "pod", "test-tunnel", "--wait=false"]).await;
    site.slurm.job_in_state(&jid, &["CANCELLED", "FAILED", "COMPLETED"], SOON).await;
    pods::gone(kubectl, "test-tunnel", SOON).await;
    wait::until("the job directory to be cleaned", SOON, async || {
        if site.job_dir(&uid).exists() { Err("still there") } else { Ok(()) }
    })
    .await;

    let said = pods::event(kubectl, "intolerant", "virtual-node.interlink/no-schedule", SOON).await;
    assert!(said.contains("toleration"), "{said}");
    assert_eq!(pods::get(kubectl, "intolerant").await["status"]["phase"], "Pending");
}
