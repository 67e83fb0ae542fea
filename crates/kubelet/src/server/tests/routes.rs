//! The other paths.

use std::time::Duration;

use http::Method;
use interlink_transport::{Call, Client, Endpoint, Listener, serve};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::{Access, KubeletApi, router};
use super::authority::get;
use super::next_hop::{Stage, UID};
use crate::pod_table::PodTable;

#[tokio::test]
async fn the_pods_of_the_table_are_listed() {
    let stage = Stage::set(Access::default()).await;
    let uid = stage.add_pod();
    let api_server = stage.api_server();
    let list = async |path: &str| -> Value {
        serde_json::from_str(&get(stage.port, path, Some(&api_server)).await.unwrap().body).unwrap()
    };
    for path in ["/pods", "/runningpods/", "/runningpods"] {
        let pods = list(path).await;
        assert_eq!((pods["kind"].as_str(), pods["items"][0]["metadata"]["uid"].as_str()), (Some("PodList"), Some(UID)));
        assert!(pods["items"][0]["metadata"].get("managedFields").is_none());
    }
    let summary = list("/stats/summary").await;
    let expected = json!({
        "node": {"nodeName": "site", "startTime": "2026-01-31T12:00:00Z"},
        "pods": [{"podRef": {"name": "web", "namespace": "shop", "uid": UID}, "startTime": "2026-01-31T12:30:00Z",
            "containers": [{"name": "app", "startTime": "2026-01-31T12:31:00Z"}]}]});
    assert_eq!(summary, expected);
    // Our own status counts, not the one that Kubernetes last had.
    stage.pods.update(&uid, |pod| pod.status = Some(std::sync::Arc::new(json!({"phase": "Succeeded"}))));
    assert_eq!(list("/pods").await["items"][0]["status"], json!({"phase": "Succeeded"}));
    assert_eq!(list("/runningpods/").await["items"], json!([]));
    assert_eq!(list("/stats/summary").await["pods"], json!([]));
    stage.clear().await;
}

#[tokio::test]
async fn standalone_the_same_paths_are_on_a_private_socket() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::unix(&dir.path().join("kubelet.sock")).unwrap();
    let shutdown = CancellationToken::new();
    let pods = std::sync::Arc::new(PodTable::new());
    let logs = std::sync::Arc::new(crate::interlink::Client::new(
        endpoint.clone(),
        crate::interlink::Caller { node: "site".into(), token_file: None },
    ));
    let started = jiff::Timestamp::now();
    let api = KubeletApi { node: "site".into(), started, pods, logs, shutdown: shutdown.clone() };
    let listener = Listener::bind(&endpoint).await.unwrap();
    let router = router(std::sync::Arc::new(api));
    let server = tokio::spawn(serve(listener, router, shutdown.clone(), Duration::from_secs(1)));
    let client = Client::new(endpoint);
    let cases = [
        (Method::GET, "/healthz", 200, "ok"),
        (Method::GET, "/metrics/resource", 200, "# usage is not measured on this node\n"),
        (Method::GET, "/pods", 200, "{\"apiVersion\":\"v1\",\"items\":[],\"kind\":\"PodList\",\"metadata\":{}}"),
        (Method::GET, "/nonsense", 404, "this node's kubelet API has no /nonsense\n"),
        (Method::GET, "/metrics/cadvisor", 404, "this node's kubelet API has no /metrics/cadvisor\n"),
        (Method::POST, "/pods", 405, "/pods is not asked with this method\n"),
        (Method::GET, "/run/a/b/c", 405, "/run/a/b/c is not asked with this method\n"),
        (Method::POST, "/exec/a/b/c", 501, "exec is not supported on this virtual node; only logs are\n"),
        (Method::GET, "/exec/a/b/uid/c", 501, "exec is not supported on this virtual node; only logs are\n"),
        (Method::POST, "/attach/a/b/c", 501, "attach is not supported on this virtual node; only logs are\n"),
        (Method::POST, "/portForward/a/b", 501, "portForward is not supported on this virtual node; only logs are\n"),
        (Method::POST, "/run/a/b/c", 501, "run is not supported on this virtual node; only logs are\n"),
    ];
    for (method, path, status, body) in cases {
        let answer = client.send(Call::new(method, path, "")).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.bytes(1000, Duration::from_secs(5)).await.unwrap(), body, "{path}");
    }
    shutdown.cancel();
    server.await.unwrap();
}
