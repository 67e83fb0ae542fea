//! core/v1 Events: one per thing that happened to a pod, counted when it happens again.
//!
//! core/v1 and not events.k8s.io, because that is what the existing chart grants. Telling never waits: when the API server
//! is slow, news are dropped before anything else is.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use interlink_wire::Object;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::{Kube, KubeError, Merge};
use crate::interlink::ping::shortened;
use crate::source::Note;

/// News that wait to be sent.
const QUEUE: usize = 1024;
/// Events that can be counted on; older ones begin anew.
const REMEMBERED: usize = 4096;
/// The same event is written again at most so often.
const REPEAT: Duration = Duration::from_secs(60);
/// The API server's limit for a message, in bytes.
const MESSAGE_LIMIT: usize = 1024;

/// A handle to tell events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<(Value, Note)>,
}

impl Events {
    /// Starts the task that writes events of the node named `node`.
    #[must_use]
    pub fn start(kube: Kube, node: &str, shutdown: CancellationToken) -> Self {
        let (queue, news) = mpsc::channel(QUEUE);
        tokio::spawn(write(kube, node.to_owned(), news, shutdown));
        Self { queue }
    }

    /// Tells something about a pod.
    pub fn tell(&self, pod: &Object, note: Note) {
        let about = json!({"apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()});
        if self.queue.try_send((about, note)).is_err() {
            tracing::debug!("an event was dropped, too many wait");
        }
    }
}

/// What was told before, by UID and note.
#[derive(Debug, Default)]
struct Memory {
    told: HashMap<(String, Note), Told>,
    order: VecDeque<(String, Note)>,
}

#[derive(Debug, Clone)]
struct Told {
    name: String,
    count: u64,
    written: Instant,
}

/// What to do with a piece of news.
#[derive(Debug, PartialEq, Eq)]
enum Writing {
    New(String),
    Again(String, u64),
    Nothing,
}

impl Memory {
    fn note(&mut self, about: &Value, note: &Note, now: Instant) -> Writing {
        let text = |key: &str| about.get(key).and_then(Value::as_str).unwrap_or("");
        let key = (text("uid").to_owned(), note.clone());
        if let Some(told) = self.told.get_mut(&key) {
            told.count = told.count.saturating_add(1);
            if now.saturating_duration_since(told.written) < REPEAT {
                return Writing::Nothing;
            }
            told.written = now;
            return Writing::Again(told.name.clone(), told.count);
        }
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.told.remove(&oldest);
        }
        // A pod's name may be as long as an object's name can be.
        let pod: String = text("name").chars().take(200).collect();
        let name = format!("{}.{:016x}", pod.trim_end_matches(['.', '-']), rand::random::<u64>());
        self.told.insert(key.clone(), Told { name: name.clone(), count: 1, written: now });
        self.order.push_back(key);
        Writing::New(name)
    }

    fn forget(&mut self, about: &Value, note: &Note) {
        let uid = about.get("uid").and_then(Value::as_str).unwrap_or("").to_owned();
        self.told.remove(&(uid, note.clone()));
    }
}

async fn write(kube: Kube, node: String, mut news: mpsc::Receiver<(Value, Note)>, shutdown: CancellationToken) {
    let mut memory = Memory::default();
    loop {
        let (about, note) = tokio::select! {
            () = shutdown.cancelled() => return,
            next = news.recv() => match next { Some(next) => next, None => return },
        };
        let namespace = about.get("namespace").and_then(Value::as_str).unwrap_or("default").to_owned();
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let now = Timestamp::now();
        let written = match memory.note(&about, &note, Instant::now()) {
            Writing::Nothing => continue,
            Writing::New(name) => kube.create(&path, &event(&about, &note, &node, &name, now)).await,
            Writing::Again(name, count) => {
                let patch = json!({"count": count, "lastTimestamp": seconds(now)});
                kube.patch(&format!("{path}/{name}"), Merge::Plain, &patch).await
            }
        };
        if let Err(error) = written {
            // It has expired, or was never written: the next time it is a new one.
            memory.forget(&about, &note);
            // Of a pod in a namespace that is going away nothing can be told.
            match error {
                KubeError::Unavailable(_) => {
                    tracing::warn!(err = %error, reason = note.reason, "an event could not be written")
                }
                _ => tracing::debug!(err = %error, reason = note.reason, "an event could not be written"),
            }
        }
    }
}

fn event(about: &Value, note: &Note, node: &str, name: &str, now: Timestamp) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": about.get("namespace")},
        "involvedObject": about,
        "reason": note.reason,
        "message": shortened(&note.message, MESSAGE_LIMIT),
        "type": if note.warning { "Warning" } else { "Normal" },
        "source": {"component": "virtual-kubelet", "host": node},
        "reportingComponent": "virtual-kubelet", "reportingInstance": node,
        "firstTimestamp": seconds(now), "lastTimestamp": seconds(now), "count": 1,
    })
}

fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_repeated_event_is_counted() {
        let mut memory = Memory::default();
        let about = json!({"name": "p", "uid": "u"});
        let note = Note::warning("FailedMount", "missing");
        let Writing::New(name) = memory.note(&about, &note, Instant::now()) else { panic!("not new") };
        assert!(name.starts_with("p."));
        assert_eq!(memory.note(&about, &note, Instant::now()), Writing::Nothing);
        assert_eq!(memory.note(&about, &note, Instant::now() + REPEAT), Writing::Again(name, 3));
        assert!(matches!(memory.note(&json!({"name": "p", "uid": "other"}), &note, Instant::now()), Writing::New(_)));
        memory.forget(&about, &note);
        assert!(matches!(memory.note(&about, &note, Instant::now()), Writing::New(_)));
        for n in 0..2 * REMEMBERED {
            memory.note(&json!({"name": "p", "uid": n.to_string()}), &note, Instant::now());
        }
        assert!(memory.told.len() <= REMEMBERED && memory.order.len() <= REMEMBERED);
    }

    #[test]
    fn an_event_is_what_kubectl_shows() {
        let about = json!({"kind": "Pod", "namespace": "ns", "name": "p", "uid": "u"});
        let event = event(&about, &Note::warning("Failed", "x".repeat(5000)), "n", "p.1", Timestamp::UNIX_EPOCH);
        assert_eq!(
            (&event["type"], &event["metadata"]["namespace"], &event["count"]),
            (&json!("Warning"), &json!("ns"), &json!(1))
        );
        assert_eq!(event["firstTimestamp"], "1970-01-01T00:00:00Z");
        assert!(event["message"].as_str().unwrap().len() <= MESSAGE_LIMIT);
    }
}
