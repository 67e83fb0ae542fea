//! The paths of the kubelet API.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, Uri, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::logs::{LogSource, container_logs, say};
use super::stats;
use crate::pod_table::{KnownPod, PodTable};

/// What the handlers need.
pub struct KubeletApi {
    /// Name of the node.
    pub node: String,
    /// Since when this process runs.
    pub started: Timestamp,
    /// The pods.
    pub pods: Arc<PodTable>,
    /// Where logs come from.
    pub logs: Arc<dyn LogSource>,
    /// Ends log followers.
    pub shutdown: CancellationToken,
}

impl std::fmt::Debug for KubeletApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeletApi").field("node", &self.node).field("started", &self.started).finish_non_exhaustive()
    }
}

impl KubeletApi {
    /// All pods, by namespace and name.
    pub(super) fn sorted(&self) -> Vec<Arc<KnownPod>> {
        let mut pods = self.pods.all();
        pods.sort_by(|a, b| (a.namespace(), a.name(), &a.uid).cmp(&(b.namespace(), b.name(), &b.uid)));
        pods
    }

    fn list(&self, keep: impl Fn(&KnownPod) -> bool) -> Json<Value> {
        let pods = self.sorted();
        let items =
            pods.iter().filter(|pod| keep(pod)).map(|pod| pod.to_object().without_managed_fields().into_value());
        Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items.collect::<Vec<_>>()}))
    }
}

/// The routes, without any access control: put [`serve_tls`](super::serve_tls) or a private Unix socket in front.
pub fn router(api: Arc<KubeletApi>) -> Router {
    let streaming = get(not_yet).post(not_yet);
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/pods", get(pods))
        .route("/pods/", get(pods))
        .route("/runningpods", get(running_pods))
        .route("/runningpods/", get(running_pods))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/stats/summary", get(summary))
        .route("/stats/summary/", get(summary))
        .route("/metrics/resource", get(resource_metrics))
        .route("/exec/{namespace}/{pod}/{container}", streaming.clone())
        .route("/exec/{namespace}/{pod}/{uid}/{container}", streaming.clone())
        .route("/attach/{namespace}/{pod}/{container}", streaming.clone())
        .route("/attach/{namespace}/{pod}/{uid}/{container}", streaming.clone())
        .route("/portForward/{namespace}/{pod}", streaming.clone())
        .route("/portForward/{namespace}/{pod}/{uid}", streaming)
        .route("/run/{namespace}/{pod}/{container}", post(not_yet))
        .route("/run/{namespace}/{pod}/{uid}/{container}", post(not_yet))
        .fallback(async |uri: Uri| {
            say(StatusCode::NOT_FOUND, &format!("this node's kubelet API has no {}", uri.path()))
        })
        .method_not_allowed_fallback(async |uri: Uri| {
            say(StatusCode::METHOD_NOT_ALLOWED, &format!("{} is not asked with this method", uri.path()))
        })
        .with_state(api)
}

async fn pods(State(api): State<Arc<KubeletApi>>) -> Json<Value> {
    api.list(|_| true)
}

async fn running_pods(State(api): State<Arc<KubeletApi>>) -> Json<Value> {
    api.list(|pod| !pod.is_finished())
}

async fn summary(State(api): State<Arc<KubeletApi>>) -> Json<Value> {
    Json(stats::summary(&api))
}

/// Nobody measures usage yet, and an invented number is worse than none: a valid exposition without samples.
async fn resource_metrics() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], "# usage is not measured on this node\n")
        .into_response()
}

async fn not_yet(uri: Uri) -> Response {
    let what = uri.path().split('/').nth(1).unwrap_or("this");
    say(StatusCode::NOT_IMPLEMENTED, &format!("{what} is not supported on this virtual node; only logs are"))
}
