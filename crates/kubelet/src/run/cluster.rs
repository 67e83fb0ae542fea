//! With a cluster: a Node with its Lease, the pods that are bound to it, and the kubelet API over TLS.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use interlink_daemon::{Failure, notify, paths};
use interlink_transport::{Endpoint, Listener};
use interlink_wire::HopStatus;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{DRAIN, Frame, node_spec, reload, resolve_settings};
use crate::config::Config;
use crate::health::Health;
use crate::interlink::Client;
use crate::kubernetes::events::Events;
use crate::kubernetes::objects::KubeObjects;
use crate::kubernetes::store::KubeStore;
use crate::kubernetes::tolerations::{self, Offer};
use crate::kubernetes::watch::WatchSource;
use crate::kubernetes::{Kube, KubeError, connect};
use crate::node::keeper::Keeper;
use crate::node::{NodeSpec, lease};
use crate::server::{Access, Serving, SubjectAccessReviews, Tls, serve_tls, warn_at_start};

/// How long the first ping is waited for, so that a node that works is never shown as one that doesn't.
const FIRST_PING: Duration = Duration::from_secs(5);
/// Between two looks at the cluster's client CA.
const CLIENT_CA: Duration = Duration::from_secs(60);
/// How long clients of the kubelet API wait for the first of them.
const FIRST_CLIENT_CA: Duration = Duration::from_secs(5);
/// After a failed request that the start depends on.
const AGAIN: Duration = Duration::from_secs(3);

pub(super) async fn run(frame: Frame) -> Result<(), Failure> {
    let config = &frame.config;
    let (client, kubeconfig) = connect::connect().await?;
    let kube = Kube::new(client.clone());
    let host = match config.pod_ip {
        Some(ip) => Some(ip),
        None => connect::own_address(&kubeconfig).await,
    };
    if host.is_none() {
        tracing::warn!("this node has no address, so kubectl logs can't reach it; set POD_IP");
    }
    frame.handle.detail("cluster", kubeconfig.cluster_url.to_string());
    let shutdown = frame.signals.shutdown.clone();
    let (spec_out, spec) = watch::channel(node_spec(config, host));
    let (settings_out, settings) = watch::channel(resolve_settings(config, host));
    let (uid_out, uid) = watch::channel(String::new());
    let (offer_out, offer) = watch::channel(Offer::default());
    let (ca_out, ca) = watch::channel(config.client_ca_file.is_some());

    let mut tasks = JoinSet::new();
    let tls = kubelet_api(&frame, &client, host, ca, &mut tasks).await?;
    frame.handle.up(&format!("node {} of {}", config.node, kubeconfig.cluster_url));
    notify::ready();

    tasks.spawn(offers(spec.clone(), frame.health.clone(), offer_out));
    if config.client_ca_file.is_none() {
        tasks.spawn(client_ca(kube.clone(), tls, ca_out, shutdown.clone()));
    }
    tasks.spawn(reload::follow(
        frame.flags.clone(),
        config.clone(),
        frame.level.clone(),
        frame.signals.reload.clone(),
        shutdown.clone(),
        move |new: &Config| {
            spec_out.send_replace(node_spec(new, host));
            settings_out.send_replace(resolve_settings(new, host));
        },
    ));
    first_ping(frame.health.clone()).await;
    tasks.spawn(lease::run(kube.clone(), config.node.clone(), uid, shutdown.clone()));
    let events = Events::start(kube.clone(), &config.node, shutdown.clone());
    tasks.spawn(tolerations::run(kube.clone(), events.clone(), offer, shutdown.clone()));
    let keeper = Keeper::new(kube.clone(), spec, frame.health.clone(), uid_out);
    let mut keeping = tokio::spawn(keeper.run(shutdown.clone()));

    let pods = async {
        // Whose pods these are must be known before the first one is sent.
        identify(&kube, &frame.client, &config.node, &shutdown).await;
        let source = Box::new(WatchSource::new(client, &config.node));
        let (store, objects) =
            (Arc::new(KubeStore::new(kube.clone(), events)), Arc::new(KubeObjects::new(kube.clone())));
        frame.pods(source, store, objects, settings, host).await;
    };
    let mut pods = std::pin::pin!(pods);
    let kept = tokio::select! {
        () = &mut pods => return finish(tasks, Ok(())).await,
        kept = &mut keeping => kept.unwrap_or_else(|e| Err(Failure::failed(format!("the Node's keeper broke down: {e}")))),
    };
    // Without a node there is nothing to do; otherwise we are asked to stop, and calls in hand are finished first.
    if kept.is_err() {
        shutdown.cancel();
    }
    pods.await;
    finish(tasks, kept).await
}

async fn finish(mut tasks: JoinSet<()>, result: Result<(), Failure>) -> Result<(), Failure> {
    // The server drains within its own limit; everything else has heard of the shutdown.
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN * 2, all).await;
    result
}

