//! Where the status of the directory's pods goes: into their records, for the next run of this process.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use interlink_wire::{Object, PodUid};
use serde_json::{Value, json};

use super::Shared;
use super::records::{Record, Records};
use crate::source::{Note, Store, StoreError};

/// How many pods' latest events are remembered, so that each is logged once.
const REMEMBERED: usize = 10_000;

/// The records as a store.
#[derive(Debug)]
pub struct DirectoryStore {
    shared: Arc<Shared>,
    records: Arc<Records>,
    notes: Mutex<HashMap<String, Note>>,
}

impl DirectoryStore {
    pub(super) fn new(shared: Arc<Shared>, records: Arc<Records>) -> Self {
        Self { shared, records, notes: Mutex::default() }
    }

    /// Changes a pod's record off the reactor.
    async fn change(&self, pod: &Object, change: impl FnOnce(&mut Record) + Send + 'static) -> Result<(), StoreError> {
        let uid = PodUid::parse(pod.uid()).map_err(|e| StoreError::Rejected(e.to_string()))?;
        if self.records.get(&uid).is_none() {
            return Err(StoreError::Gone);
        }
        let records = self.records.clone();
        in_background(move || {
            records.put(&uid, |record| {
                let mut record = record?;
                change(&mut record);
                Some(record)
            })
        })
        .await
    }
}

async fn in_background(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(StoreError::Unavailable(format!("the pod's record can't be written: {error}"))),
        Err(error) => Err(StoreError::Unavailable(format!("the pod's record can't be written: {error}"))),
    }
}

#[async_trait]
impl Store for DirectoryStore {
    async fn write_status(&self, pod: &Object, status: &Value) -> Result<(), StoreError> {
        let status = status.clone();
        self.change(pod, move |record| drop(record.pod.fields_mut().insert("status".to_owned(), status))).await
    }

    async fn record_job(&self, pod: &Object, job: &str) -> Result<(), StoreError> {
        let job = job.to_owned();
        self.change(pod, move |record| annotate(&mut record.pod, "JobID", &job)).await
    }

    async fn remove(&self, pod: &Object) -> Result<(), StoreError> {
        let uid = PodUid::parse(pod.uid()).map_err(|e| StoreError::Rejected(e.to_string()))?;
        let records = self.records.clone();
        in_background(move || records.remove(&uid)).await
    }

    async fn exists(&self, _: &str, _: &str, uid: &PodUid) -> Result<bool, StoreError> {
        let unread = || StoreError::Unavailable("the manifests have not been read yet".to_owned());
        let snapshot = self.shared.get().ok_or_else(unread)?;
        if snapshot.pods.contains_key(uid) {
            return Ok(true);
        }
        // A file that was never readable may well hold it.
        match snapshot.unknown.first() {
            Some(file) => {
                Err(StoreError::Unavailable(format!("the manifest {file} can't be read, it may hold the pod")))
            }
            None => Ok(false),
        }
    }

    fn event(&self, pod: &Object, note: Note) {
        {
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            if notes.len() >= REMEMBERED {
                notes.clear();
            }
            if notes.get(pod.uid()) == Some(&note) {
                return;
            }
            notes.insert(pod.uid().to_owned(), note.clone());
        }
        let (name, uid) = (format!("{}/{}", pod.namespace(), pod.name()), pod.uid());
        if note.warning {
            tracing::warn!(pod = %name, uid, reason = note.reason, "{}", note.message);
        } else {
            tracing::info!(pod = %name, uid, reason = note.reason, "{}", note.message);
        }
    }
}

/// Sets an annotation.
pub(super) fn annotate(pod: &mut Object, key: &str, value: &str) {
    let metadata = pod.fields_mut().entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if !annotations.is_object() {
            *annotations = json!({});
        }
        annotations[key] = json!(value);
    }
}
