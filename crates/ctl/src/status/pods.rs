//! The pods that the plugin has, by way of the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use interlink_transport::{Call, Client, Endpoint};
use interlink_wire::{ContainerState, Envelope, Fault, PodListEntry, PodStatus, header, path};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::run::outcome::exit_code;
use crate::run::phase::Teller;

/// The most that is read of an answer, in bytes: some ten thousand pods.
const ANSWER_LIMIT: usize = 64 << 20;

/// One pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its phase in the words of `kubectl get pods`.
    pub phase: &'static str,
    /// Its job, or empty.
    pub job: String,
    /// The compute node, or empty.
    pub node: String,
    /// Since when it is in that phase, as far as that is known.
    pub since: Option<Timestamp>,
    /// What was last heard of it.
    pub event: String,
}

/// The pods, or why they are not known.
#[derive(Debug, Clone, PartialEq)]
pub enum Listed {
    /// All of them, by namespace and name.
    Pods(Vec<Pod>),
    /// Why not.
    Unknown(String),
}

/// Asks the API server at `endpoint`. Two questions, of which each has the limit.
pub async fn list(endpoint: &Endpoint, limit: Duration) -> Listed {
    let client = Client::new(endpoint.clone());
    let pods = async {
        match ask(&client, path::PODS, None, String::new(), limit).await {
            Ok(body) => {
                let entries = PodListEntry::decode_list(&body).map_err(|e| e.to_string())?;
                let statuses = statuses(&client, &entries, limit).await;
                Ok(entries.iter().map(|entry| read(entry, statuses.get(&entry.uid))).collect())
            }
            // A plugin of others can't list its pods; the API server has heard of those that it was asked about.
            Err(Trouble { unsupported: true, .. }) => {
                let body = ask(&client, path::STATUS, None, "[]".to_owned(), limit).await.map_err(|t| t.words)?;
                let known = PodStatus::decode_list(&body).map_err(|e| e.to_string())?;
                Ok(known.iter().map(|status| read(&entry_of(status), Some(status))).collect())
            }
            Err(trouble) => Err(trouble.words),
        }
    };
    // Two answers may each come at the last moment.
    match tokio::time::timeout(2 * limit, pods).await {
        Ok(Ok(pods)) => {
            let mut pods: Vec<Pod> = pods;
            pods.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
            Listed::Pods(pods)
        }
        Ok(Err(why)) => Listed::Unknown(why),
        Err(_) => Listed::Unknown(format!("no answer within {} s", 2 * limit.as_secs())),
    }
}

struct Trouble {
    unsupported: bool,
    words: String,
}

async fn ask(
    client: &Client,
    path: &str,
    owner: Option<&str>,
    body: String,
    limit: Duration,
) -> Result<Vec<u8>, Trouble> {
    let trouble = |words: String| Trouble { unsupported: false, words };
    let mut call = Call::new(Method::GET, path, body).header("content-type", "application/json").timeout(limit);
    if let Some(owner) = owner {
        call = call.header(header::OWNER, owner);
    }
    let answer = client.send(call).await.map_err(|e| trouble(e.to_string()))?;
    let (status, fault) = (answer.status, answer.header(header::ERROR).map(str::to_owned));
    let body = answer.bytes(ANSWER_LIMIT, limit).await.map_err(|e| trouble(e.to_string()))?;
    if status.is_success() {
        return Ok(body.to_vec());
    }
    let words = Fault::read("api", status.as_u16(), fault.as_deref(), &body).to_string();
    Err(Trouble { unsupported: status == http::StatusCode::NOT_FOUND, words })
}

/// By UID. Asked for each owner, as its kubelet asks, so that the API server notes nothing wrong; missing ones are only
/// less to show.
async fn statuses(client: &Client, entries: &[PodListEntry], limit: Duration) -> BTreeMap<String, PodStatus> {
    let mut owners: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for entry in entries {
        // The word of a pod that goes on is asked for anew.
        owners.entry(&entry.owner).or_default().push(json!({
            "metadata": {"name": entry.name, "namespace": entry.namespace, "uid": entry.uid},
            "status": {"phase": if entry.state == "pending" { "Pending" } else { "Running" }},
        }));
    }
    let asks = owners.into_iter().map(|(owner, pods)| async move {
        let owner = Some(owner).filter(|owner| !owner.is_empty());
        let body = ask(client, path::STATUS, owner, Value::Array(pods).to_string(), limit).await.ok()?;
        PodStatus::decode_list(&body).ok()
    });
    let answers = futures_util::future::join_all(asks).await;
    answers.into_iter().flatten().flatten().map(|status| (status.uid.clone(), status)).collect()
}

