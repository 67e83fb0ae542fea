//! The pods that this process knows, by UID: what the source wants, what the plugin said last, what was made of it.
//!
//! Written by the pod logic, read by everybody (the kubelet server, the status poll, the sweep). Readers get
//! [`Arc`]s and never hold the lock. Nothing in here must survive the process: Kubernetes and the plugin have it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use interlink_wire::{Object, PodStatus, PodUid};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many pods that are gone stay findable, for `kubectl logs` on a pod that just went.
const DEPARTED_LIMIT: usize = 1000;

/// How far the submission of a pod has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// Nobody has sent it.
    Unsent,
    /// It is being sent right now.
    Sending,
    /// Someone (an earlier process, or a call whose answer got lost) may have sent it.
    Unknown,
    /// The remote side has it.
    Accepted,
    /// It will never be sent (again): the remote side, or the pod itself, forbids it.
    Refused {
        /// One CamelCase word.
        reason: &'static str,
        /// Why, in one sentence.
        sentence: String,
    },
    /// The remote side had it and no longer knows it, though nobody deleted it.
    Lost,
}

/// How far the deletion at the remote side has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Not asked for.
    NotAsked,
    /// The remote side took the request at this time; the containers may still be on their way down.
    Asked(Instant),
    /// The remote side no longer has the pod.
    Confirmed,
}

/// A pod, as known now.
#[derive(Debug, Clone)]
pub struct KnownPod {
    /// Its UID, the key.
    pub uid: PodUid,
    /// The pod as the source last had it, spec and all.
    pub object: Arc<Object>,
    /// Whether the source still has it.
    pub present: bool,
    /// How far its submission has come.
    pub submission: Submission,
    /// How far its deletion has come.
    pub ending: Ending,
    /// The scheduler's job id, or empty.
    pub job: String,
    /// The plugin's latest word.
    pub remote: Option<Arc<PodStatus>>,
    /// The Kubernetes status that we made last, which may be newer than the one in `object`.
    pub status: Option<Arc<Value>>,
    /// How many times in a row the plugin answered a status request without this pod.
    pub missed: u32,
    /// How many times in a row the plugin's pod list did not have it.
    pub unlisted: u32,
    /// Why it does not go on, as (reason, sentence), while it waits for something.
    pub trouble: Option<(&'static str, String)>,
    /// When the plugin last said something new of it.
    pub changed_at: Instant,
    /// When the plugin was last asked about it.
    pub asked_at: Option<Instant>,
    /// Wakes whoever works on this pod.
    pub(crate) wake: Arc<Notify>,
}

impl KnownPod {
    fn new(uid: PodUid, object: Arc<Object>) -> Self {
        Self {
            uid,
            object,
            present: true,
            submission: Submission::Unsent,
            ending: Ending::NotAsked,
            job: String::new(),
            remote: None,
            status: None,
            missed: 0,
            unlisted: 0,
            trouble: None,
            changed_at: Instant::now(),
            asked_at: None,
            wake: Arc::default(),
        }
    }

    /// Namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.object.namespace()
    }

    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.object.name()
    }

    /// `Pending`, `Running`, `Succeeded`, `Failed`, or empty: by our own latest status, else by the source's.
    #[must_use]
    pub fn phase(&self) -> &str {
        match self.status.as_deref().and_then(|s| s.get("phase")).and_then(Value::as_str) {
            Some(phase) => phase,
            None => self.object.phase(),
        }
    }

    /// Whether the source shows a final phase: what it shows cannot be taken back.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.object.phase(), "Succeeded" | "Failed")
    }

    /// `spec` and `metadata`: how long the containers have to end, in seconds.
    #[must_use]
    pub fn grace_seconds(&self) -> u64 {
        let of = |part: &str, key: &str| self.object.fields().get(part)?.get(key)?.as_u64();
        of("metadata", "deletionGracePeriodSeconds")
            .or_else(|| of("spec", "terminationGracePeriodSeconds"))
            .unwrap_or(30)
    }

    /// Whether its phase is final.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// Whether the source wants it to end.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        !self.present
            || self
                .object
                .fields()
                .get("metadata")
                .and_then(|m| m.get("deletionTimestamp"))
                .is_some_and(|t| !t.is_null())
    }

    /// The pod with our latest status and job id, as the kubelet API shows it.
    #[must_use]
    pub fn to_object(&self) -> Object {
        let mut object = (*self.object).clone();
        if !self.job.is_empty() {
            note_job(&mut object, &self.job);
        }
        if let Some(status) = &self.status {
            object.fields_mut().insert("status".into(), (**status).clone());
        }
        object
    }
}

/// Sets the annotation `JobID`, in which the existing virtual kubelet keeps the job id.
fn note_job(object: &mut Object, job: &str) {
    let metadata = object.fields_mut().entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    let annotations = metadata.entry("annotations").or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = Value::Object(Map::new());
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert("JobID".into(), job.into());
    }
}

