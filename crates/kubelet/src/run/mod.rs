//! Wiring: start, reload and stop.
//!
//! ```text
//!   health ◀─ ping            source ─PodEvents─▶ pod::engine ─▶ Store
//!     │                                             ▲   │
//!     ├─▶ node::keeper (cluster)                    │   ▼
//!     └─▶ state socket, systemd status        PodTable ◀─▶ kubelet API
//! ```

mod cluster;
mod reload;
mod standalone;
mod state;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use interlink_daemon::{Failure, HopHandle, Signals, StateServer, logs, paths};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::flags::Flags;
use crate::config::{self, Config};
use crate::health::{self, Health, watch_health};
use crate::interlink::{Caller, Client};
use crate::node::NodeSpec;
use crate::pod::{Context, engine};
use crate::pod_table::PodTable;
use crate::resolve::{NodeFacts, Objects, ResolveSettings};
use crate::server::{KubeletApi, router};
use crate::source::{PodSource, Store};
use crate::{HOP, PROGRAM};

/// Events that wait for the pod logic; a source that is faster waits.
const EVENTS: usize = 1024;
/// How long clients of the kubelet API may take to finish when we stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs the program until it is asked to stop.
///
/// # Errors
/// [`Failure`] with exit code and sentence.
pub async fn run(flags: Flags) -> Result<(), Failure> {
    // Fails only when there is one already, as in tests that start two programs in one process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let level = logs::init_to(HOP, logs::Level::Info, flags.logfile.as_deref())?;
    let config = config::load(&flags)?;
    level.set(config.level);
    let signals = Signals::install()?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let handle = HopHandle::new(PROGRAM, HOP);
    let stopped = CancellationToken::new();
    match paths::runtime_dir() {
        Ok(dir) => {
            let path = dir.join(format!("{PROGRAM}.state"));
            // Another virtual kubelet of this user may have it; that must not keep this one from its work.
            if let Err(failure) = StateServer::start(&path, &handle, stopped.clone()).await {
                tracing::warn!("this program's state can't be asked for: {failure}");
            }
        }
        Err(failure) => tracing::warn!("this program's state can't be asked for: {failure}"),
    }
    handle.detail("node", config.node.clone());
    handle.detail("api", config.api.to_string());

    let (health_out, health) = health::channel();
    let caller = Caller { node: config.node.clone(), token_file: config.token_file.clone() };
    let client = Client::new(config.api.clone(), caller);
    let mut background = JoinSet::new();
    background.spawn(watch_health(client.clone(), health_out, signals.shutdown.clone()));
    background.spawn(state::follow(handle.clone(), health.clone(), signals.shutdown.clone()));
    let frame = Frame { flags, config, level, signals, handle, health, client, table: Arc::new(PodTable::new()) };
    let result = match frame.config.manifests.clone() {
        Some(manifests) => standalone::run(frame, &manifests).await,
        None => cluster::run(frame).await,
    };
    background.shutdown().await;
    stopped.cancel();
    // A failure has its own last word.
    if result.is_ok() {
        tracing::info!("stopped");
    }
    result
}

/// What both modes start from.
struct Frame {
    flags: Flags,
    config: Config,
    level: logs::LevelHandle,
    signals: Signals,
    handle: HopHandle,
    health: watch::Receiver<Health>,
    client: Client,
    table: Arc<PodTable>,
}

impl Frame {
    /// The kubelet API's routes.
    fn kubelet_api(&self) -> axum::Router {
        router(Arc::new(KubeletApi {
            node: self.config.node.clone(),
            started: Timestamp::now(),
            pods: self.table.clone(),
            logs: Arc::new(self.client.clone()),
            shutdown: self.signals.shutdown.clone(),
        }))
    }

    /// Runs the pods of `source` until shutdown.
    async fn pods(
        &self,
        source: Box<dyn PodSource>,
        store: Arc<dyn Store>,
        objects: Arc<dyn Objects>,
        settings: watch::Receiver<Arc<ResolveSettings>>,
        host: Option<IpAddr>,
    ) {
        let (table, client) = (self.table.clone(), self.client.clone());
        let context = Arc::new(Context::new(table, client, store, objects, settings, self.health.clone(), host));
        let (events, told) = mpsc::channel(EVENTS);
        let telling = tokio::spawn(source.run(events, self.signals.shutdown.clone()));
        engine::run(context, told, self.signals.shutdown.clone()).await;
        if telling.await.is_err() {
            tracing::error!("the source of pods broke down");
        }
    }
}

/// How pods are resolved under `config`.
fn resolve_settings(config: &Config, host: Option<IpAddr>) -> Arc<ResolveSettings> {
    Arc::new(ResolveSettings {
        node: NodeFacts {
            name: config.node.clone(),
            addresses: host.iter().map(ToString::to_string).collect(),
            allocatable: config.resources.clone(),
        },
        kubernetes_api: config.kubernetes_api.clone(),
        kubernetes_api_ca: config.kubernetes_api_ca.clone(),
        disable_projected_volumes: config.disable_projected_volumes,
        job_script_builder_url: config.job_script_builder_url.clone(),
    })
}

/// The node under `config`.
fn node_spec(config: &Config, host: Option<IpAddr>) -> NodeSpec {
    NodeSpec {
        name: config.node.clone(),
        owner: config.owner.clone(),
        labels: config.labels.clone(),
        taints: config.taints.clone(),
        pod_cidr: config.pod_cidr.clone(),
        resources: config.resources.clone(),
        address: host,
        port: Some(config.listen.1),
    }
}
