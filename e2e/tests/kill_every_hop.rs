//! Twenty pods in flight while every hop is killed with SIGKILL, one after the other: nothing lost, nothing doubled.
//!
//! `INTERLINK_SOAK=1` kills every hop a hundred times; otherwise twice.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use interlink_e2e::{Link, Node, Site, pods, site};
use interlink_testkit::kubernetes::Kubectl;
use interlink_testkit::wait;
use serde_json::Value;

const PODS: usize = 20;

/// The pods of this test, by name.
async fn all(kubectl: &Kubectl) -> BTreeMap<String, Value> {
    let list = kubectl.json(["get", "pods", "-o", "json"]).await;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().map(|pod| (pod["metadata"]["name"].as_str().unwrap().to_owned(), pod)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_pods_survive_sigkill_of_every_hop() {
    let site = Site::start(site::Options::default()).await;
    let link = Link::start(&site).await;
    let node = Node::start(&link).await;
    let kubectl = node.kubectl();

    // Each pod ends by itself with its own exit code, after the last hop was killed.
    for i in 0..PODS {
        let script =
            format!("echo pod {i}; while [ ! -e {}/go ]; do sleep 0.2; done; exit {i}", site.dir.path().display());
        kubectl.apply(&pods::pod(&format!("p{i:02}"), &["/bin/sh", "-c", &script], true).to_string()).await;
    }
    let uids: BTreeMap<String, String> = all(kubectl)
        .await
        .into_iter()
        .map(|(name, pod)| (name, pod["metadata"]["uid"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(uids.len(), PODS);

    // At once, while creates and first statuses are still under way.
    for hop in [&node.kubelet, &link.api, &link.tunnel] {
        hop.kill9();
        tokio::time::sleep(Duration::from_millis(700)).await;
        hop.start_again();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    site.sshd.kill_sessions();
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.plugin.kill9();
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.plugin.start_again();

    wait::until("all pods to run", Duration::from_secs(120), async || {
        let pods = all(kubectl).await;
        let running = pods.values().filter(|p| p["status"]["phase"] == "Running").count();
        if running == PODS { Ok(()) } else { Err(format!("{running} of {PODS} run")) }
    })
    .await;

    // Again, in the other order, while they run.
    let rounds = if std::env::var_os("INTERLINK_SOAK").is_some() { 99 } else { 1 };
    for round in 0..rounds {
        for hop in [&site.plugin, &link.tunnel, &link.api, &node.kubelet] {
            hop.kill9();
            hop.start_again();
            tokio::time::sleep(Duration::from_millis(round * 37 % 1000)).await;
        }
        site.sshd.kill_sessions();
    }
    link.answers().await;
    std::fs::write(site.dir.join("go"), "").unwrap();

    let ended = wait::until("all pods to end", Duration::from_secs(120), async || {
        let pods = all(kubectl).await;
        let ended =
            pods.values().filter(|p| matches!(p["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))).count();
        if ended == PODS { Ok(pods) } else { Err(format!("{ended} of {PODS} ended")) }
    })
    .await;
    for (i, (name, pod)) in ended.iter().enumerate() {
        let code = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
        assert_eq!(code.as_u64(), Some(i as u64), "{name}: {}", pod["status"]);
        assert_eq!(
            pod["metadata"]["uid"].as_str(),
            Some(uids[name].as_str()),
            "{name} was neither evicted nor made again"
        );
        assert!(pod["metadata"]["deletionTimestamp"].is_null(), "{name}");
    }
    let jobs = site.slurm.submitted().await;
    assert_eq!(jobs.len(), PODS, "Slurm has seen {jobs:?}");
}
