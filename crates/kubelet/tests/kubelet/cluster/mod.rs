//! A virtual node in a real cluster, with the rights of the existing Helm chart, before a scripted API server.

mod site;

use std::time::Duration;

use interlink_testkit::kubernetes::Options;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use site::{FIRST, NODE, Site, pod, tolerating};

#[tokio::test]
async fn a_node_joins_runs_pods_and_comes_back() {
    let mut site = Site::start(Options::default()).await;
    the_node_is_what_it_should_be(&site).await;
    a_pod_runs_and_goes(&site).await;
    what_is_missing_is_named(&site).await;
    a_reload_takes_effect(&site).await;
    a_restart_loses_nothing_and_doubles_nothing(&mut site).await;
    what_others_say_of_node_and_pods_is_put_right(&site).await;
    a_deleted_node_is_made_again(&site).await;
    site.end().await;
}

async fn the_node_is_what_it_should_be(site: &Site) {
    site.node_condition("Ready", "True").await;
    site.node_condition("NetworkUnavailable", "False").await;
    site.node_condition("InterlinkConnectivity", "True").await;
    let node = site.kubectl().json(["get", "node", NODE]).await;
    assert_eq!(node["metadata"]["labels"]["virtual-node.interlink/type"], "virtual-kubelet");
    assert_eq!(node["metadata"]["labels"]["site"], "test");
    assert_eq!(node["spec"]["providerID"], format!("external:///{NODE}"));
    assert_eq!(node["spec"]["taints"][0]["key"], "virtual-node.interlink/no-schedule");
    assert_eq!(node["status"]["allocatable"]["cpu"], "8");
    assert!(
        node["metadata"]["annotations"]["interlink.virtual-kubelet.io/ping-response"].as_str().unwrap().contains("ok")
    );
    let lease = site.kubectl().json(["get", "lease", NODE, "-n", "kube-node-lease"]).await;
    assert_eq!((&lease["spec"]["leaseDurationSeconds"], &lease["spec"]["holderIdentity"]), (&json!(40), &json!(NODE)));
    assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);
    let health = site.kubectl().ok(["get", "--raw", &format!("/api/v1/nodes/{NODE}/proxy/healthz")]).await;
    assert_eq!(health, "ok");
}

async fn a_pod_runs_and_goes(site: &Site) {
    site.kubectl().apply(&tolerating(pod("web"))).await;
    let uid = site.submitted("web").await;
    site.shown("web", |pod| pod["metadata"]["annotations"]["JobID"] == "7").await;
    // What the user writes on the pod stays: the status is never written together with the object.
    site.kubectl().ok(["label", "pod", "web", "mine=kept"]).await;
    site.report(&uid, json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}));
    site.shown("web", |pod| pod["status"]["phase"] == "Running").await;
    site.kubectl().ok(["wait", "pod/web", "--for=condition=Ready", "--timeout=60s"]).await;
    site.report(&uid, json!({"terminated": {"exitCode": 0}}));
    site.shown("web", |pod| pod["status"]["phase"] == "Succeeded").await;
    let pod = site.kubectl().json(["get", "pod", "web"]).await;
    assert_eq!(pod["metadata"]["labels"]["mine"], "kept");
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    let request = site.api.script().bodies("/create")[0].clone();
    assert!(request["pod"]["metadata"].get("managedFields").is_none());
    // The ServiceAccount's token travels as a projected volume.
    let files = &request["projectedvolumesmaps"][0]["data"];
    assert!(files["token"].as_str().is_some_and(|t| t.len() > 100) && files["ca.crt"].is_string(), "{request}");
    for reason in ["Submitted", "Started", "Completed"] {
        site.event("web", reason, "").await;
    }
    // Kubernetes removes a pod that has ended at once, without waiting for anybody.
    site.kubectl().ok(["delete", "pod", "web", "--timeout=60s"]).await;
    site.until("its job to be ended", |site| !site.api.script().jobs.contains_key(&uid)).await;
}

async fn what_is_missing_is_named(site: &Site) {
    let mut needy = pod("needy");
    needy["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
    site.kubectl().apply(&tolerating(needy)).await;
    site.event("needy", "CreateContainerConfigError", "settings").await;
    site.shown("needy", |pod| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    })
    .await;
    site.kubectl().ok(["create", "configmap", "settings", "--from-literal=A=1"]).await;
    site.submitted("needy").await;

    site.kubectl().apply(&pod("stranger").to_string()).await;
    site.event("stranger", "MissingToleration", "key: virtual-node.interlink/no-schedule, operator: Exists").await;
    site.kubectl().ok(["delete", "pod", "stranger", "needy", "--timeout=60s"]).await;
}

async fn a_reload_takes_effect(site: &Site) {
    let pid = site.kubelet.pid();
    site.configure("NodeLabels: {site: elsewhere}\nResources: {CPU: 12}\n");
    site.kubelet.signal(Signal::SIGHUP);
    site.until_node("the new label and capacity", |node| {
        node["metadata"]["labels"]["site"] == "elsewhere" && node["status"]["capacity"]["cpu"] == "12"
    })
    .await;
    site.configure("NodeLabels: 7\n");
    site.kubelet.signal(Signal::SIGHUP);
    site.until("the mistake to be named", |s| s.kubelet.log().contains("key NodeLabels")).await;
    assert!(site.kubelet.is_running() && site.kubelet.pid() == pid);
    site.configure(FIRST);
}