fn entry_of(status: &PodStatus) -> PodListEntry {
    PodListEntry {
        namespace: status.namespace.clone(),
        name: status.name.clone(),
        uid: status.uid.clone(),
        jid: status.jid.clone(),
        ..PodListEntry::default()
    }
}

/// What is shown of a pod. Pure.
fn read(entry: &PodListEntry, status: Option<&PodStatus>) -> Pod {
    let (phase, since) = phase(entry, status);
    let event = status.map(|status| {
        let lines = Teller::default().lines(status);
        // Job and node have columns of their own.
        let said: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.starts_with("is ")).collect();
        said.join(", ").split_whitespace().collect::<Vec<_>>().join(" ")
    });
    let job = status.map(|status| status.jid.as_str()).filter(|jid| !jid.is_empty()).unwrap_or(&entry.jid);
    Pod {
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
        uid: entry.uid.clone(),
        phase,
        job: job.to_owned(),
        node: status.and_then(|status| status.node_name.clone()).unwrap_or_default(),
        since,
        event: event.unwrap_or_default(),
    }
}

fn phase(entry: &PodListEntry, status: Option<&PodStatus>) -> (&'static str, Option<Timestamp>) {
    let all = || status.into_iter().flat_map(|status| status.init_containers.iter().chain(&status.containers));
    if entry.state == "deleting" {
        return ("Terminating", None);
    }
    if let Some(code) = status.and_then(exit_code) {
        let finished = all().filter_map(|c| c.state.terminated()).filter_map(|t| t.finished_at).max();
        return (if code == 0 { "Succeeded" } else { "Failed" }, finished);
    }
    let running = |state: &ContainerState| match state {
        ContainerState::Running(running) => Some(running.started_at),
        _ => None,
    };
    let started: Vec<Option<Timestamp>> = all().filter_map(|container| running(&container.state)).collect();
    match (started.is_empty(), status, entry.state.as_str()) {
        (false, ..) => ("Running", started.into_iter().flatten().min()),
        // Nobody says more than the list.
        (true, None, "running") => ("Running", None),
        (true, None, "finished") => ("Finished", None),
        (true, ..) => ("Pending", entry.created_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(entry: &Value, status: Option<Value>) -> Pod {
        let entry = PodListEntry::from_value(entry.clone()).unwrap();
        read(&entry, status.map(|status| PodStatus::from_value(status).unwrap()).as_ref())
    }

    #[test]
    fn a_pod_is_told_in_the_words_of_kubectl() {
        let entry = |state: &str| json!({"namespace": "n", "name": "p", "UID": "u", "JID": "7", "state": state, "createdAt": "2026-01-01T00:00:00Z"});
        let status = |state: Value| {
            Some(
                json!({"name": "p", "UID": "u", "JID": "8", "nodeName": "n1", "containers": [{"name": "c", "state": state}]}),
            )
        };
        let started = json!({"running": {"startedAt": "2026-01-01T00:00:05Z"}});
        let failed = json!({"terminated": {"exitCode": 3, "finishedAt": "2026-01-01T00:00:09Z", "reason": "Error"}});
        let cases = [
            (entry("pending"), None, ("Pending", "7", "", "2026-01-01T00:00:00Z", "")),
            (
                entry("pending"),
                status(json!({"waiting": {"reason": "Queued", "message": "behind 3 others"}})),
                ("Pending", "8", "n1", "2026-01-01T00:00:00Z", "Pending (Queued: behind 3 others)"),
            ),
            (entry("running"), status(started), ("Running", "8", "n1", "2026-01-01T00:00:05Z", "Running")),
            (entry("finished"), status(failed), ("Failed", "8", "n1", "2026-01-01T00:00:09Z", "Failed (exit code 3)")),
            (entry("deleting"), None, ("Terminating", "7", "", "", "")),
            (entry("finished"), None, ("Finished", "7", "", "", "")),
        ];
        for (entry, status, expected) in cases {
            let pod = pod(&entry, status);
            let since = pod.since.map(|since| since.to_string()).unwrap_or_default();
            assert_eq!((pod.phase, pod.job.as_str(), pod.node.as_str(), since.as_str(), pod.event.as_str()), expected);
        }
    }
}
