//! `interlinkctl run` against a scripted API server on a Unix socket.

#![allow(clippy::unwrap_used)] // the helpers below are test code as well

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use interlink_transport::{Endpoint, Listener, serve};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// What the server answers to the nth call (from 0) of a path.
type Script = Arc<dyn Fn(&str, usize, &Value) -> Response + Send + Sync>;

/// The server, its calls, and a manifest.
struct Chain {
    dir: tempfile::TempDir,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
    stop: CancellationToken,
}

impl Chain {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pod.yaml"), POD).unwrap();
        Self { dir, calls: Arc::default(), stop: CancellationToken::new() }
    }

    async fn scripted(script: impl Fn(&str, usize, &Value) -> Response + Send + Sync + 'static) -> Self {
        let chain = Self::new();
        chain.serve(Arc::new(script)).await;
        chain
    }

    async fn serve(&self, script: Script) {
        let listener = Listener::bind(&Endpoint::unix(&self.socket()).unwrap()).await.unwrap();
        let calls = self.calls.clone();
        let router = Router::new().fallback(async move |request: Request| {
            let path = request.uri().path().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let nth = {
                let mut calls = calls.lock().unwrap();
                let nth = calls.iter().filter(|(p, _)| *p == path).count();
                calls.push((path.clone(), body.clone()));
                nth
            };
            script(&path, nth, &body)
        });
        tokio::spawn(serve(listener, router, self.stop.clone(), Duration::ZERO));
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    fn start(&self, flags: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_interlinkctl"))
            .args(["run", "-f", "pod.yaml", "--api", &format!("unix://{}", self.socket().display())])
            .args(flags)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn run(&self, flags: &[&str]) -> Ran {
        Ran::of(self.start(flags)).await
    }

    fn count(&self, path: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|(p, _)| p == path).count()
    }

    async fn called(&self, path: &str) {
        while self.count(path) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn body(&self, path: &str) -> Value {
        self.calls.lock().unwrap().iter().find(|(p, _)| p == path).unwrap().1.clone()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    async fn of(child: Child) -> Self {
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
        let Output { status, stdout, stderr } = output.expect("it ends by itself").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    fn said(&self, part: &str) -> usize {
        self.err.lines().filter(|line| line.contains(part)).count()
    }
}

const POD: &str = "
kind: Pod
metadata: {name: test, namespace: lab}
spec:
  containers: [{name: main, image: busybox, env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: k}}}]}]
---
kind: ConfigMap
metadata: {name: m}
data: {k: v}
";

fn ok(body: Value) -> Response {
    body.to_string().into_response()
}

fn fault(status: StatusCode, header: &'static str, sentence: &'static str) -> Response {
    (status, [("interlink-error", header)], sentence).into_response()
}

fn tunnel_down() -> Response {
    fault(StatusCode::SERVICE_UNAVAILABLE, "hop=tunnel;code=unreachable;retry=yes", "no SSH connection to hpc:22")
}

/// An answer that breaks off after `part`.
fn broken(part: &'static str) -> Response {
    let part = Ok(Bytes::from_static(part.as_bytes()));
    let pieces = futures_util::stream::iter([part, Err(std::io::Error::other("cut"))]);
    Body::from_stream(pieces).into_response()
}

fn ping(idempotent: bool) -> Response {
    let capabilities = if idempotent { json!(["idempotentCreate"]) } else { json!([]) };
    ok(json!({"status": "ok", "interlinkAPI": {"version": "x", "capabilities": capabilities}}))
}

fn accepted(body: &Value) -> Response {
    ok(json!({"PodUID": body["pod"]["metadata"]["uid"], "PodJID": "7"}))
}

fn status(pods: &Value, state: Value) -> Response {
    let metadata = &pods[0]["metadata"];
    ok(json!([{"name": metadata["name"], "UID": metadata["uid"], "namespace": metadata["namespace"], "JID": "7",
        "containers": [{"name": "main", "state": state}], "initContainers": []}]))
}

fn running() -> Value {
    json!({"running": {"startedAt": "2027-01-15T08:00:00Z"}})
}

fn ended(code: i32) -> Value {
    json!({"terminated": {"exitCode": code, "startedAt": "2027-01-15T08:00:00Z", "finishedAt": "2027-01-15T08:00:01Z"}})
}

