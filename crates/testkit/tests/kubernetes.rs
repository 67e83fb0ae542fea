//! The control plane is a real one.

use std::time::{Duration, Instant};

use interlink_testkit::kubernetes::{ControlPlane, Options};
use interlink_testkit::wait;
use serde_json::json;

fn pod(name: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "main", "image": "busybox", "command": ["true"] }] },
    })
    .to_string()
}

#[tokio::test]
async fn a_pod_is_bound_to_the_healthy_node_and_everything_ends() {
    let begun = Instant::now();
    let plane = ControlPlane::start(Options::default()).await;
    println!("control plane up after {:?}", begun.elapsed());
    let node = plane.healthy_node("steady").await;
    println!("node ready after {:?}", begun.elapsed());
    let kubectl = plane.kubectl();

    kubectl.apply(&pod("first")).await;
    wait::until("the Pod to be bound", Duration::from_secs(20), async || {
        let pod = kubectl.json(["get", "pod", "first"]).await;
        if pod["spec"]["nodeName"] == node.name() { Ok(()) } else { Err(pod["status"].to_string()) }
    })
    .await;

    // killed and started again, the API server has its data
    plane.api_server().kill9();
    assert!(!kubectl.run(["get", "pod", "first"]).await.status.success());
    plane.api_server().start_again();
    plane.ready().await;
    kubectl.ok(["get", "pod", "first"]).await;

    let pids: Vec<u32> = [plane.etcd(), plane.api_server(), plane.controller_manager(), plane.scheduler()]
        .map(|daemon| daemon.pid())
        .into();
    drop(node);
    drop(plane);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
    }
}

#[tokio::test]
async fn a_node_without_renewal_becomes_not_ready_and_a_renewed_one_stays() {
    let plane = ControlPlane::start(Options {
        controller_manager_flags: vec!["--node-monitor-grace-period=8s".into(), "--node-monitor-period=1s".into()],
        ..Options::default()
    })
    .await;
    let steady = plane.healthy_node("steady").await;
    let dying = plane.healthy_node("dying").await;
    let ready = async |name: &str| {
        let query = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        plane.kubectl().ok(["get", "node", name, "-o", query]).await
    };
    assert_eq!((ready("steady").await, ready("dying").await), ("True".into(), "True".into()));
    drop(dying);
    wait::until("the Node to be given up", Duration::from_secs(40), async || {
        let status = ready("dying").await;
        if status == "Unknown" { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(ready("steady").await, "True");
    drop(steady);
}

#[tokio::test]
async fn the_rights_of_a_virtual_kubelet_are_those_of_the_chart() {
    let plane = ControlPlane::start(Options::default()).await;
    let kubeconfig = plane.virtual_kubelet_kubeconfig("vk").await;
    let kubectl = plane.kubectl_with(kubeconfig);
    for (verb, resource, allowed) in [
        ("create", "nodes", true),
        ("patch", "nodes/status", true),
        ("patch", "pods/status", true),
        ("delete", "pods", true),
        ("update", "leases.coordination.k8s.io", true),
        ("get", "secrets", true),
        ("create", "serviceaccounts/token", true),
        ("create", "events", true),
        ("create", "certificatesigningrequests.certificates.k8s.io", true),
        ("patch", "nodes", false),
        ("list", "nodes", false),
        ("create", "secrets", false),
        ("get", "persistentvolumeclaims", false),
        ("create", "tokenreviews.authentication.k8s.io", false),
        ("create", "subjectaccessreviews.authorization.k8s.io", false),
        ("update", "certificatesigningrequests.certificates.k8s.io/approval", false),
    ] {
        let (kind, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let output = kubectl.run(["auth", "can-i", verb, kind, "--subresource", sub, "-A"]).await;
        assert_eq!(output.status.success(), allowed, "{verb} {resource}: {output:?}");
    }
}
