//! The API server's neighbours: the real program under test, a plugin whose answers the test writes, and a client.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, Request, StatusCode};
use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::wait;
use interlink_transport::{Call, Client, Endpoint, Listener, serve};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Far more than anything here takes.
pub const SOON: Duration = Duration::from_secs(30);

/// What a plugin was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn is_ping(&self) -> bool {
        self.path == "/status" && self.json() == json!([])
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

/// A plugin that answers as the test says and remembers what it was asked.
pub struct Plugin {
    asked: Arc<Mutex<Vec<Asked>>>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Plugin {
    pub async fn start<F, A>(socket: &Path, answer: F) -> Self
    where
        F: Fn(Asked) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let listener = Listener::bind(&Endpoint::unix(socket).unwrap()).await.unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let notes = asked.clone();
        let router = Router::new().fallback(move |request: Request<Body>| {
            let (answer, notes) = (answer.clone(), notes.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let one = Asked { method: head.method, path: head.uri.path().to_owned(), headers: head.headers, body };
                notes.lock().unwrap().push(one.clone());
                answer(one).await
            }
        });
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router, shutdown.clone(), Duration::from_millis(200)));
        Self { asked, shutdown, task }
    }

    /// What it was asked on `path`, pings left out.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|a| a.path == path && !a.is_ping()).cloned().collect()
    }

    pub fn pings(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|a| a.is_ping()).cloned().collect()
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// An answer with a status and a body.
pub fn say(status: u16, body: impl Into<Body>) -> Response {
    (StatusCode::from_u16(status).unwrap(), body.into()).into_response()
}

/// A JSON answer with 200.
pub fn ok(body: Value) -> Response {
    say(200, body.to_string())
}

/// The ping of a plugin with our extensions.
pub fn our_ping() -> Response {
    ok(
        json!({"status": "ok", "resources": {"cpu": "8"}, "capabilities": ["idempotentCreate", "podList", "statusWatch"], "hops": [{"hop": "slurm", "state": "up"}]}),
    )
}

/// The program under test.
pub struct Api {
    pub dir: TestDir,
    pub daemon: Daemon,
    pub client: Client,
}

/// What came back.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// An error as the contract wants it: not 2xx, one line, with the header that goes with it.
    pub fn assert_refused(&self, status: u16, error: &str, part: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("interlink-error"), error, "{self:?}");
        assert!(self.body.contains(part), "{part}: {self:?}");
        assert_eq!(self.body.trim_end().lines().count(), 1, "{self:?}");
        assert!(self.header("interlink-version").starts_with("interlink/"), "{self:?}");
    }
}

impl Api {
    pub fn plugin_socket(dir: &TestDir) -> PathBuf {
        dir.join("plugin.sock")
    }

    pub fn launch(dir: &TestDir, config: &str) -> Launch {
        let config = dir.write("InterLinkConfig.yaml", config);
        Launch::new(env!("CARGO_BIN_EXE_interlink"), dir.join("api.log"))
            .clean_env()
            .env("INTERLINKCONFIGPATH", config)
            .env("RUNTIME_DIRECTORY", dir.path())
    }

    pub fn config(dir: &TestDir) -> String {
        format!(
            "InterlinkAddress: unix://{}\nSidecarURL: unix://{}\nSidecarPort: \"0\"\nVerboseLogging: true\n",
            dir.join("api.sock").display(),
            Self::plugin_socket(dir).display()
        )
    }

    /// Starts the program with a private pair of sockets.
    pub async fn start() -> Self {
        Self::start_in(TestDir::new()).await
    }

    pub async fn start_in(dir: TestDir) -> Self {
        let daemon = Self::launch(&dir, &Self::config(&dir)).start();
        let client = Client::new(Endpoint::unix(&dir.join("api.sock")).unwrap());
        let api = Self { dir, daemon, client };
        api.listens().await;
        api
    }

    /// Starts the program and a plugin.
    pub async fn with_plugin<F, A>(answer: F) -> (Self, Plugin)
    where
        F: Fn(Asked) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let dir = TestDir::new();
        let plugin = Plugin::start(&Self::plugin_socket(&dir), answer).await;
        (Self::start_in(dir).await, plugin)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("api.sock")
    }

    pub async fn listens(&self) {
        wait::until("the API server's socket", SOON, async || {
            let connected = tokio::net::UnixStream::connect(self.socket()).await;
            connected.map(drop).map_err(|e| format!("{e}; its log ends: {}", self.daemon.log_tail(5)))
        })
        .await;
    }

    pub async fn call(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Got {
        self.call_with(method, path, body, &[]).await
    }

    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
        headers: &[(&'static str, &str)],
    ) -> Got {
        send(&self.client, method, path, body, headers).await
    }

    pub async fn create(&self, pod: Value) -> Got {
        self.call("POST", "/create", json!({"pod": pod}).to_string()).await
    }

    pub async fn status(&self, pods: &[Value]) -> Got {
        self.call("GET", "/status", json!(pods).to_string()).await
    }

    /// Waits for a line of its log.
    pub async fn said(&self, part: &str) {
        wait::until(&format!("the log to say {part:?}"), SOON, async || {
            if self.daemon.log().contains(part) { Ok(()) } else { Err(self.daemon.log_tail(10)) }
        })
        .await;
    }
}

pub async fn send(
    client: &Client,
    method: &str,
    path: &str,
    body: impl Into<Bytes>,
    headers: &[(&'static str, &str)],
) -> Got {
    let mut call = Call::new(Method::from_bytes(method.as_bytes()).unwrap(), path, body).timeout(SOON * 4);
    for (name, value) in headers {
        call = call.header(name, value);
    }
    let answer = client.send(call).await.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
    let (status, headers) = (answer.status.as_u16(), answer.headers.clone());
    let body = answer.bytes(1 << 26, SOON).await.unwrap();
    Got { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

/// A pod with one container, whose UID ends in `n`.
pub fn pod(n: u32) -> Value {
    json!({"metadata": {"name": format!("p{n}"), "namespace": "default", "uid": uid(n), "creationTimestamp": null, "managedFields": [{"manager": "m"}]},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]}, "status": {"phase": "Running"}})
}

pub fn uid(n: u32) -> String {
    format!("0b0c9a3e-2d5f-4a77-9d53-{n:012x}")
}

/// A status entry of pod `n` as a well-behaved plugin writes it.
pub fn running(n: u32) -> Value {
    json!({"name": format!("p{n}"), "namespace": "default", "UID": uid(n), "JID": format!("j{n}"),
        "containers": [{"name": "c", "state": {"running": {"startedAt": "2026-07-14T09:47:52Z"}}, "lastState": {}, "ready": true, "restartCount": 0, "image": "busybox", "imageID": ""}], "initContainers": null})
}

/// The same, ended.
pub fn ended(n: u32, code: i32) -> Value {
    json!({"name": format!("p{n}"), "namespace": "default", "UID": uid(n),
        "containers": [{"name": "c", "state": {"terminated": {"exitCode": code}}}]})
}
