//! What Kubernetes shows of a pod, made of what the plugin says of it. Pure.
//!
//! ```text
//!   spec, previous status, plugin's PodStatus, submission ──make()──▶ core/v1 PodStatus ──patch()──▶ what is written
//! ```
//!
//! Rules: every container of the spec has a status, in the order of the spec; what has ended stays ended; a phase that is
//! final stays final; what the plugin does not say keeps its previous value; times move only with what they date.

mod conditions;
mod containers;
mod phase;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use interlink_wire::{Object, PodStatus};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::pod_table::{Ending, KnownPod, Submission};

pub use containers::SUBMITTING;
use containers::{Names, Waiting};

/// Reason of a pod that the remote side refuses. The existing virtual kubelet's word.
pub const PROVIDER_FAILED: &str = "ProviderFailed";
/// Reason of a pod whose job the remote side no longer knows.
pub const JOB_LOST: &str = "JobLost";

/// The annotation by which a VPN (or a person) gives the pod's address.
const POD_IP: &str = "interlink.eu/pod-ip";

/// The status of `pod` at `now`. `host` is the node's own address.
#[must_use]
pub fn make(pod: &KnownPod, host: Option<IpAddr>, now: Timestamp) -> Value {
    let none = Value::Null;
    let foreign = pod.object.fields().get("status").unwrap_or(&none);
    let previous = pod.status.as_deref().unwrap_or(foreign);
    let names = Names::of(&pod.object);
    let end = forced_end(pod);
    let remote = pod.remote.as_deref();
    let waiting = waiting(pod);
    let containers = names.main(previous, remote, &waiting, end.as_ref(), now);
    let inits = names.init(previous, remote, &waiting, end.as_ref(), now);
    let before = previous.get("phase").and_then(Value::as_str).unwrap_or("");
    let phase = match &end {
        Some(end) if !phase::is_final(before) && end.fails => "Failed",
        _ => phase::of(before, &inits, &containers, names.restart_policy()),
    };
    let gates = names.readiness_gates();
    let conditions = conditions::of(previous, foreign, phase, &inits, &containers, &gates, now);

    let mut status = Map::new();
    status.insert("phase".into(), phase.into());
    let (reason, message) = reason(pod, phase, previous, end.as_ref());
    if !reason.is_empty() {
        status.insert("reason".into(), reason.into());
    }
    if !message.is_empty() {
        status.insert("message".into(), message.into());
    }
    let start = previous.get("startTime").filter(|t| t.is_string()).cloned();
    status.insert("startTime".into(), start.unwrap_or_else(|| json!(seconds(now))));
    addresses(&mut status, pod, remote, previous, host);
    status.insert("conditions".into(), Value::Array(conditions));
    status.insert("containerStatuses".into(), containers::list(containers));
    if !inits.is_empty() {
        status.insert("initContainerStatuses".into(), containers::list(inits));
    }
    Value::Object(status)
}

/// The status as a strategic merge patch. It is complete, because what the source has may be older than what was written
/// last; conditions of others stay; the UID makes sure that it is still the same pod.
#[must_use]
pub fn patch(uid: &str, wanted: &Value) -> Value {
    let mut status = Map::new();
    for (key, value) in wanted.as_object().into_iter().flatten() {
        status.insert(key.clone(), replacing(key, value));
    }
    for key in ["reason", "message"] {
        status.entry(key).or_insert(Value::Null);
    }
    json!({"metadata": {"uid": uid}, "status": status})
}

/// Whether `current` (the source's) shows everything that `wanted` does.
#[must_use]
pub fn shows(current: &Value, wanted: &Value) -> bool {
    let absent = |key: &str| current.get(key).and_then(Value::as_str).unwrap_or("").is_empty();
    let wanted = wanted.as_object();
    let cleared =
        ["reason", "message"].into_iter().all(|key| wanted.is_some_and(|w| w.contains_key(key)) || absent(key));
    let same = |(key, value): (&String, &Value)| match key.as_str() {
        "conditions" => conditions::contains(current.get(key), value),
        _ => current.get(key) == Some(value),
    };
    cleared && wanted.into_iter().flatten().all(same)
}

/// Lists of addresses are merged by address unless they say that they replace.
fn replacing(key: &str, value: &Value) -> Value {
    match value {
        Value::Array(items) if matches!(key, "hostIPs" | "podIPs") => {
            Value::Array(std::iter::once(json!({"$patch": "replace"})).chain(items.iter().cloned()).collect())
        }
        other => other.clone(),
    }
}

/// An end that the plugin did not report: refused, lost, or gone while it was to be deleted.
#[derive(Debug, Clone)]
struct ForcedEnd {
    exit_code: i32,
    reason: &'static str,
    message: String,
    /// Whether the pod fails by it; else the containers that ended by themselves decide.
    fails: bool,
}

