//! A scripted interLink API on a real Unix socket, and a kubelet API in front of it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use interlink_transport::{Endpoint, Listener, serve};
use interlink_wire::{Envelope, LogStruct, Object, PodUid};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::{Access, KubeletApi, Serving, Tls, router, serve_tls};
use super::authority::{Authority, Identity};
use crate::interlink::{Caller, Client};
use crate::pod_table::{PodTable, Submission};

pub(super) const UID: &str = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";

/// What the scripted API answers next.
pub(super) enum Script {
    /// This status and body.
    Say(u16, &'static str),
    /// What comes through the channel; closing it ends the body, an error breaks it off.
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

#[derive(Default)]
pub(super) struct Played {
    pub(super) script: Mutex<VecDeque<Script>>,
    pub(super) asked: Mutex<Vec<LogStruct>>,
}

/// Both servers, in a directory of their own.
pub(super) struct Stage {
    pub(super) port: u16,
    pub(super) authority: Authority,
    pub(super) tls: Arc<Tls>,
    pub(super) pods: Arc<PodTable>,
    pub(super) played: Arc<Played>,
    pub(super) shutdown: CancellationToken,
    _dir: TempDir,
    servers: Vec<JoinHandle<()>>,
    hop: CancellationToken,
}

impl Stage {
    pub(super) async fn set(access: Access) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hop = CancellationToken::new();
        let endpoint = Endpoint::unix(&dir.path().join("api.sock")).unwrap();
        let played = Arc::new(Played::default());
        let far = Router::new().route("/getLogs", any(get_logs)).with_state(played.clone());
        let listener = Listener::bind(&endpoint).await.unwrap();
        let mut servers = vec![tokio::spawn(serve(listener, far, hop.clone(), Duration::ZERO))];

        let authority = Authority::new();
        let serving = Serving::SelfSigned {
            node: "site".into(),
            addresses: vec!["127.0.0.1".parse().unwrap()],
            directory: Some(dir.path().to_owned()),
        };
        let tls = Arc::new(Tls::new(serving, None).unwrap());
        tls.set_client_ca(&authority.pem).unwrap();
        let (pods, shutdown) = (Arc::new(PodTable::new()), CancellationToken::new());
        let client = Client::new(endpoint, Caller { node: "site".into(), token_file: None });
        let api = KubeletApi {
            node: "site".into(),
            started: "2026-01-31T12:00:00Z".parse::<Timestamp>().unwrap(),
            pods: pods.clone(),
            logs: Arc::new(client),
            shutdown: shutdown.clone(),
        };
        let listener = Listener::bind(&Endpoint::parse("http://127.0.0.1", "0").unwrap()).await.unwrap();
        let Endpoint::Tcp { port, .. } = *listener.endpoint() else { panic!("bound to TCP") };
        let drain = Duration::from_secs(20);
        let served = serve_tls(listener, tls.clone(), access, router(Arc::new(api)), shutdown.clone(), drain);
        servers.push(tokio::spawn(served));
        Self { port, authority, tls, pods, played, shutdown, _dir: dir, servers, hop }
    }

    /// A running pod `shop/web` with the container `app` and the init container `prepare`.
    pub(super) fn add_pod(&self) -> PodUid {
        let uid = PodUid::parse(UID).unwrap();
        self.pods.apply(&uid, pod("web", UID));
        self.pods.update(&uid, |pod| pod.submission = Submission::Accepted);
        uid
    }

    pub(super) fn next(&self, script: Script) {
        self.played.script.lock().unwrap().push_back(script);
    }

    pub(super) fn api_server(&self) -> Identity {
        self.authority.sign("kube-apiserver-kubelet-client", &["kubeadm:cluster-admins"])
    }

    /// Ends both servers and waits for them.
    pub(super) async fn clear(self) {
        self.shutdown.cancel();
        self.hop.cancel();
        for server in self.servers {
            server.await.unwrap();
        }
    }
}

pub(super) fn pod(name: &str, uid: &str) -> Object {
    let value: Value = json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"namespace": "shop", "name": name, "uid": uid, "creationTimestamp": "2026-01-31T12:30:00Z", "managedFields": [1]},
        "spec": {"initContainers": [{"name": "prepare"}], "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "app", "state": {"running": {"startedAt": "2026-01-31T12:31:00Z"}}}]}});
    Object::from_value(value).unwrap()
}

async fn get_logs(State(played): State<Arc<Played>>, body: Bytes) -> Response {
    played.asked.lock().unwrap().push(LogStruct::decode(&body).unwrap());
    let script = played.script.lock().unwrap().pop_front().expect("a script for this request");
    match script {
        Script::Say(status, text) => Response::builder().status(status).body(Body::from(text)).unwrap(),
        Script::Stream(chunks) => {
            let chunks = futures_util::stream::unfold(chunks, async |mut chunks| {
                chunks.recv().await.map(|chunk| (chunk, chunks))
            });
            Response::new(Body::from_stream(chunks))
        }
    }
}
