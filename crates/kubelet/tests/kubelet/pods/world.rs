//! A source, a store and objects in memory around the real pod logic.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use interlink_kubelet::health::{self, Health, watch_health};
use interlink_kubelet::interlink::{Caller, Client};
use interlink_kubelet::pod::{Context, engine};
use interlink_kubelet::pod_table::PodTable;
use interlink_kubelet::resolve::{Objects, ResolveSettings, TokenRequest};
use interlink_kubelet::source::{Note, PodEvent, Store, StoreError};
use interlink_testkit::wait;
use interlink_wire::{Object, PodUid};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::scripted::{Script, ScriptedApi};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn uid(n: u8) -> String {
    format!("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c{n:02x}")
}

pub(crate) fn key(n: u8) -> PodUid {
    PodUid::parse(&uid(n)).unwrap()
}

pub(crate) fn pod(n: u8) -> Object {
    Object::from_value(json!({
        "metadata": {"namespace": "ns", "name": format!("pod-{n}"), "uid": uid(n)},
        "spec": {"restartPolicy": "Never", "fromTheFuture": {"kept": true}, "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Pending"},
    }))
    .unwrap()
}

pub(crate) fn deleted(mut pod: Object) -> Object {
    pod.fields_mut()["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    pod
}

#[derive(Default)]
pub(crate) struct MemoryStore(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    statuses: HashMap<String, Vec<Value>>,
    jobs: BTreeMap<String, String>,
    removed: BTreeSet<String>,
    notes: HashMap<String, Vec<String>>,
    existing: BTreeSet<String>,
}

impl MemoryStore {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    pub(crate) fn status(&self, n: u8) -> Value {
        self.kept().statuses.get(&uid(n)).and_then(|all| all.last()).cloned().unwrap_or_default()
    }

    pub(crate) fn ever_shown(&self, n: u8, words: &str) -> bool {
        self.kept().statuses.get(&uid(n)).into_iter().flatten().any(|status| status.to_string().contains(words))
    }

    pub(crate) fn jobs(&self) -> BTreeMap<String, String> {
        self.kept().jobs.clone()
    }

    pub(crate) fn removed(&self) -> BTreeSet<String> {
        self.kept().removed.clone()
    }

    pub(crate) fn notes(&self, n: u8) -> Vec<String> {
        self.kept().notes.get(&uid(n)).cloned().unwrap_or_default()
    }

    pub(crate) fn has(&self, n: u8) {
        self.kept().existing.insert(uid(n));
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn write_status(&self, pod: &Object, status: &Value) -> Result<(), StoreError> {
        self.kept().statuses.entry(pod.uid().to_owned()).or_default().push(status.clone());
        Ok(())
    }
    async fn record_job(&self, pod: &Object, job: &str) -> Result<(), StoreError> {
        self.kept().jobs.insert(pod.uid().to_owned(), job.to_owned());
        Ok(())
    }
    async fn remove(&self, pod: &Object) -> Result<(), StoreError> {
        self.kept().removed.insert(pod.uid().to_owned());
        Ok(())
    }
    async fn exists(&self, _: &str, _: &str, uid: &PodUid) -> Result<bool, StoreError> {
        Ok(self.kept().existing.contains(uid.as_str()))
    }
    fn event(&self, pod: &Object, note: Note) {
        self.kept().notes.entry(pod.uid().to_owned()).or_default().push(note.reason.to_owned());
    }
}

#[derive(Default)]
pub(crate) struct MemoryObjects(Mutex<BTreeSet<String>>);

impl MemoryObjects {
    pub(crate) fn add(&self, name: &str) {
        self.0.lock().unwrap().insert(name.to_owned());
    }
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Object>, String> {
        let found = self.0.lock().unwrap().contains(name);
        let object = json!({"metadata": {"namespace": namespace, "name": name}, "data": {"a": "b"}});
        Ok(Object::from_value(object).filter(|_| found))
    }
    async fn secret(&self, _: &str, _: &str) -> Result<Option<Object>, String> {
        Ok(None)
    }
    async fn service_account_token(&self, _: &TokenRequest) -> Result<String, String> {
        Err("there is no cluster".into())
    }
}

pub(crate) struct World {
    pub api: ScriptedApi,
    pub store: Arc<MemoryStore>,
    pub objects: Arc<MemoryObjects>,
    pub table: Arc<PodTable>,
    events: mpsc::Sender<PodEvent>,
    health: watch::Receiver<Health>,
    shutdown: CancellationToken,
    running: Mutex<Vec<JoinHandle<()>>>,
    _token: tempfile::NamedTempFile,
}

impl World {
    pub(crate) async fn start(capabilities: &[&'static str]) -> Self {
        let api = ScriptedApi::start(capabilities).await;
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "secret\n").unwrap();
        let caller = Caller { node: "n1".into(), token_file: Some(token.path().to_owned()) };
        let client = Client::new(api.endpoint(), caller);
        client.set_owner("cluster/n1".into());
        let shutdown = CancellationToken::new();
        let (health_out, health) = health::channel();
        let pinging = tokio::spawn(watch_health(client.clone(), health_out, shutdown.clone()));
        let (table, store) = (Arc::new(PodTable::new()), Arc::<MemoryStore>::default());
        let objects = Arc::<MemoryObjects>::default();
        let (_, settings) = watch::channel(Arc::new(ResolveSettings::default()));
        let context =
            Context::new(table.clone(), client, store.clone(), objects.clone(), settings, health.clone(), None);
        let (events, told) = mpsc::channel(100);
        let working = tokio::spawn(engine::run(Arc::new(context), told, shutdown.clone()));
        let running = Mutex::new(vec![pinging, working]);
        Self { api, store, objects, table, events, health, shutdown, running, _token: token }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.api.script()
    }

    pub(crate) async fn tell(&self, event: PodEvent) {
        self.events.send(event).await.unwrap();
    }

    pub(crate) async fn listed(&self, pods: Vec<Object>) {
        self.tell(PodEvent::Listed(pods)).await;
    }

    pub(crate) async fn applied(&self, pod: Object) {
        self.tell(PodEvent::Applied(pod)).await;
    }

    /// A job that was there before.
    pub(crate) fn job(&self, n: u8, owner: &str) {
        let status = json!({"name": format!("pod-{n}"), "namespace": "ns", "UID": uid(n), "JID": "9", "sequence": 1,
            "containers": [{"name": "c", "state": {"waiting": {"reason": "", "message": "submitted as job 9"}}}]});
        self.script().jobs.insert(uid(n), (status, owner.to_owned()));
    }

    pub(crate) async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        wait::until(what, PATIENCE, async || if done(self) { Ok(()) } else { Err("not yet") }).await;
    }

    /// Waits until the pod is shown in this phase with these words somewhere in its status.
    pub(crate) async fn shown(&self, n: u8, phase: &str, words: &str) {
        wait::until(&format!("pod {n} to be {phase} ({words})"), PATIENCE, async || {
            let status = self.store.status(n);
            let fits = status["phase"] == phase && status.to_string().contains(words);
            if fits { Ok(()) } else { Err(status) }
        })
        .await;
    }

    pub(crate) async fn removed(&self, n: u8) {
        self.until(&format!("pod {n} to be removed"), |w| w.store.removed().contains(&uid(n))).await;
    }

    pub(crate) async fn unreachable(&self) {
        self.until("the outage to be noticed", |w| !w.health.borrow().reachable).await;
    }

    /// Asks everything to stop and waits for it.
    pub(crate) async fn stop(&self) {
        self.shutdown.cancel();
        let running = std::mem::take(&mut *self.running.lock().unwrap());
        for task in running {
            task.await.unwrap();
        }
    }

    pub(crate) async fn end(mut self) {
        self.stop().await;
        self.api.down().await;
    }
}
