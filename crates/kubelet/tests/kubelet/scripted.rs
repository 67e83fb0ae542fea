//! An interLink API server that does as a test says: for answers that come late, twice or never.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use interlink_transport::{Endpoint, Listener, serve};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What happens to a create.
#[derive(Debug, Clone)]
pub(crate) enum Create {
    /// A job is made and its id answered.
    Accept,
    /// A job is made after a while.
    Late(Duration),
    /// A job is made, and the connection breaks before the answer.
    Lost,
    /// The same, and nothing is reported of the job until [`Script::reveal`].
    LostUnseen,
    /// The same, but it is the next hop that lost the plugin's answer and says so.
    LostBehind,
    /// Refused.
    Refuse(u16, &'static str),
}

/// What the server knows and does.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// What it announces.
    pub capabilities: Vec<&'static str>,
    /// What becomes of the next creates; then all are accepted.
    pub creates: VecDeque<Create>,
    /// How many deletes fail with 500.
    pub failing_deletes: u32,
    /// Whether a delete takes the job away at once.
    pub delete_at_once: bool,
    /// Whether deletes of pods that are not there succeed too, as with most peers.
    pub deletes_say_yes: bool,
    /// Whether only the first pod of a status request is answered for.
    pub answers_for_one: bool,
    /// Jobs by UID: the status that is reported, and whose they are.
    pub jobs: BTreeMap<String, (Value, String)>,
    /// Jobs that are not reported.
    pub unseen: BTreeMap<String, (Value, String)>,
    /// How many jobs were made, by UID.
    pub made: BTreeMap<String, u32>,
    /// Every request: path, headers, body.
    pub calls: Vec<(String, HeaderMap, Value)>,
    /// Creates under way now, and the most that ever were.
    pub under_way: (usize, usize),
}

impl Script {
    /// The bodies of all requests to `path`.
    pub(crate) fn bodies(&self, path: &str) -> Vec<&Value> {
        self.calls.iter().filter(|(p, _, _)| p == path).map(|(_, _, body)| body).collect()
    }

    /// Reports every job.
    pub(crate) fn reveal(&mut self) {
        let unseen = std::mem::take(&mut self.unseen);
        self.jobs.extend(unseen);
    }

    /// Sets what a job reports: one state for its container `c`.
    pub(crate) fn report(&mut self, uid: &str, state: Value) {
        if let Some((status, _)) = self.jobs.get_mut(uid) {
            status["containers"] = json!([{"name": "c", "ready": true, "state": state}]);
            let next = status["sequence"].as_u64().unwrap() + 1;
            status["sequence"] = next.into();
        }
    }
}

/// The server, on a Unix socket of its own.
pub(crate) struct ScriptedApi {
    pub script: Arc<Mutex<Script>>,
    pub socket: PathBuf,
    running: Option<(CancellationToken, JoinHandle<()>)>,
    _dir: tempfile::TempDir,
}

impl ScriptedApi {
    /// Starts one with these capabilities.
    pub(crate) async fn start(capabilities: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = Script { capabilities: capabilities.to_vec(), delete_at_once: true, ..Script::default() };
        let socket = dir.path().join("api.sock");
        let mut api = Self { script: Arc::new(Mutex::new(script)), socket, running: None, _dir: dir };
        api.up().await;
        api
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::unix(&self.socket).unwrap()
    }