fn forced_end(pod: &KnownPod) -> Option<ForcedEnd> {
    match &pod.submission {
        Submission::Refused { reason, sentence } => {
            Some(ForcedEnd { exit_code: 1, reason, message: sentence.clone(), fails: true })
        }
        Submission::Lost => {
            Some(ForcedEnd { exit_code: 137, reason: JOB_LOST, message: lost_sentence(&pod.job), fails: true })
        }
        // The words of the real kubelet for the same case.
        _ if pod.ending == Ending::Confirmed => Some(ForcedEnd {
            exit_code: 137,
            reason: "ContainerStatusUnknown",
            message: "The container could not be located when the pod was terminated".into(),
            fails: false,
        }),
        _ => None,
    }
}

/// Which container of a failed pod failed, and how: one sentence.
#[must_use]
pub fn failure(status: &Value) -> String {
    let lists = ["initContainerStatuses", "containerStatuses"].into_iter();
    let mut all = lists.filter_map(|list| status.get(list)?.as_array()).flatten();
    let ended = |c: &Value| c.get("state").and_then(|s| s.get("terminated")).cloned();
    let failed = all.find_map(|c| ended(c).filter(|t| t.get("exitCode") != Some(&json!(0))).map(|t| (c, t)));
    let Some((container, end)) = failed else { return "the pod failed".to_owned() };
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let code = end.get("exitCode").map(ToString::to_string).unwrap_or_default();
    let mut sentence = format!("container {} ended with exit code {code}", text(container, "name"));
    for (before, key, after) in [(" (", "reason", ")"), (": ", "message", "")] {
        let word = text(&end, key);
        if !word.is_empty() {
            sentence += &format!("{before}{word}{after}");
        }
    }
    sentence
}

/// What is said of a job that is gone.
#[must_use]
pub fn lost_sentence(job: &str) -> String {
    let job = if job.is_empty() { "its job".to_owned() } else { format!("job {job}") };
    format!("the remote side no longer knows {job}, and how it ended is not known; submit the pod again")
}

/// Why containers that the plugin has said nothing of are waiting.
fn waiting(pod: &KnownPod) -> Waiting {
    match (&pod.trouble, &pod.submission) {
        (Some((reason, message)), _) => Waiting { reason: (*reason).to_owned(), message: message.clone() },
        (None, Submission::Accepted) if pod.job.is_empty() => {
            Waiting { reason: "Submitted".into(), message: "the remote side has accepted the pod".into() }
        }
        (None, Submission::Accepted) => {
            Waiting { reason: "Submitted".into(), message: format!("submitted as job {}", pod.job) }
        }
        (None, Submission::Sending | Submission::Unknown) => {
            Waiting { reason: SUBMITTING.into(), message: "the pod is being submitted to the remote side".into() }
        }
        _ => Waiting { reason: "ContainerCreating".into(), message: "the pod waits to be submitted".into() },
    }
}

fn reason(pod: &KnownPod, phase: &str, previous: &Value, end: Option<&ForcedEnd>) -> (String, String) {
    let text = |key: &str| previous.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    match (end, &pod.trouble) {
        // What made it fail stays readable.
        _ if phase::is_final(previous.get("phase").and_then(Value::as_str).unwrap_or("")) => {
            (text("reason"), text("message"))
        }
        (Some(end), _) if end.fails => (end.reason.to_owned(), end.message.clone()),
        (_, Some((reason, message))) if phase == "Pending" => ((*reason).to_owned(), message.clone()),
        _ => (String::new(), String::new()),
    }
}

fn addresses(
    status: &mut Map<String, Value>,
    pod: &KnownPod,
    remote: Option<&PodStatus>,
    previous: &Value,
    host: Option<IpAddr>,
) {
    let told = |value: Option<&str>| value.and_then(usable);
    let before = |key: &str| previous.get(key).and_then(Value::as_str).and_then(usable);
    let host_ip = told(remote.and_then(|r| r.host_ip.as_deref())).or_else(|| before("hostIP")).or(host);
    let pod_ip = told(remote.and_then(|r| r.pod_ip.as_deref()))
        .or_else(|| told(pod.object.annotation(POD_IP)))
        .or_else(|| before("podIP"));
    for (one, list, ip) in [("hostIP", "hostIPs", host_ip), ("podIP", "podIPs", pod_ip)] {
        if let Some(ip) = ip {
            status.insert(one.into(), ip.to_string().into());
            status.insert(list.into(), json!([{"ip": ip.to_string()}]));
        }
    }
}

/// An address that Kubernetes takes and that leads somewhere: EndpointSlices refuse loopback and link-local ones.
#[must_use]
pub fn usable(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.trim().parse().ok()?;
    let local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    (!ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast() && !local).then_some(ip)
}

/// Kubernetes keeps whole seconds.
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Whether the status that the source has shows that somebody meant to send the pod and that nobody knows how it went.
#[must_use]
pub fn was_being_submitted(object: &Object) -> bool {
    containers::any_waiting(object, &[SUBMITTING, "SubmissionUnknown", "Remote pod submitted"])
}

/// Whether the status that the source has shows that the remote side had the pod.
#[must_use]
pub fn was_submitted(object: &Object) -> bool {
    containers::any_waiting(object, &["Submitted"]) || containers::any_started(object)
}

/// Whether the status that the source has says anything of containers.
#[must_use]
pub fn is_shown(object: &Object) -> bool {
    containers::any(object)
}
