//! Keeps the Node in the cluster: makes it, tells how it does, makes it again when somebody deleted it.

use std::time::Duration;

use interlink_daemon::Failure;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::object::{self, NodeSpec, OWN_TAINTS, essence, is_virtual};
use super::{Taint, capacity, conditions, merged, owner};
use crate::health::Health;
use crate::kubernetes::api::{Kube, KubeError, Merge};

/// Between two looks at the Node: how soon a deleted one is back.
const LOOK: Duration = Duration::from_secs(20);
/// Without news the status is written so often; the real kubelet's `nodeStatusReportFrequency`.
const REPORT: Duration = Duration::from_secs(300);
/// A ping answer with other words and nothing else that is new is written so often.
const REPORT_ANSWER: Duration = Duration::from_secs(60);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// Keeps one Node.
#[derive(Debug)]
pub struct Keeper {
    kube: Kube,
    spec: watch::Receiver<NodeSpec>,
    health: watch::Receiver<Health>,
    uid: watch::Sender<String>,
    written: Option<((Value, String), Instant)>,
    /// Taints can't be patched within the existing chart's rights; that is found out once.
    no_taints: bool,
    /// A Node that was there before can't be made the owner's; that is found out once.
    no_owner: bool,
    problems: Vec<String>,
}

impl Keeper {
    /// Keeps the Node that `spec` describes; its UID is told on `uid`.
    #[must_use]
    pub fn new(
        kube: Kube,
        spec: watch::Receiver<NodeSpec>,
        health: watch::Receiver<Health>,
        uid: watch::Sender<String>,
    ) -> Self {
        Self { kube, spec, health, uid, written: None, no_taints: false, no_owner: false, problems: Vec::new() }
    }

    /// Keeps it until `shutdown`, and then leaves it as it is: its pods go on.
    ///
    /// # Errors
    /// [`Failure`] when a node of that name exists that is not a virtual one.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Failure> {
        let mut failing = false;
        loop {
            self.health.borrow_and_update();
            self.spec.borrow_and_update();
            let pause = match self.once().await {
                Ok(()) => {
                    failing = false;
                    LOOK
                }
                Err(Trouble::Foreign(sentence)) => return Err(Failure::config(sentence)),
                Err(Trouble::Kube(error)) => {
                    if !failing {
                        tracing::warn!(err = %error, "the Node can't be kept up to date; it is tried again");
                    }
                    failing = true;
                    AGAIN
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
                changed = self.health.changed() => if changed.is_err() { return Ok(()) },
                changed = self.spec.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    async fn once(&mut self) -> Result<(), Trouble> {
        let spec = self.spec.borrow().clone();
        let health = self.health.borrow().clone();
        self.complain(&spec, &health);
        let path = format!("/api/v1/nodes/{}", spec.name);
        let mut current = match self.kube.get(&path).await {
            Ok(node) => node,
            Err(KubeError::NotFound(_)) => {
                let mut wanted = spec.create(&health, Timestamp::now());
                // From the start: one that is made while its owner is taken away goes, too.
                if let Some(name) = &spec.owner {
                    wanted["metadata"]["ownerReferences"] = json!([owner::reference(&self.kube, name).await?]);
                }
                match self.kube.create("/api/v1/nodes", &wanted).await {
                    Ok(node) => {
                        tracing::info!(node = %spec.name, "the Node has been made");
                        self.written = None;
                        node
                    }
                    // Somebody was faster; the next look sees whose it is.
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        if !is_virtual(&current) {
            return Err(Trouble::Foreign(format!(
                "the cluster has a node {:?} that is a real machine's; give this one another name with -nodename",
                spec.name
            )));
        }
        let uid = current.get("metadata").and_then(|m| m.get("uid")?.as_str()).unwrap_or("").to_owned();
        if *self.uid.borrow() != uid {
            self.written = None;
            self.uid.send_replace(uid);
        }
        let patch = spec.patch(&current, &health, Timestamp::now());
        let news = essence(&patch);
        // Kubernetes calls a node unknown that it has not heard of, and goes on to until the node says otherwise.
        let contradicted = !conditions::stand(current.get("status"), patch.get("status"));
        let due = self.written.as_ref().is_none_or(|((status, answer), when)| {
            contradicted
                || *status != news.0
                || (*answer != news.1 && when.elapsed() >= REPORT_ANSWER)
                || when.elapsed() >= REPORT
        });
        if due {
            current = self.kube.patch(&format!("{path}/status"), Merge::Strategic, &patch).await?;
            self.written = Some((news, Instant::now()));
        }
        self.own(&path, &current, &spec).await;
        self.taint(&path, &current, &spec, &health).await
    }

    /// Makes a Node that was there before the owner's; without that, all but its removal works.
    async fn own(&mut self, path: &str, current: &Value, spec: &NodeSpec) {
        let Some(name) = spec.owner.as_deref().filter(|name| !self.no_owner && !owner::owns(name, current)) else {
            return;
        };
        let done = match owner::reference(&self.kube, name).await {
            Ok(reference) => self.kube.patch(path, Merge::Plain, &owner::patch(current, &reference)).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(_) => tracing::info!(owner = name, "the Node goes with its owner now"),
            // The next look sees the newer Node.
            Err(KubeError::Conflict(why)) => tracing::debug!(err = %why, "the Node has just changed"),
            Err(error) => {
                self.no_owner = true;
                tracing::warn!(err = %error, "the Node can't be made ClusterRole {name}'s, so it stays when that one is deleted; remove it then with: kubectl delete node {}", spec.name);
            }
        }
    }

    async fn taint(&mut self, path: &str, current: &Value, spec: &NodeSpec, health: &Health) -> Result<(), Trouble> {
        let wanted = spec.all_taints(health.pong.response.taints.as_deref());
        let before = current.get("metadata").and_then(|m| m.get("annotations")?.get(OWN_TAINTS)?.as_str());
        let before: Vec<&str> = before.unwrap_or("").split(',').collect();
        let Some(taints) = merged(&Taint::list(current), &before, &wanted) else { return Ok(()) };
        if self.no_taints {
            return Ok(());
        }
        // Others write taints too; with the version a list that is not the newest is refused.
        let version = current.get("metadata").and_then(|m| m.get("resourceVersion"));
        let patch = json!({
            "metadata": {"resourceVersion": version, "annotations": {OWN_TAINTS: object::names(&wanted)}},
            "spec": {"taints": taints},
        });
        match self.kube.patch(path, Merge::Plain, &patch).await {
            Ok(_) => tracing::info!("the Node's taints have been brought up to date"),
            // The next look sees the newer list.
            Err(KubeError::Conflict(why)) => tracing::debug!(err = %why, "the Node's taints have just changed"),
            Err(KubeError::Forbidden(why)) => {
                self.no_taints = true;
                let missing: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                tracing::warn!(err = %why, "the Node's taints can't be changed; grant patch on nodes, or run: kubectl taint --overwrite node {} {}", spec.name, missing.join(" "));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Says once what of the plugin's report can't be used.
    fn complain(&mut self, spec: &NodeSpec, health: &Health) {
        let (_, problems) = capacity::of(&spec.resources, health.pong.response.resources.as_ref());
        if problems != self.problems {
            for problem in &problems {
                tracing::warn!("the plugin reports resources that can't be used: {problem}");
            }
            self.problems = problems;
        }
    }
}

enum Trouble {
    Foreign(String),
    Kube(KubeError),
}

impl From<KubeError> for Trouble {
    fn from(error: KubeError) -> Self {
        Self::Kube(error)
    }
}
