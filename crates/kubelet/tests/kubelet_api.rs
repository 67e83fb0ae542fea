//! The kubelet API as a real kube-apiserver and kubectl use it.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are tests

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use interlink_kubelet::interlink::{InterlinkError, LogStream};
use interlink_kubelet::pod_table::{PodTable, Submission};
use interlink_kubelet::server::{
    Access, KubeletApi, LogSource, Review, Reviewer, Serving, Subject, SubjectAccessReviews, Tls, router, serve_tls,
};
use interlink_testkit::kubernetes::{ControlPlane, Options};
use interlink_testkit::wait;
use interlink_transport::{Endpoint, Listener};
use interlink_wire::{Fault, LogStruct, Object, PodUid};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const NODE: &str = "virtual";

/// Containers that say their own name and the options; `refused` has no output.
struct Echo;

#[async_trait::async_trait]
impl LogSource for Echo {
    async fn logs(&self, request: &LogStruct) -> Result<LogStream, InterlinkError> {
        if request.container_name == "refused" {
            return Err(InterlinkError::Refused(Fault::lasting("plugin", "gone", "its output was cleaned up")));
        }
        let line = format!("{} tail={}\n", request.container_name, request.opts.tail);
        Ok(futures_util::stream::iter([Ok(Bytes::from(line))]).boxed())
    }
}

/// kube-apiserver refuses to proxy to loopback addresses. Nothing is sent.
fn address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

#[tokio::test]
async fn kubectl_reads_logs_through_the_api_server() {
    let plane = ControlPlane::start(Options::default()).await;
    let kubectl = plane.kubectl();
    let serving = Serving::SelfSigned { node: NODE.into(), addresses: vec![address()], directory: None };
    let tls = Arc::new(Tls::new(serving, None).unwrap());
    // The authority that the cluster itself publishes for this purpose.
    let query = "jsonpath={.data.client-ca-file}";
    let authority = ["get", "configmap", "extension-apiserver-authentication", "-n", "kube-system", "-o", query];
    tls.set_client_ca(&kubectl.ok(authority).await).unwrap();

    let (table, shutdown) = (Arc::new(PodTable::new()), CancellationToken::new());
    let api = KubeletApi {
        node: NODE.into(),
        started: jiff::Timestamp::now(),
        pods: table.clone(),
        logs: Arc::new(Echo),
        shutdown: shutdown.clone(),
    };
    let listener = Listener::bind(&Endpoint::parse("http://0.0.0.0", "0").unwrap()).await.unwrap();
    let Endpoint::Tcp { port, .. } = *listener.endpoint() else { panic!("bound to TCP") };
    let router = router(Arc::new(api));
    let drain = Duration::from_secs(5);
    let server = tokio::spawn(serve_tls(listener, tls, Access::default(), router, shutdown.clone(), drain));

    kubectl.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}).to_string()).await;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": address().to_string()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    kubectl.ok(["patch", "node", NODE, "--subresource=status", "--type=merge", "-p", &status.to_string()]).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
        "nodeName": NODE, "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "app", "image": "x"}, {"name": "refused", "image": "x"}]}});
    kubectl.apply(&pod.to_string()).await;
    let pod = Object::from_value(kubectl.json(["get", "pod", "web"]).await).unwrap();
    let uid = PodUid::parse(pod.uid()).unwrap();
    table.apply(&uid, pod);
    table.update(&uid, |pod| pod.submission = Submission::Accepted);

    wait::until("the first logs", Duration::from_secs(20), async || {
        let output = kubectl.run(["logs", "web", "-c", "app"]).await;
        match String::from_utf8_lossy(&output.stdout).as_ref() {
            "app tail=0\n" => Ok(()),
            _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    })
    .await;
    assert_eq!(kubectl.ok(["logs", "web", "-c", "app", "--tail=7", "-f"]).await.trim(), "app tail=7");
    assert_eq!(kubectl.ok(["logs", "web", "-c", "app", "--tail=0"]).await.trim(), "");
    // The plugin's own sentence is what the user reads.
    let refused = kubectl.run(["logs", "web", "-c", "refused"]).await;
    let sentence = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && sentence.contains("plugin: its output was cleaned up"), "{sentence}");
    // Health checks, metrics collectors.
    let raw = async |path: &str| kubectl.ok(["get", "--raw", &format!("/api/v1/nodes/{NODE}/proxy{path}")]).await;
    assert_eq!(raw("/healthz").await, "ok");
    assert!(raw("/pods").await.contains(uid.as_str()));
    let summary: serde_json::Value = serde_json::from_str(&raw("/stats/summary").await).unwrap();
    assert_eq!(summary["node"]["nodeName"], NODE);

    reviews_follow_the_clusters_rules(&plane).await;
    shutdown.cancel();
    server.await.unwrap();
}

async fn reviews_follow_the_clusters_rules(plane: &ControlPlane) {
    let reader = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["nodes/stats"], "verbs": ["get"]}]});
    plane.kubectl().apply(&reader.to_string()).await;
    plane.kubectl().ok(["create", "clusterrolebinding", "readers", "--clusterrole=reader", "--group=friends"]).await;
    let subject = |group: &str| Subject { user: "jane".into(), groups: vec![group.into()] };

    let chart = reviewer(&plane.virtual_kubelet_kubeconfig("vk").await).await;
    assert_eq!(chart.review(&subject("friends"), "get", "stats").await, Review::NotGranted);
    wait::until("the authorizer to learn of the role", Duration::from_secs(20), async || {
        // A new one each time: answers are remembered.
        match reviewer(plane.kubeconfig()).await.review(&subject("friends"), "get", "stats").await {
            Review::Allowed => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let granted = reviewer(plane.kubeconfig()).await;
    assert_eq!(granted.review(&subject("friends"), "get", "proxy").await, Review::Denied);
    assert_eq!(granted.review(&subject("strangers"), "get", "stats").await, Review::Denied);
}

async fn reviewer(kubeconfig: &std::path::Path) -> SubjectAccessReviews {
    // The first of several is the one that counts.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    SubjectAccessReviews::new(kube::Client::try_from(config).unwrap(), NODE)
}