fn rest(path: &str, body: &Value) -> Response {
    match path {
        "/pinglink" => ping(true),
        "/create" => accepted(body),
        "/delete" | "/getLogs" => "".into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

#[tokio::test]
async fn the_pods_exit_code_and_output_are_ours() {
    let chain = Chain::scripted(|path, nth, body| match (path, nth) {
        ("/status", 0) => status(body, json!({"waiting": {"reason": "Queued", "message": "Priority"}})),
        ("/status", 1) => status(body, running()),
        ("/status", _) => status(body, ended(3)),
        ("/getLogs", _) => "hello\nworld".into_response(),
        _ => rest(path, body),
    })
    .await;
    let ran = chain.run(&[]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(3), "hello\nworld"), "{}", ran.err);
    assert_eq!(
        ran.err,
        "run: pod test: is job 7\nrun: pod test: Pending (Queued: Priority)\nrun: pod test: Running\nrun: pod test: Failed (exit code 3)\n"
    );
    assert_eq!((chain.count("/create"), chain.count("/delete")), (1, 1));
    let pod = &chain.body("/create")["pod"];
    assert_eq!(pod["metadata"]["namespace"], "lab");
    assert_eq!(pod["spec"]["containers"][0]["env"], json!([{"name": "A", "value": "v"}]));
    assert!(chain.body("/delete")["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test]
async fn a_refused_pod_says_why() {
    let chain = Chain::scripted(|path, _, body| match path {
        "/create" => fault(StatusCode::FORBIDDEN, "hop=slurm;code=quota;retry=no", "account lab has no hours left"),
        _ => rest(path, body),
    })
    .await;
    let ran = chain.run(&[]).await;
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.err, "interlinkctl: the pod was refused by slurm: account lab has no hours left\n");
    assert_eq!(chain.count("/create"), 1);
}

#[tokio::test]
async fn an_outage_in_the_middle_is_told_once_and_costs_no_output() {
    let chain = Chain::scripted(|path, nth, body| match (path, nth) {
        ("/status", 0) => status(body, running()),
        ("/status", 1..4) => tunnel_down(),
        ("/status", 4..7) => status(body, running()),
        ("/status", _) => status(body, ended(0)),
        ("/getLogs", 0) => broken("one\ntw"),
        ("/getLogs", 1) => tunnel_down(),
        ("/getLogs", _) => "one\ntwo\nthree\n".into_response(),
        _ => rest(path, body),
    })
    .await;
    let ran = chain.run(&[]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "one\ntwo\nthree\n"), "{}", ran.err);
    assert_eq!(ran.said("tunnel is down since "), 1, "{}", ran.err);
    assert_eq!(ran.said("no SSH connection to hpc:22"), 1, "{}", ran.err);
    assert_eq!(ran.said("tunnel answers again after"), 1, "{}", ran.err);
    assert_eq!(chain.count("/create"), 1);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_where_that_is_safe() {
    let chain = Chain::scripted(|path, nth, body| match (path, nth) {
        ("/create", 0) => broken("{"),
        ("/status", _) => status(body, ended(0)),
        _ => rest(path, body),
    })
    .await;
    let ran = chain.run(&[]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(chain.count("/create"), 2);
}

#[tokio::test]
async fn a_lost_answer_is_never_a_second_submission_elsewhere() {
    let chain = Chain::scripted(|path, nth, body| match (path, nth) {
        ("/pinglink", _) => ping(false),
        ("/create", _) => broken("{"),
        ("/status", 0..2) => ok(json!(null)),
        ("/status", _) => status(body, ended(0)),
        _ => rest(path, body),
    })
    .await;
    let ran = chain.run(&[]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!((ran.said("submission unknown"), ran.said("was submitted after all")), (1, 1), "{}", ran.err);
    assert_eq!(chain.count("/create"), 1);
}

#[tokio::test]
async fn a_chain_that_is_not_up_yet_is_waited_for() {
    let chain = Chain::new();
    let child = chain.start(&[]);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let script: Script = Arc::new(|path, nth, body| match (path, nth) {
        ("/pinglink", 0) => tunnel_down(),
        ("/status", _) => status(body, ended(0)),
        _ => rest(path, body),
    });
    chain.serve(script).await;
    let ran = Ran::of(child).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!((ran.said("api is down since"), ran.said("tunnel is down since")), (1, 1), "{}", ran.err);
    assert_eq!(chain.count("/create"), 1);
}

#[tokio::test]
async fn whatever_ends_the_run_deletes_the_pod() {
    let forever = |path: &str, _: usize, body: &Value| match path {
        "/status" => status(body, running()),
        _ => rest(path, body),
    };
    let chain = Chain::scripted(forever).await;
    let ran = chain.run(&["--timeout", "2s"]).await;
    assert_eq!((ran.code, chain.count("/delete")), (Some(124), 1), "{}", ran.err);

    let signals = BTreeMap::from([(130, nix::sys::signal::SIGINT), (143, nix::sys::signal::SIGTERM)]);
    for (code, signal) in signals {
        let chain = Chain::scripted(forever).await;
        // Also then nothing is kept: the pod has not ended.
        let child = chain.start(&["--keep"]);
        chain.called("/status").await;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        let ran = Ran::of(child).await;
        assert_eq!((ran.code, chain.count("/delete")), (Some(code), 1), "{}", ran.err);
    }
}

#[tokio::test]
async fn a_pod_is_kept_on_request() {
    let chain = Chain::scripted(|path, _, body| match path {
        "/status" => status(body, ended(0)),
        _ => rest(path, body),
    })
    .await;
    let ran = chain.run(&["--keep"]).await;
    assert_eq!((ran.code, chain.count("/delete"), ran.said("kept as")), (Some(0), 0, 1), "{}", ran.err);
}

#[tokio::test]
async fn a_wrong_manifest_never_reaches_the_chain() {
    let chain = Chain::scripted(|path, _, body| rest(path, body)).await;
    let without = POD.split("---").next().unwrap();
    for (manifest, part) in [("kind: Job\n", "kind \"Job\" can't be run"), (without, "ConfigMap \"m\" does not exist")]
    {
        std::fs::write(chain.dir.path().join("pod.yaml"), manifest).unwrap();
        let ran = chain.run(&[]).await;
        assert!(ran.code == Some(1) && ran.err.contains(part) && ran.err.lines().count() == 1, "{}", ran.err);
    }
    assert!(chain.calls.lock().unwrap().is_empty());
}
