//! Which path does what. Methods don't matter: known peers use several for each call.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderMap, HeaderValue, StatusCode};
use interlink_wire::{
    Envelope, Fault, HopStatus, Object, PodListEntry, PodStatus, PodUid, RetrievedPodData, header, path,
};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use super::answer::{Wrong, json, text};
use super::ping::{self, Offer};
use crate::lifecycle::{Plugin, join};

/// Program and version, for every answer.
const VERSION: &str = concat!("interlink-plugin/", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Clone)]
struct Service {
    plugin: Arc<Plugin>,
    offer: watch::Receiver<Offer>,
}

type Body = Result<Bytes, BytesRejection>;
type Answer = Result<Response, Wrong>;

/// The service.
pub fn router(plugin: Arc<Plugin>, offer: watch::Receiver<Offer>) -> Router {
    Router::new()
        .route(path::CREATE, any(create))
        .route(path::DELETE, any(delete))
        .route(path::STATUS, any(status))
        .route(path::GET_LOGS, any(logs))
        .route(path::PODS, any(pods))
        .route(path::SYSTEM_INFO, any(system_info))
        .fallback(unknown)
        .layer(from_fn(versioned))
        .with_state(Service { plugin, offer })
}

async fn versioned(request: axum::extract::Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::VERSION, HeaderValue::from_static(VERSION));
    response
}

fn body(body: Body) -> Result<Bytes, Wrong> {
    body.map_err(|rejection| {
        let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let sentence = if too_large {
            format!("the request is larger than {} MiB", interlink_transport::BODY_LIMIT >> 20)
        } else {
            format!("the request's body broke off: {rejection}")
        };
        Wrong::new(rejection.status(), Fault::lasting("plugin", "invalid", sentence))
    })
}

fn owner(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::OWNER)?.to_str().ok().filter(|owner| !owner.is_empty())
}

/// A client that goes away must not stop half-way what changes a pod.
async fn to_its_end<T: Send + 'static>(
    plugin: &Plugin,
    work: impl Future<Output = Result<T, Wrong>> + Send + 'static,
) -> Result<T, Wrong> {
    plugin.tasks.spawn(work).await.unwrap_or_else(|error| {
        let fault = Fault::passing("plugin", "internal", format!("the request could not be finished: {error}"));
        Err(Wrong::new(StatusCode::INTERNAL_SERVER_ERROR, fault))
    })
}

async fn create(State(service): State<Service>, headers: HeaderMap, request: Body) -> Answer {
    let data = RetrievedPodData::decode(&body(request)?)?;
    let owner = owner(&headers).map(str::to_owned);
    let work = Arc::clone(&service.plugin).create(data, owner);
    to_its_end(&service.plugin, work).await.map(|answer| json(&answer))
}

async fn delete(State(service): State<Service>, headers: HeaderMap, request: Body) -> Answer {
    let pod = Object::decode(&body(request)?)?;
    let owner = owner(&headers).map(str::to_owned);
    let work = Arc::clone(&service.plugin).delete(pod, owner);
    to_its_end(&service.plugin, work).await.map(|()| text(StatusCode::OK, "Pod deleted\n"))
}

async fn status(State(service): State<Service>, headers: HeaderMap, request: Body) -> Answer {
    let asked = Object::decode_list(&body(request)?)?;
    if asked.is_empty() {
        return Ok(json(&ping::answer(&service.plugin, &service.offer.borrow())));
    }
    let owner = owner(&headers);
    let known = asked.iter().filter_map(|pod| service.plugin.table.get(&PodUid::parse(pod.uid()).ok()?));
    let statuses: Vec<PodStatus> =
        known.filter(|pod| pod.belongs_to(owner)).map(|pod| join::status(&pod, &pod.facts())).collect();
    Ok(json(&statuses))
}

async fn logs(State(service): State<Service>, headers: HeaderMap, request: Body) -> Answer {
    super::logs::get(&service.plugin, &body(request)?, owner(&headers)).await
}

async fn pods(State(service): State<Service>, headers: HeaderMap) -> Response {
    let owner = owner(&headers);
    let mut entries: Vec<PodListEntry> = service
        .plugin
        .table
        .all()
        .iter()
        // The list serves adoption and sweeping: who names itself sees only what is certainly its own.
        .filter(|pod| owner.is_none() || pod.owner.as_deref() == owner)
        .map(|pod| join::entry(pod, &pod.facts()))
        .collect();
    entries.sort_by(|a, b| a.uid.cmp(&b.uid));
    json(&entries)
}

async fn system_info(State(service): State<Service>) -> Response {
    let hop = service.plugin.health.borrow().clone();
    let connected = hop.state == HopStatus::Up;
    let (pods, active) = service.plugin.table.counts();
    let mut page = json!({
        "status": if connected { "ok" } else { "warning" },
        "timestamp": Timestamp::now(),
        "scheduler": hop.hop,
        "slurm_connected": connected && hop.hop == "slurm",
        "pods": pods,
        "active": active,
    });
    if !hop.cause.is_empty() {
        page["error"] = hop.cause.into();
    }
    json(&page)
}

async fn unknown(request: axum::extract::Request) -> Response {
    let path: String = request.uri().path().chars().take(100).collect();
    Wrong::not_found(format!("{path} is no path of the interLink plugin; see /status")).into_response()
}
