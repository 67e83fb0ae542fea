//! The node's conditions. Pure.

use interlink_wire::HopStatus;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::health::Health;
use crate::interlink::ping::shortened;

/// The longest message, in bytes: a condition is read in a terminal.
const MESSAGE_LIMIT: usize = 1024;

/// The conditions at `now`, where the node had `before`.
///
/// Ready is about this process. A failed ping must not touch it: Kubernetes would evict the pods after five minutes.
#[must_use]
pub fn of(before: Option<&Value>, health: &Health, now: Timestamp) -> Vec<Value> {
    let starting = health.chain.state == HopStatus::Starting;
    let sentence = health.sentence();
    let fine = |what: &'static str, reason: &'static str, message: &str| (what, "False", reason, message.to_owned());
    let mut all = vec![
        ("Ready", "True", "KubeletReady", "virtual-kubelet is posting ready status".to_owned()),
        fine("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        fine("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        fine("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ];
    // Before the first answer an older verdict, if there is one, is the best that is known.
    if !starting || find(before, "NetworkUnavailable").is_none() {
        all.push(match health.is_up() {
            true => fine("NetworkUnavailable", "InterlinkReachable", &sentence),
            false => ("NetworkUnavailable", "True", "InterlinkUnreachable", sentence.clone()),
        });
    }
    match health.chain.state {
        HopStatus::Up => {
            all.push((
                "InterlinkConnectivity",
                "True",
                "InterlinkPingSuccessful",
                format!("Ping successful with code 200: {sentence}"),
            ));
        }
        HopStatus::Down => {
            all.push(("InterlinkConnectivity", "False", "InterlinkPingFailed", format!("Ping failed: {sentence}")));
        }
        HopStatus::Starting => {}
    }
    all.into_iter()
        .map(|(kind, status, reason, message)| {
            let since = find(before, kind)
                .filter(|c| c.get("status").and_then(Value::as_str) == Some(status))
                .and_then(|c| c.get("lastTransitionTime"))
                .filter(|t| t.is_string())
                .cloned();
            json!({"type": kind, "status": status, "reason": reason, "message": shortened(&message, MESSAGE_LIMIT),
                "lastHeartbeatTime": seconds(now), "lastTransitionTime": since.unwrap_or_else(|| seconds(now).into())})
        })
        .collect()
}

/// Whether every condition of the status `wanted` is as true or false in the status `current`.
#[must_use]
pub fn stand(current: Option<&Value>, wanted: Option<&Value>) -> bool {
    let of = |status: Option<&'_ Value>| status.and_then(|s| s.get("conditions")).cloned().unwrap_or_default();
    let (current, wanted) = (of(current), of(wanted));
    wanted.as_array().into_iter().flatten().all(|w| {
        let kind = w.get("type").and_then(Value::as_str).unwrap_or("");
        find(Some(&current), kind).and_then(|c| c.get("status")) == w.get("status")
    })
}

fn find<'a>(conditions: Option<&'a Value>, kind: &str) -> Option<&'a Value> {
    let all = conditions.and_then(Value::as_array);
    all.into_iter().flatten().find(|c| c.get("type").and_then(Value::as_str) == Some(kind))
}

fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Tracker;
    use crate::interlink::{InterlinkError, Pong};
    use interlink_wire::Fault;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn get<'a>(conditions: &'a [Value], kind: &str) -> &'a Value {
        conditions.iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
    }

    #[test]
    fn what_others_say_of_the_node_is_seen() {
        let said = |ready: &str| json!({"conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": ready, "reason": "r"}]});
        let wanted = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        assert!(stand(Some(&said("True")), Some(&wanted)));
        assert!(!stand(Some(&said("Unknown")), Some(&wanted)));
        assert!(!stand(None, Some(&wanted)));
    }

    #[test]
    fn an_outage_keeps_new_pods_away_and_the_node_ready() {
        let mut tracker = Tracker::new(at(0));
        let first = of(None, tracker.health(), at(0));
        assert_eq!(get(&first, "Ready")["status"], "True");
        assert_eq!(get(&first, "NetworkUnavailable")["status"], "True", "nothing is known yet");
        assert!(get(&first, "InterlinkConnectivity").is_null());

        tracker.note(Ok(Pong::default()), at(1));
        let up = of(Some(&first.clone().into()), tracker.health(), at(1));
        assert_eq!(get(&up, "NetworkUnavailable")["status"], "False");
        assert_eq!(get(&up, "InterlinkConnectivity")["reason"], "InterlinkPingSuccessful");

        for second in [100, 103] {
            let lost = Fault::passing("tunnel", "down", "the SSH connection is lost");
            tracker.note(Err(InterlinkError::Refused(lost)), at(second));
        }
        let down = of(Some(&up.clone().into()), tracker.health(), at(103));
        assert_eq!(
            (&get(&down, "Ready")["status"], &get(&down, "Ready")["lastTransitionTime"]),
            (&json!("True"), &json!("1970-01-01T00:00:00Z"))
        );
        assert_eq!(get(&down, "NetworkUnavailable")["status"], "True");
        assert_eq!(get(&down, "NetworkUnavailable")["lastTransitionTime"], "1970-01-01T00:01:43Z");
        let words = get(&down, "InterlinkConnectivity")["message"].as_str().unwrap();
        assert_eq!(words, "Ping failed: tunnel is down since 1970-01-01T00:01:43Z: the SSH connection is lost");
        assert_eq!(get(&down, "Ready")["lastHeartbeatTime"], "1970-01-01T00:01:43Z");
    }

    #[test]
    fn a_restart_does_not_touch_an_older_verdict_before_it_knows_better() {
        let before = json!([{"type": "NetworkUnavailable", "status": "False"}]);
        let conditions = of(Some(&before), Tracker::new(at(0)).health(), at(5));
        assert!(get(&conditions, "NetworkUnavailable").is_null());
    }
}