/// What [`PodTable::apply`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Not known before.
    New,
    /// Known, and now different.
    Changed,
    /// Known just so.
    Same,
}

/// The table. Cheap to share behind an [`Arc`].
#[derive(Debug, Default)]
pub struct PodTable {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pods: HashMap<PodUid, Arc<KnownPod>>,
    departed: VecDeque<Arc<KnownPod>>,
}

impl PodTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a pod as the source has it.
    pub fn apply(&self, uid: &PodUid, object: Object) -> Applied {
        let mut inner = self.lock();
        match inner.pods.get_mut(uid) {
            None => {
                inner.pods.insert(uid.clone(), Arc::new(KnownPod::new(uid.clone(), Arc::new(object))));
                Applied::New
            }
            Some(pod) if pod.present && *pod.object == object => Applied::Same,
            Some(pod) => {
                let pod = Arc::make_mut(pod);
                pod.object = Arc::new(object);
                pod.present = true;
                Applied::Changed
            }
        }
    }

    /// Changes a pod in place. `None` if it is not known.
    pub fn update<T>(&self, uid: &PodUid, change: impl FnOnce(&mut KnownPod) -> T) -> Option<T> {
        self.lock().pods.get_mut(uid).map(|pod| change(Arc::make_mut(pod)))
    }

    /// Forgets a pod, but for a while not how to find it.
    pub fn forget(&self, uid: &PodUid) {
        let mut inner = self.lock();
        if let Some(pod) = inner.pods.remove(uid) {
            inner.departed.push_back(pod);
            if inner.departed.len() > DEPARTED_LIMIT {
                inner.departed.pop_front();
            }
        }
    }

    /// A pod by UID, the departed excluded.
    #[must_use]
    pub fn get(&self, uid: &PodUid) -> Option<Arc<KnownPod>> {
        self.lock().pods.get(uid).cloned()
    }

    /// A pod by namespace and name: the one that the source has, else one that is on its way out, else the one that
    /// went last.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<KnownPod>> {
        let inner = self.lock();
        let named = |pod: &&Arc<KnownPod>| pod.name() == name && pod.namespace() == namespace;
        let known = inner.pods.values().filter(named).max_by_key(|pod| pod.present);
        known.or_else(|| inner.departed.iter().rev().find(named)).cloned()
    }

    /// Every pod, the departed excluded, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<KnownPod>> {
        self.lock().pods.values().cloned().collect()
    }

    /// A panic elsewhere leaves whole entries behind, so the table stays usable.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn uid(n: u8) -> PodUid {
        PodUid::parse(&format!("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c{n:02x}")).unwrap()
    }

    fn pod(n: u8, name: &str) -> Object {
        let value = json!({"metadata": {"namespace": "ns", "name": name, "uid": uid(n).as_str()}, "status": {"phase": "Pending"}});
        Object::from_value(value).unwrap()
    }

    #[test]
    fn a_pod_is_new_once() {
        let table = PodTable::new();
        assert_eq!(table.apply(&uid(1), pod(1, "a")), Applied::New);
        assert_eq!(table.apply(&uid(1), pod(1, "a")), Applied::Same);
        table.update(&uid(1), |p| p.present = false);
        assert_eq!(table.apply(&uid(1), pod(1, "a")), Applied::Changed);
        assert!(table.get(&uid(1)).unwrap().present);
    }

    #[test]
    fn a_name_leads_to_the_present_pod_then_to_the_departed_one() {
        let table = PodTable::new();
        table.apply(&uid(1), pod(1, "a"));
        table.update(&uid(1), |p| p.present = false);
        table.apply(&uid(2), pod(2, "a"));
        assert_eq!(table.find("ns", "a").unwrap().uid, uid(2));
        table.forget(&uid(2));
        assert_eq!(table.find("ns", "a").unwrap().uid, uid(1));
        table.forget(&uid(1));
        assert_eq!(table.find("ns", "a").unwrap().uid, uid(1));
        assert!(table.get(&uid(1)).is_none() && table.find("ns", "b").is_none());
    }

    #[test]
    fn our_status_wins_over_the_one_in_the_object() {
        let table = PodTable::new();
        table.apply(&uid(1), pod(1, "a"));
        table.update(&uid(1), |p| p.status = Some(Arc::new(json!({"phase": "Succeeded"}))));
        let known = table.get(&uid(1)).unwrap();
        assert!(known.is_finished() && !known.is_terminating());
        assert_eq!(known.to_object().phase(), "Succeeded");
        assert_eq!(known.to_object().annotation("JobID"), None);
        table.update(&uid(1), |p| p.job = "7".into());
        assert_eq!(table.get(&uid(1)).unwrap().to_object().annotation("JobID"), Some("7"));
    }
}
