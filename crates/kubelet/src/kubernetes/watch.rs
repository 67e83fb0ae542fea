//! The pods of this node, as a watch tells them.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use interlink_wire::{Object, PodUid};
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::chain;
use super::raw_pod::RawPod;
use crate::source::{PodEvent, PodSource};

/// A watch is begun anew, with a full list, at least so often: what was missed in some unknown way is seen then.
const RELIST: Duration = Duration::from_secs(600);

/// Pods with `spec.nodeName` of one node, in all namespaces.
#[derive(Clone)]
pub struct WatchSource {
    client: kube::Client,
    node: String,
}

impl std::fmt::Debug for WatchSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchSource").field("node", &self.node).finish_non_exhaustive()
    }
}

impl WatchSource {
    /// Watches through `client`.
    #[must_use]
    pub fn new(client: kube::Client, node: &str) -> Self {
        Self { client, node: node.to_owned() }
    }

    /// Follows one watch until it is old; `None` when nobody listens any more.
    async fn follow(&self, events: &mpsc::Sender<PodEvent>) -> Option<()> {
        let pods: Api<RawPod> = Api::all(self.client.clone());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node));
        let mut stream = watcher::watcher(pods, config).default_backoff().boxed();
        let old = Instant::now() + RELIST;
        let mut listed: Vec<Object> = Vec::new();
        let mut complete = false;
        let mut complained = String::new();
        loop {
            let event = match tokio::time::timeout_at(old, stream.try_next()).await {
                // Not in the middle of a list, or a large cluster would never be listed.
                Err(_) if complete => return Some(()),
                Err(_) => stream.try_next().await,
                Ok(event) => event,
            };
            let event = match event {
                Ok(Some(event)) => event,
                Ok(None) => return Some(()),
                Err(error) => {
                    let why = chain(&error);
                    // A watch that ends by itself is nothing to talk about.
                    if complained != why && !matches!(error, watcher::Error::WatchError(_)) {
                        tracing::warn!(err = %why, "the pods of this node can't be watched; it is tried again");
                    }
                    complained = why;
                    continue;
                }
            };
            if !complained.is_empty() {
                complained.clear();
            }
            match event {
                Event::Init => {
                    complete = false;
                    listed.clear();
                }
                Event::InitApply(pod) => listed.push(pod.object),
                Event::InitDone => {
                    complete = true;
                    events.send(PodEvent::Listed(std::mem::take(&mut listed))).await.ok()?;
                }
                Event::Apply(pod) => events.send(PodEvent::Applied(pod.object)).await.ok()?,
                Event::Delete(pod) => {
                    if let Ok(uid) = PodUid::parse(pod.object.uid()) {
                        events.send(PodEvent::Deleted(uid)).await.ok()?;
                    }
                }
            }
        }
    }
}

#[async_trait]
impl PodSource for WatchSource {
    async fn run(self: Box<Self>, events: mpsc::Sender<PodEvent>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                going = self.follow(&events) => if going.is_none() { return },
            }
        }
    }
}
