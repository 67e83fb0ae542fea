//! From look to look: which pods are told as new, changed or gone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use interlink_wire::{Object, PodUid};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::look::{Looks, Snapshot};
use super::records::{Record, Records};
use super::store::annotate;
use crate::pod_table::PodTable;
use crate::source::{PodEvent, PodSource};

/// Between two looks. A directory of manifests is small; a look is a few system calls.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many looks the first list waits for files that are being written.
const FIRST_LOOKS: u32 = 5;
/// How long after it was told that a pod is gone, and is not in the table, its record goes: by then the pod logic has
/// certainly taken note of it.
const TAKEN_NOTE: Duration = Duration::from_secs(10);

/// The directory as a source of pods.
pub struct DirectorySource {
    looks: Looks,
    teller: Teller,
}

impl std::fmt::Debug for DirectorySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectorySource").field("looks", &self.looks).finish_non_exhaustive()
    }
}

/// What was told about a pod.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    /// That it is there, and what it is.
    Applied(Object),
    /// That it is gone.
    Gone(Instant),
}

struct Teller {
    shared: Arc<Shared>,
    records: Arc<Records>,
    table: Arc<PodTable>,
    told: BTreeMap<PodUid, Told>,
    listed: bool,
}

impl DirectorySource {
    pub(super) fn new(
        directory: PathBuf,
        node: &str,
        shared: Arc<Shared>,
        records: Arc<Records>,
        table: Arc<PodTable>,
    ) -> Self {
        let teller = Teller { shared, records, table, told: BTreeMap::new(), listed: false };
        Self { looks: Looks::new(directory, node), teller }
    }

    /// Looks once and gives what is to be told. `first` says whether the first list may wait for unsettled files.
    pub(super) fn look(&mut self, may_wait: bool) -> Vec<PodEvent> {
        let (snapshot, complaints) = self.looks.look();
        for complaint in complaints {
            tracing::warn!("{complaint}");
        }
        match snapshot {
            Some(snapshot) if self.teller.listed || !snapshot.waiting || !may_wait => self.teller.tell(snapshot),
            _ => Vec::new(),
        }
    }
}

#[async_trait]
impl PodSource for DirectorySource {
    async fn run(self: Box<Self>, events: mpsc::Sender<PodEvent>, shutdown: CancellationToken) {
        let mut source = self;
        let mut looks = 0;
        loop {
            looks += 1;
            let looked = tokio::task::spawn_blocking(move || {
                let told = source.look(looks < FIRST_LOOKS);
                (source, told)
            });
            let told;
            (source, told) = match looked.await {
                Ok(looked) => looked,
                Err(error) => {
                    return tracing::error!(err = %error, "looking at the manifests failed; restart this program");
                }
            };
            for event in told {
                tokio::select! {
                    sent = events.send(event) => if sent.is_err() { return },
                    () = shutdown.cancelled() => return,
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}

impl Teller {
    fn tell(&mut self, mut snapshot: Snapshot) -> Vec<PodEvent> {
        let mut pods = std::mem::take(&mut snapshot.pods);
        let mut ends = Vec::new();
        for uid in self.records.uids() {
            let Some(record) = self.records.get(&uid).filter(|_| !pods.contains_key(&uid)) else { continue };
            if snapshot.unknown.contains(&record.file) {
                // Nobody knows what the file wants, so what ran goes on.
                let pod = match self.told.get(&uid) {
                    Some(Told::Applied(known)) => known.clone(),
                    _ => record.pod,
                };
                pods.insert(uid, (record.file, pod));
            } else {
                ends.push((uid, record.pod));
            }
        }
        snapshot.pods = pods;
        let snapshot = Arc::new(snapshot);
        // First what others may look up, then the news.
        self.shared.set(snapshot.clone());

        let mut events = Vec::new();
        for (uid, pod) in ends {
            self.end(&uid, pod, &mut events);
        }
        let mut applied = Vec::new();
        for (uid, (file, pod)) in &snapshot.pods {
            applied.extend(self.apply(uid, file, pod));
        }
        if self.listed {
            events.extend(applied.into_iter().map(PodEvent::Applied));
        } else {
            self.listed = true;
            // A pod that is to end must be known before it can be told as gone.
            let ended =
                events.iter().filter_map(|e| if let PodEvent::Applied(pod) = e { Some(pod.clone()) } else { None });
            let all = ended.chain(applied).collect();
            events.retain(|e| matches!(e, PodEvent::Deleted(_)));
            events.insert(0, PodEvent::Listed(all));
        }
        events
    }

    /// Tells once that a pod is gone, and drops its record when the pod logic is done with it.
    fn end(&mut self, uid: &PodUid, pod: Object, events: &mut Vec<PodEvent>) {
        match self.told.get(uid) {
            Some(Told::Gone(since)) => {
                if since.elapsed() >= TAKEN_NOTE && self.table.get(uid).is_none() {
                    match self.records.remove(uid) {
                        Ok(()) => drop(self.told.remove(uid)),
                        Err(error) => tracing::warn!(%uid, err = %error, "the record of an ended pod can't be removed"),
                    }
                }
                return;
            }
            Some(Told::Applied(_)) => {}
            // Its manifest went while nobody looked.
            None => events.push(PodEvent::Applied(pod)),
        }
        events.push(PodEvent::Deleted(uid.clone()));
        self.told.insert(uid.clone(), Told::Gone(Instant::now()));
    }

    /// The pod to tell, if that is news.
    fn apply(&mut self, uid: &PodUid, file: &str, pod: &Object) -> Option<Object> {
        match self.told.get(uid) {
            // It came back while its job is being ended: the same pod can only start anew after that.
            Some(Told::Gone(_)) if self.table.get(uid).is_some() => return None,
            Some(Told::Gone(since)) if since.elapsed() < TAKEN_NOTE => return None,
            Some(Told::Gone(_)) => {
                if let Err(error) = self.records.remove(uid) {
                    tracing::warn!(%uid, err = %error, "the record of an ended pod can't be removed");
                    return None;
                }
                self.told.remove(uid);
            }
            Some(Told::Applied(known)) if known == pod => return None,
            _ => {}
        }
        // Kubernetes' times have whole seconds.
        let now = format!("{:.0}", Timestamp::now());
        let kept = self.records.put(uid, |record| {
            Some(record.unwrap_or_else(|| {
                let mut pod = pod.clone();
                created(&mut pod, json!(now));
                Record { file: file.to_owned(), pod }
            }))
        });
        if let Err(error) = kept {
            tracing::warn!(pod = %format!("{}/{}", pod.namespace(), pod.name()), %uid, err = %error, "the pod's record can't be written, so the pod is not started");
            return None;
        }
        self.told.insert(uid.clone(), Told::Applied(pod.clone()));
        let record = self.records.get(uid)?;
        Some(with_past(pod.clone(), &record.pod))
    }
}

/// The manifest's pod with what is recorded of its past.
fn with_past(mut pod: Object, past: &Object) -> Object {
    if let Some(status) = past.fields().get("status") {
        pod.fields_mut().insert("status".to_owned(), status.clone());
    }
    if let Some(job) = past.annotation("JobID") {
        annotate(&mut pod, "JobID", job);
    }
    if let Some(time) = past.fields().get("metadata").and_then(|m| m.get("creationTimestamp")) {
        created(&mut pod, time.clone());
    }
    pod
}

fn created(pod: &mut Object, time: serde_json::Value) {
    if let Some(metadata) = pod.fields_mut().get_mut("metadata").and_then(|m| m.as_object_mut()) {
        metadata.insert("creationTimestamp".to_owned(), time);
    }
}
