//! Status, job ids and removal of pods, written to the API server.

use async_trait::async_trait;
use interlink_wire::names::is_dns_subdomain;
use interlink_wire::{Object, PodUid};
use serde_json::{Value, json};

use super::api::{Kube, KubeError, Merge};
use super::events::Events;
use crate::pod::status;
use crate::source::{Note, Store, StoreError};

/// The API server as a [`Store`].
#[derive(Debug)]
pub struct KubeStore {
    kube: Kube,
    events: Events,
}

impl KubeStore {
    /// Writes through `kube`, tells through `events`.
    #[must_use]
    pub fn new(kube: Kube, events: Events) -> Self {
        Self { kube, events }
    }
}

fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

fn of(pod: &Object) -> String {
    path(pod.namespace(), pod.name())
}

/// A conflict is always about the UID: nothing else is insisted on.
fn sorted(error: KubeError) -> StoreError {
    match error {
        KubeError::NotFound(_) | KubeError::Conflict(_) => StoreError::Gone,
        KubeError::Invalid(why) => StoreError::Rejected(why),
        KubeError::Forbidden(why) | KubeError::Unavailable(why) => StoreError::Unavailable(why),
    }
}

#[async_trait]
impl Store for KubeStore {
    async fn write_status(&self, pod: &Object, wanted: &Value) -> Result<(), StoreError> {
        let patch = status::patch(pod.uid(), wanted);
        self.kube.patch(&format!("{}/status", of(pod)), Merge::Strategic, &patch).await.map(drop).map_err(sorted)
    }

    async fn record_job(&self, pod: &Object, job: &str) -> Result<(), StoreError> {
        let patch = json!({"metadata": {"uid": pod.uid(), "annotations": {"JobID": job}}});
        self.kube.patch(&of(pod), Merge::Plain, &patch).await.map(drop).map_err(sorted)
    }

    async fn remove(&self, pod: &Object) -> Result<(), StoreError> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid()}});
        self.kube.delete(&of(pod), &options).await.map(drop).map_err(sorted)
    }

    async fn exists(&self, namespace: &str, name: &str, uid: &PodUid) -> Result<bool, StoreError> {
        if !is_dns_subdomain(namespace) || !is_dns_subdomain(name) {
            return Ok(false);
        }
        match self.kube.get(&path(namespace, name)).await {
            Ok(pod) => Ok(pod.get("metadata").and_then(|m| m.get("uid")?.as_str()) == Some(uid.as_str())),
            Err(KubeError::NotFound(_)) => Ok(false),
            Err(error) => Err(StoreError::Unavailable(error.to_string())),
        }
    }

    fn event(&self, pod: &Object, note: Note) {
        self.events.tell(pod, note);
    }
}