    /// Listens.
    pub(crate) async fn up(&mut self) {
        let listener = Listener::bind(&self.endpoint()).await.unwrap();
        let router = Router::new().fallback(answer).with_state(self.script.clone());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, router, stop.clone(), Duration::ZERO));
        self.running = Some((stop, serving));
    }

    /// Stops listening: an outage.
    pub(crate) async fn down(&mut self) {
        if let Some((stop, serving)) = self.running.take() {
            stop.cancel();
            serving.await.unwrap();
        }
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let parsed = serde_json::from_slice(&body).unwrap_or(Value::Null);
    script.lock().unwrap().calls.push((uri.path().to_owned(), headers.clone(), parsed.clone()));
    let owner = headers.get("interlink-owner").and_then(|o| o.to_str().ok()).unwrap_or("").to_owned();
    match uri.path() {
        "/pinglink" => {
            let capabilities = script.lock().unwrap().capabilities.clone();
            axum::Json(json!({"status": "ok", "interlinkAPI": {"version": "test", "capabilities": capabilities}}))
                .into_response()
        }
        "/create" => create(&script, &parsed, owner).await,
        "/status" => status(&script.lock().unwrap(), &parsed),
        "/pods" => {
            let script = script.lock().unwrap();
            let ours = script.jobs.iter().filter(|(_, (_, whose))| *whose == owner);
            let list = ours.map(|(uid, (status, whose))| {
                json!({"UID": uid, "namespace": status["namespace"], "name": status["name"], "owner": whose, "JID": status["JID"], "state": "running"})
            });
            axum::Json(list.collect::<Vec<_>>()).into_response()
        }
        "/delete" => delete(&mut script.lock().unwrap(), &parsed),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn create(script: &Mutex<Script>, request: &Value, owner: String) -> Response {
    let metadata = &request["pod"]["metadata"];
    let uid = metadata["uid"].as_str().unwrap().to_owned();
    let next = {
        let mut script = script.lock().unwrap();
        script.under_way.0 += 1;
        script.under_way.1 = script.under_way.1.max(script.under_way.0);
        script.creates.pop_front().unwrap_or(Create::Accept)
    };
    if let Create::Late(pause) = next {
        tokio::time::sleep(pause).await;
    }
    let mut script = script.lock().unwrap();
    script.under_way.0 -= 1;
    if let Create::Refuse(code, words) = next {
        return (StatusCode::from_u16(code).unwrap(), words).into_response();
    }
    let known = script.jobs.contains_key(&uid) && script.capabilities.contains(&"idempotentCreate");
    if !known {
        *script.made.entry(uid.clone()).or_default() += 1;
        let status = json!({"name": metadata["name"], "namespace": metadata["namespace"], "UID": uid, "JID": "7", "sequence": 1,
            "containers": [{"name": "c", "state": {"waiting": {"reason": "Queued", "message": "submitted as job 7"}}}]});
        let jobs =
            if matches!(next, Create::LostUnseen | Create::LostBehind) { &mut script.unseen } else { &mut script.jobs };
        jobs.insert(uid.clone(), (status, owner));
    }
    if matches!(next, Create::LostBehind) {
        let fault = [("interlink-error", "hop=plugin;code=submission-unknown;retry=no")];
        return (StatusCode::BAD_GATEWAY, fault, "the answer of the plugin got lost").into_response();
    }
    if matches!(next, Create::Lost | Create::LostUnseen) {
        // A body that breaks off: the client has headers and no answer.
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("lost"))]);
        return Body::from_stream(broken).into_response();
    }
    axum::Json(json!({"PodUID": uid, "PodJID": "7"})).into_response()
}

fn status(script: &Script, request: &Value) -> Response {
    let asked = request.as_array().map_or(&[][..], Vec::as_slice);
    let asked = if script.answers_for_one { &asked[..asked.len().min(1)] } else { asked };
    let found =
        asked.iter().filter_map(|pod| script.jobs.get(pod["metadata"]["uid"].as_str()?).map(|(status, _)| status));
    axum::Json(found.collect::<Vec<_>>()).into_response()
}

fn delete(script: &mut Script, pod: &Value) -> Response {
    if script.failing_deletes > 0 {
        script.failing_deletes -= 1;
        return (StatusCode::INTERNAL_SERVER_ERROR, "not now").into_response();
    }
    let uid = pod["metadata"]["uid"].as_str().unwrap_or("");
    if !script.jobs.contains_key(uid) && !script.deletes_say_yes {
        return (StatusCode::NOT_FOUND, "no such pod").into_response();
    }
    if script.delete_at_once {
        script.jobs.remove(uid);
    }
    "deleted".into_response()
}