async fn a_restart_loses_nothing_and_doubles_nothing(site: &mut Site) {
    for name in ["stays", "goes", "forced"] {
        site.kubectl().apply(&tolerating(pod(name))).await;
    }
    let mut uids = Vec::new();
    for name in ["stays", "goes", "forced"] {
        let uid = site.submitted(name).await;
        site.report(&uid, json!({"running": {}}));
        site.shown(name, |pod| pod["status"]["phase"] == "Running").await;
        uids.push(uid);
    }
    site.kubelet.kill9();
    site.kubectl().ok(["delete", "pod", "goes", "--wait=false"]).await;
    site.kubectl().ok(["delete", "pod", "forced", "--grace-period=0", "--force"]).await;
    site.kubelet.start_again();
    site.gone("goes").await;
    site.until("the job of the forced pod to end", |s| !s.api.script().jobs.contains_key(&uids[2])).await;
    site.report(&uids[0], json!({"terminated": {"exitCode": 2}}));
    site.shown("stays", |pod| pod["status"]["phase"] == "Failed").await;
    assert!(uids.iter().all(|uid| site.api.script().made[uid] == 1));
    site.kubectl().ok(["delete", "pod", "stays", "--timeout=60s"]).await;
}

/// As the node lifecycle controller does when the API server has not heard of the node for 40 s.
async fn what_others_say_of_node_and_pods_is_put_right(site: &Site) {
    site.kubectl().apply(&tolerating(pod("judged"))).await;
    let uid = site.submitted("judged").await;
    site.report(&uid, json!({"running": {}}));
    let ready = |pod: &Value, status: &str| {
        let all = pod["status"]["conditions"].as_array();
        all.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == status)
    };
    site.shown("judged", |pod| ready(pod, "True")).await;
    let unready = r#"{"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]}}"#;
    let unknown =
        r#"{"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}}"#;
    for (kind, name, patch) in [("pod", "judged", unready), ("node", NODE, unknown)] {
        site.kubectl().ok(["patch", kind, name, "--subresource=status", "--type=strategic", "-p", patch]).await;
    }
    site.node_condition("Ready", "True").await;
    site.shown("judged", |pod| ready(pod, "True")).await;
    site.kubectl().ok(["delete", "pod", "judged", "--timeout=60s"]).await;
}

async fn a_deleted_node_is_made_again(site: &Site) {
    let uid = site.kubectl().json(["get", "node", NODE]).await["metadata"]["uid"].clone();
    site.kubectl().ok(["delete", "node", NODE]).await;
    site.node_condition("Ready", "True").await;
    let node = site.kubectl().json(["get", "node", NODE]).await;
    assert_ne!(node["metadata"]["uid"], uid);
    assert_eq!(site.kubelet.terminate(Duration::from_secs(30)).await.code(), Some(0));
    // It leaves the node as it is.
    site.kubectl().ok(["get", "node", NODE]).await;
}

/// Pods on a node that is not ready, or not heard of, are deleted after three seconds here; by default, after 300.
#[tokio::test]
async fn an_outage_keeps_new_pods_away_and_deletes_none() {
    let toleration = |what: &str| format!("--default-{what}-toleration-seconds=3");
    let options = Options {
        api_server_flags: vec![toleration("not-ready"), toleration("unreachable")],
        controller_manager_flags: vec!["--node-monitor-grace-period=20s".into()],
        ..Options::default()
    };
    let mut site = Site::start(options).await;
    let _other = site.plane.healthy_node("healthy").await;
    site.node_condition("Ready", "True").await;
    site.kubectl().apply(&tolerating(pod("before"))).await;
    let uid = site.submitted("before").await;
    site.report(&uid, json!({"running": {}}));
    site.shown("before", |pod| pod["status"]["phase"] == "Running").await;
    let ready_since = site.ready_since().await;

    site.api.down().await;
    site.node_condition("NetworkUnavailable", "True").await;
    site.node_condition("InterlinkConnectivity", "False").await;
    let node = site.kubectl().json(["get", "node", NODE]).await;
    let words =
        node["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "InterlinkConnectivity").unwrap();
    assert!(words["message"].as_str().unwrap().contains("api is down since"), "{words}");
    site.until_node("Kubernetes' own taint", |node| {
        node.to_string().contains("node.kubernetes.io/network-unavailable")
    })
    .await;
    site.kubectl().apply(&tolerating(pod("during"))).await;
    // Longer than the grace period of the node's heartbeat and the tolerations together.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(site.ready_since().await, ready_since, "Ready did not move");
    let during = site.kubectl().json(["get", "pod", "during"]).await;
    assert!(during["spec"].get("nodeName").is_none(), "no new pod is bound");
    let before = site.kubectl().json(["get", "pod", "before"]).await;
    assert_eq!((&before["status"]["phase"], before["metadata"].get("deletionTimestamp")), (&json!("Running"), None));

    site.api.up().await;
    site.node_condition("NetworkUnavailable", "False").await;
    site.submitted("during").await;
    assert!(site.api.script().bodies("/delete").is_empty(), "no job was cancelled");
    site.kubelet.signal(Signal::SIGTERM);
    site.end().await;
}
