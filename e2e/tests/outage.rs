//! What an outage means: status freezes, nothing is failed, evicted or cancelled, no new pod comes, and it heals.
//!
//! `INTERLINK_SOAK=1` cuts the tunnel for eight minutes, past Kubernetes' eviction after 300 s; otherwise for thirty seconds.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::{Link, Node, Site, node, pods, site};
use interlink_testkit::wait;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

fn condition<'a>(node: &'a Value, kind: &str) -> &'a Value {
    let conditions = node["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_tunnel_freezes_the_pods_and_keeps_new_ones_away() {
    let site = Site::start(site::Options::default()).await;
    let link = Link::start(&site).await;
    let cluster = Node::start(&link).await;
    let kubectl = cluster.kubectl();
    let script = format!("while [ ! -e {}/go ]; do sleep 0.2; done; exit 7", site.dir.path().display());
    for name in ["one", "two"] {
        kubectl.apply(&pods::pod(name, &["/bin/sh", "-c", &script], true).to_string()).await;
        pods::in_phase(kubectl, name, &["Running"], SOON).await;
    }
    let before = pods::get(kubectl, "one").await;

    link.tunnel.kill9();
    let seen = wait::until("the node to name the broken hop", SOON, async || {
        let node = kubectl.json(["get", "node", node::NODE, "-o", "json"]).await;
        if condition(&node, "InterlinkConnectivity")["status"] == "False" {
            Ok(node)
        } else {
            Err(node["status"].to_string())
        }
    })
    .await;
    assert_eq!(condition(&seen, "Ready")["status"], "True", "a failed ping never sets Ready=False");
    assert_eq!(condition(&seen, "NetworkUnavailable")["status"], "True");
    let message = condition(&seen, "InterlinkConnectivity")["message"].as_str().unwrap();
    assert!(message.contains("tunnel"), "{message}");
    wait::until("Kubernetes' own NoSchedule taint", SOON, async || {
        let node = kubectl.json(["get", "node", node::NODE, "-o", "json"]).await;
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let there =
            taints.iter().any(|t| t["key"] == "node.kubernetes.io/network-unavailable" && t["effect"] == "NoSchedule");
        if there { Ok(()) } else { Err(Value::from(taints).to_string()) }
    })
    .await;
    // A new pod is not bound, and one that is deleted meanwhile is not forgotten.
    kubectl.apply(&pods::pod("late", &["true"], true).to_string()).await;
    kubectl.ok(["delete", "pod", "two", "--wait=false"]).await;
    let soak = std::env::var_os("INTERLINK_SOAK").is_some();
    tokio::time::sleep(Duration::from_secs(if soak { 480 } else { 30 })).await;
    let during = pods::get(kubectl, "one").await;
    assert_eq!(during["status"], before["status"], "the status is frozen");
    assert!(during["metadata"]["deletionTimestamp"].is_null(), "nothing is evicted");
    assert!(pods::get(kubectl, "late").await["spec"]["nodeName"].is_null(), "nothing new is bound");
    assert!(!pods::get(kubectl, "two").await.is_null(), "a delete waits for the remote side's word");
    assert_eq!(site.slurm.jobs().await.iter().filter(|j| j.state() == "RUNNING").count(), 2, "no job is cancelled");

    link.tunnel.start_again();
    cluster.ready().await;
    pods::gone(kubectl, "two", SOON).await;
    pods::in_phase(kubectl, "late", &["Succeeded"], SOON).await;
    std::fs::write(site.dir.join("go"), "").unwrap();
    let ended = pods::in_phase(kubectl, "one", &["Failed"], SOON).await;
    assert_eq!(ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 7);
    assert_eq!(site.slurm.submitted().await.len(), 3, "one job a pod");
}
