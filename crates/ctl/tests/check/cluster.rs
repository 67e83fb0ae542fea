//! The same with a real control plane.

use interlink_testkit::kubernetes::{ControlPlane, Options};
use serde_json::json;

use crate::chain::{Chain, Plan};

fn joined(kubeconfig: &std::path::Path, pod_ip: &str) -> Plan {
    Plan {
        kubeconfig: Some(kubeconfig.to_owned()),
        kubelet: "NodeName: interlink-node\n".to_owned(),
        pod_ip: Some(pod_ip.to_owned()),
        ..Plan::default()
    }
}

/// An address of this machine beyond loopback: the API server calls no kubelet on loopback. Nothing is sent.
pub(crate) fn own_address() -> String {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").unwrap();
    socket.local_addr().unwrap().ip().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_is_part_of_the_chain() {
    let cluster = ControlPlane::start(Options {
        controller_manager_flags: vec!["--node-monitor-grace-period=10s".to_owned()],
        ..Options::default()
    })
    .await;
    let own = cluster.virtual_kubelet_kubeconfig("check").await;
    std::fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut chain = Chain::start(joined(&own, &own_address())).await;
    let report = chain
        .until("a healthy chain with a node", |report| {
            report.code == Some(0) && report.text.contains("InterlinkConnectivity=True")
        })
        .await;
    assert!(report.steps.iter().all(|step| step["warning"].is_null()), "{}", report.text);
    assert!(report.step("kubelet port", "kubernetes")["skipped"].as_str().unwrap().contains("nodes/proxy"));

    // An administrator may ask more, and is told that a kubelet needs less.
    chain.kubeconfig = Some(cluster.kubeconfig().to_owned());
    let report = chain.until("the kubelet's port", |report| report.code == Some(0)).await;
    assert!(report.step("rights", "kubernetes")["cause"].as_str().unwrap().contains("administrator's rights"));
    assert!(report.step("kubelet port", "kubernetes")["latency_ms"].as_f64().is_some(), "{}", report.text);

    // A pod as a user of the cluster runs it; without the right to make one, as the kubelet hands it over.
    let report = chain.check_with(&["--deep"]);
    let step = report.step("test pod", "kubernetes");
    assert!(step["seen"].as_str().unwrap_or_default().ends_with("and its log came back"), "{}", report.text);
    chain.kubeconfig = Some(own);
    let without_create =
        r#"[{"op": "replace", "path": "/rules/8/verbs", "value": ["delete", "get", "list", "patch", "watch"]}]"#;
    cluster.kubectl().ok(["patch", "clusterrole", "virtual-kubelet", "--type=json", "-p", without_create]).await;
    let report =
        chain.until_with(&["--deep"], "a pod past Kubernetes", |report| report.text.contains("past Kubernetes")).await;
    let seen = report.step("test pod", "api")["seen"].as_str().unwrap_or_default();
    assert!(seen.contains("this kubeconfig may not create pods"), "{}", report.text);
    let left = cluster.kubectl().ok(["get", "pods", "-A", "-o", "name"]).await;
    assert!(!left.contains("interlink-check"), "{left}");
    chain.kubeconfig = Some(cluster.kubeconfig().to_owned());

    // The walkthrough's test pod without the toleration.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stuck", "namespace": "default"},
        "spec": {"nodeSelector": {"kubernetes.io/hostname": "interlink-node"}, "containers": [{"name": "c", "image": "i"}]}});
    cluster.kubectl().apply(&pod.to_string()).await;
    let report = chain.until("the missing toleration", |report| report.text.contains("waits for ever")).await;
    let step = report.step("tolerations", "kubernetes");
    assert!(step["cause"].as_str().unwrap().contains("default/stuck"), "{step}");
    assert!(step["remedy"].as_str().unwrap().contains("{key: virtual-node.interlink/no-schedule, operator: Exists}"));

    chain.sshd.daemon().kill9();
    chain.sshd.kill_sessions();
    let report = chain
        .until("the outage on the node", |report| {
            report.step("connectivity", "kubernetes")["follows_from"] == "ssh connection"
        })
        .await;
    assert_eq!(report.step("node ready", "kubernetes")["ok"], true, "an outage of the chain keeps the node Ready");
    chain.sshd.restart().await;

    chain.kubelet.kill9();
    let report = chain
        .until("the node that nobody keeps", |report| report.step("node ready", "kubernetes")["ok"] == false)
        .await;
    let step = report.step("node ready", "kubernetes");
    assert!(step["cause"].as_str().unwrap().contains("is NotReady: Kubernetes has not heard"), "{step}");
    assert_eq!(report.code, Some(1), "a node that is NotReady is no warning");
    assert_eq!(report.step("node ready", "kubernetes")["follows_from"], "process");

    let output = chain.command().args(["--nodename", "other", "--json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("there is no node other"));
    cluster.api_server().kill9();
    let report = chain.check();
    assert!(report.step("api server", "kubernetes")["cause"].as_str().unwrap().contains("can't be asked for"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_that_the_api_server_cannot_reach_is_named() {
    let cluster = ControlPlane::start(Options::default()).await;
    // An address of documentation (RFC 5737) is nobody's.
    let chain = Chain::start(joined(cluster.kubeconfig(), "203.0.113.1")).await;
    chain.names("kubelet port", "kubernetes", "does not reach the kubelet's port (203.0.113.1:", "set POD_IP").await;
}
