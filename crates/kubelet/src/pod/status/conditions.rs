//! The conditions of a pod that are a kubelet's to set.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::containers::Shown;
use super::{phase, seconds};

/// PodScheduled (only where nobody has set it), Initialized, ContainersReady and Ready.
///
/// `foreign` is the status as the source has it: the conditions that others set are there.
pub(super) fn of(
    previous: &Value,
    foreign: &Value,
    phase: &str,
    inits: &[Shown],
    containers: &[Shown],
    gates: &[&str],
    now: Timestamp,
) -> Vec<Value> {
    let before = |kind: &str| find(previous, kind);
    let is_true = |of: &Value, kind: &str| find(of, kind).and_then(|c| c.get("status")?.as_str()) == Some("True");
    let not = |of: &[Shown], good: &dyn Fn(&Shown) -> bool| {
        let names: Vec<&str> = of.iter().filter(|c| !c.kept_back && !good(c)).map(|c| c.status.name.as_str()).collect();
        names.join(" ")
    };

    let late = not(inits, &phase::is_initialised);
    // A sidecar that ends with its pod does not undo the initialisation.
    let initialised = if late.is_empty() || phase == "Succeeded" || is_true(previous, "Initialized") {
        Ok(if phase == "Succeeded" { "PodCompleted" } else { "" })
    } else {
        Err(("ContainersNotInitialized", format!("containers with incomplete status: [{late}]")))
    };
    let unready = not(containers, &|c| c.status.ready);
    let containers_ready = match phase {
        "Succeeded" => Err(("PodCompleted", String::new())),
        "Failed" => Err(("PodFailed", String::new())),
        _ if unready.is_empty() => Ok(""),
        _ => Err(("ContainersNotReady", format!("containers with unready status: [{unready}]"))),
    };
    let open: Vec<&str> = gates.iter().copied().filter(|g| !is_true(foreign, g)).collect();
    let ready = match &containers_ready {
        Ok(_) if !open.is_empty() => {
            Err(("ReadinessGatesNotReady", format!("conditions that are not True: [{}]", open.join(" "))))
        }
        other => other.clone(),
    };

    let scheduled = find(foreign, "PodScheduled").or_else(|| before("PodScheduled")).cloned();
    let mut conditions = vec![scheduled.unwrap_or_else(|| condition("PodScheduled", &Ok(""), None, now))];
    for (kind, verdict) in [("Initialized", &initialised), ("ContainersReady", &containers_ready), ("Ready", &ready)] {
        conditions.push(condition(kind, verdict, before(kind), now));
    }
    conditions
}

fn find<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = status.get("conditions").and_then(Value::as_array);
    all.into_iter().flatten().find(|c| c.get("type").and_then(Value::as_str) == Some(kind))
}

type Verdict = Result<&'static str, (&'static str, String)>;

fn condition(kind: &str, verdict: &Verdict, before: Option<&Value>, now: Timestamp) -> Value {
    let (status, reason, message) = match verdict {
        Ok(reason) => ("True", *reason, ""),
        Err((reason, message)) => ("False", *reason, message.as_str()),
    };
    let since = before
        .filter(|c| c.get("status").and_then(Value::as_str) == Some(status))
        .and_then(|c| c.get("lastTransitionTime"))
        .filter(|t| t.is_string());
    let since = since.cloned().unwrap_or_else(|| json!(seconds(now)));
    // Empty texts are sent, because a merge keeps what is not mentioned.
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
}

/// Whether `current` has every condition of `wanted`, just so; empty and absent texts are the same.
pub(super) fn contains(current: Option<&Value>, wanted: &Value) -> bool {
    let current = current.and_then(Value::as_array);
    let text = |condition: &Value, key: &str| condition.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    wanted.as_array().into_iter().flatten().all(|w| {
        let keys = ["status", "reason", "message", "lastTransitionTime"];
        current
            .into_iter()
            .flatten()
            .any(|c| text(c, "type") == text(w, "type") && keys.iter().all(|k| text(c, k) == text(w, k)))
    })
}