/// Starts the kubelet API, as soon as it is known whose certificates are good (`client_ca`): a client that comes earlier
/// waits in the socket's queue, instead of being told that it is a stranger.
async fn kubelet_api(
    frame: &Frame,
    client: &kube::Client,
    host: Option<IpAddr>,
    mut client_ca: watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<Arc<Tls>, Failure> {
    let config = &frame.config;
    let serving = match &config.serving {
        Some((certificate, key)) => Serving::Files { certificate: certificate.clone(), key: key.clone() },
        None => Serving::SelfSigned {
            node: config.node.clone(),
            addresses: host.into_iter().collect(),
            directory: paths::state_dir().ok(),
        },
    };
    let tls = Arc::new(Tls::new(serving, config.client_ca_file.clone()).map_err(Failure::config)?);
    let (host, port) = config.listen.clone();
    // Not kept by the service manager over a restart: an earlier version does not know that it could be, and on the way
    // back to it the port would be taken.
    let listener = Listener::bind(&Endpoint::Tcp { host, port })
        .await
        .map_err(|e| Failure::config(format!("KUBELET_URL and KUBELET_PORT: {e}")))?;
    let access = Access::new(Some(Arc::new(SubjectAccessReviews::new(client.clone(), &config.node))));
    tracing::info!(listen = %listener.endpoint(), "the kubelet API is served");
    warn_at_start(config.serving.is_none() && config.csr_wanted);
    let (router, shutdown) = (frame.kubelet_api(), frame.signals.shutdown.clone());
    let serving = serve_tls(listener, tls.clone(), access, router, shutdown.clone(), DRAIN);
    tasks.spawn(async move {
        tokio::select! {
            _ = tokio::time::timeout(FIRST_CLIENT_CA, client_ca.wait_for(|known| *known)) => {}
            () = shutdown.cancelled() => {}
        }
        serving.await;
    });
    Ok(tls)
}

async fn first_ping(mut health: watch::Receiver<Health>) {
    let known = health.wait_for(|health| health.chain.state != HopStatus::Starting);
    let _ = tokio::time::timeout(FIRST_PING, known).await;
}

/// Keeps what waiting pods are compared with.
async fn offers(mut spec: watch::Receiver<NodeSpec>, mut health: watch::Receiver<Health>, out: watch::Sender<Offer>) {
    loop {
        let offer = {
            let (spec, health) = (spec.borrow_and_update(), health.borrow_and_update());
            let taints = spec.all_taints(health.pong.response.taints.as_deref());
            Offer { node: spec.name.clone(), labels: spec.all_labels(), taints }
        };
        out.send_replace(offer);
        tokio::select! {
            changed = spec.changed() => if changed.is_err() { return },
            changed = health.changed() => if changed.is_err() { return },
        }
    }
}

/// Makes `<UID of the namespace kube-system>/<node>` the owner of every pod: two clusters may share one batch machine.
async fn identify(kube: &Kube, client: &Client, node: &str, shutdown: &CancellationToken) {
    let mut failing = false;
    loop {
        match kube.get("/api/v1/namespaces/kube-system").await {
            Ok(namespace) => {
                if let Some(uid) = namespace.get("metadata").and_then(|m| m.get("uid")?.as_str()) {
                    client.set_owner(format!("{uid}/{node}"));
                }
                return;
            }
            Err(KubeError::Forbidden(why)) => {
                tracing::warn!(err = %why, "the cluster can't be identified, so jobs whose pods vanish while this program is down go on; grant get on namespaces");
                return;
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(err = %error, "the API server does not answer; it is tried again");
                }
                failing = true;
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Keeps the authorities that the API server's own client certificate is verified by, which the cluster publishes.
async fn client_ca(kube: Kube, tls: Arc<Tls>, known: watch::Sender<bool>, shutdown: CancellationToken) {
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let mut complained = String::new();
    loop {
        let read = match kube.get(path).await {
            Ok(map) => match map.get("data").and_then(|d| d.get("client-ca-file")).and_then(Value::as_str) {
                Some(pem) => tls.set_client_ca(pem),
                None => Err("the ConfigMap extension-apiserver-authentication has no client-ca-file".to_owned()),
            },
            Err(error) => Err(error.to_string()),
        };
        let complaint = read.err().unwrap_or_default();
        if !complaint.is_empty() && complaint != complained {
            tracing::warn!(err = %complaint, "the cluster's client CA is not known, so kubectl logs is refused; grant get on configmaps in kube-system, or set ClientCAFile");
        }
        if complaint.is_empty() {
            known.send_replace(true);
        }
        let pause = if complaint.is_empty() { CLIENT_CA } else { AGAIN * 2 };
        complained = complaint;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
