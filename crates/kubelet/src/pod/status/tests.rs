use std::sync::Arc;

use interlink_wire::{Envelope, PodUid};
use serde_json::json;

use super::*;
use crate::pod_table::PodTable;

const UID: &str = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn known(spec: Value, status: Value) -> KnownPod {
    let uid = PodUid::parse(UID).unwrap();
    let table = PodTable::new();
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": UID}, "spec": spec, "status": status});
    table.apply(&uid, Object::from_value(pod).unwrap());
    table.update(&uid, |p| p.submission = Submission::Accepted);
    (*table.get(&uid).unwrap()).clone()
}

fn two() -> Value {
    json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "ia"}, {"name": "b", "image": "ib"}]})
}

fn with_init() -> Value {
    json!({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "ii"}], "containers": [{"name": "a", "image": "ia"}]})
}

/// `pod` after the plugin said `told`.
fn after(mut pod: KnownPod, told: Value) -> KnownPod {
    let mut body = json!({"name": "p", "UID": UID});
    body.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
    pod.remote = Some(Arc::new(PodStatus::from_value(body).unwrap()));
    pod
}

fn show(pod: &KnownPod) -> Value {
    make(pod, Some("192.0.2.7".parse().unwrap()), at(60))
}

fn running(name: &str) -> Value {
    json!({"name": name, "ready": true, "state": {"running": {"startedAt": "2027-01-15T08:00:01.5Z"}}})
}

fn ended(name: &str, code: i32) -> Value {
    json!({"name": name, "state": {"terminated": {"exitCode": code}}})
}

fn waits(name: &str) -> Value {
    json!({"name": name, "state": {"waiting": {"reason": "Queued", "message": "priority"}}})
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == kind).unwrap()
}

#[test]
fn the_phase_follows_the_containers() {
    let cases = [
        ("nothing said", two(), json!({}), "Pending"),
        ("an empty list says nothing", two(), json!({"containers": []}), "Pending"),
        ("both wait", two(), json!({"containers": [waits("a"), waits("b")]}), "Pending"),
        ("one waits still", two(), json!({"containers": [running("a"), waits("b")]}), "Pending"),
        ("both run", two(), json!({"containers": [running("a"), running("b")]}), "Running"),
        ("one has ended", two(), json!({"containers": [running("a"), ended("b", 0)]}), "Running"),
        ("one is not said", two(), json!({"containers": [ended("a", 0)]}), "Pending"),
        ("both ended well", two(), json!({"containers": [ended("a", 0), ended("b", 0)]}), "Succeeded"),
        ("one ended badly", two(), json!({"containers": [ended("a", 0), ended("b", 3)]}), "Failed"),
        ("init runs", with_init(), json!({"initContainers": [running("i")], "containers": [waits("a")]}), "Pending"),
        ("init done", with_init(), json!({"initContainers": [ended("i", 0)], "containers": [running("a")]}), "Running"),
        ("init failed", with_init(), json!({"initContainers": [ended("i", 1)], "containers": [waits("a")]}), "Failed"),
        (
            "a default pod whose containers ended",
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [ended("a", 0)]}),
            "Succeeded",
        ),
        (
            "a container between two runs",
            json!({"restartPolicy": "Always", "containers": [{"name": "a"}]}),
            json!({"containers": [{"name": "a", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}]}),
            "Running",
        ),
        (
            "a sidecar",
            json!({"initContainers": [{"name": "i", "restartPolicy": "Always"}], "containers": [{"name": "a"}]}),
            json!({"initContainers": [running("i")], "containers": [running("a")]}),
            "Running",
        ),
    ];
    for (name, spec, told, phase) in cases {
        let status = show(&after(known(spec, Value::Null), told));
        assert_eq!(status["phase"], phase, "{name}: {status:#}");
    }
}

#[test]
fn every_container_of_the_spec_is_shown_in_its_order() {
    let status =
        show(&after(known(two(), Value::Null), json!({"containers": [waits("b"), running("a"), running("stranger")]})));
    let shown = status["containerStatuses"].as_array().unwrap();
    assert_eq!(shown.iter().map(|c| c["name"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(shown[0]["image"], "ia");
    assert_eq!(shown[0]["state"]["running"]["startedAt"], "2027-01-15T08:00:01Z");
    assert_eq!(shown[1]["state"]["waiting"], json!({"reason": "Queued", "message": "priority"}));
    assert_eq!(condition(&status, "Ready")["message"], "containers with unready status: [b]");
}

#[test]
fn readiness_is_the_plugins_word_where_it_judges_it() {
    let spec = json!({"containers": [{"name": "a"}]});
    let unready = json!({"name": "a", "ready": false, "state": {"running": {}}});
    let simple = show(&after(known(spec.clone(), Value::Null), json!({"containers": [unready]})));
    assert_eq!(condition(&simple, "Ready")["status"], "True");
    let judged = show(&after(known(spec, Value::Null), json!({"containers": [unready], "sequence": 4})));
    assert_eq!(condition(&judged, "Ready")["status"], "False");
    assert_eq!(judged["phase"], "Running");
}

#[test]
fn what_has_ended_stays_ended() {
    let end = json!({"name": "a", "image": "ia", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 1, "reason": "OOMKilled", "startedAt": null, "finishedAt": null}}, "lastState": {}});
    for (policy, restarts, back) in [
        ("Never", 1, false),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Always", 0, false),
        ("Always", 1, true),
    ] {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "ia"}]});
        let pod = known(spec, json!({"phase": "Running", "containerStatuses": [end]}));
        let mut again = running("a");
        again["restartCount"] = restarts.into();
        let status = show(&after(pod, json!({"containers": [again]})));
        assert_eq!(status["containerStatuses"][0]["state"].get("running").is_some(), back, "{policy} {restarts}");
    }
    let pod = known(two(), json!({"phase": "Failed", "reason": "X", "message": "y"}));
    let status = show(&after(pod, json!({"containers": [running("a"), running("b")]})));
    assert_eq!((&status["phase"], &status["reason"], &status["message"]), (&json!("Failed"), &json!("X"), &json!("y")));
}

#[test]
fn the_plugins_reasons_survive() {
    let told = json!({"containers": [
        {"name": "a", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "memory"}}},
        {"name": "b", "state": {"terminated": {"exitCode": 0}}}]});
    let status = show(&after(known(two(), Value::Null), told));
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["reason"], "OOMKilled");
    assert_eq!(status["containerStatuses"][1]["state"]["terminated"]["reason"], "Completed");
    assert_eq!(failure(&status), "container a ended with exit code 137 (OOMKilled): memory");
    assert_eq!(condition(&status, "Ready")["reason"], "PodFailed");
    assert_eq!(condition(&status, "ContainersReady")["reason"], "PodFailed");
}

#[test]
fn only_addresses_that_lead_somewhere_are_shown() {
    let cases = [
        (json!({}), "192.0.2.7", None),
        (json!({"podIP": "10.1.2.3", "hostIP": "10.0.0.1"}), "10.0.0.1", Some("10.1.2.3")),
        (json!({"podIP": "127.0.0.1", "hostIP": "::1"}), "192.0.2.7", None),
        (json!({"podIP": "169.254.1.1", "hostIP": "rubbish"}), "192.0.2.7", None),
    ];
    for (told, host, pod_ip) in cases {
        let status = show(&after(known(two(), Value::Null), told));
        assert_eq!(status["hostIP"], host);
        assert_eq!(status.get("podIP").and_then(Value::as_str), pod_ip);
        assert_eq!(status["hostIPs"], json!([{"ip": host}]));
    }
    assert!(make(&known(two(), Value::Null), None, at(0)).get("hostIP").is_none());
}

#[test]
fn times_move_only_with_what_they_date() {
    let mut pod = after(known(two(), Value::Null), json!({"containers": [running("a"), running("b")]}));
    let first = make(&pod, None, at(0));
    pod.status = Some(Arc::new(first.clone()));
    assert_eq!(make(&pod, None, at(30)), first, "nothing new, nothing different");
    let mut pod = after(pod, json!({"containers": [running("a"), ended("b", 0)]}));
    let second = make(&pod, None, at(60));
    assert_eq!(second["startTime"], first["startTime"]);
    assert_eq!(condition(&second, "Initialized"), condition(&first, "Initialized"));
    assert_eq!(condition(&second, "Ready")["lastTransitionTime"], json!(at(60)));
    pod.status = Some(Arc::new(second.clone()));
    assert_eq!(make(&pod, None, at(90)), second);
}

#[test]
fn ends_that_nobody_reported_are_shown_with_their_cause() {
    let refused = Submission::Refused { reason: PROVIDER_FAILED, sentence: "slurm: no such partition".into() };
    let gone = KnownPod {
        ending: Ending::Confirmed,
        ..after(known(two(), Value::Null), json!({"containers": [ended("a", 0), running("b")]}))
    };
    let cases = [
        (KnownPod { submission: refused, ..known(two(), Value::Null) }, PROVIDER_FAILED, "Failed", PROVIDER_FAILED, 1),
        (
            KnownPod { submission: Submission::Lost, job: "7".into(), ..known(two(), Value::Null) },
            JOB_LOST,
            "Failed",
            JOB_LOST,
            137,
        ),
        (gone, "ContainerStatusUnknown", "Failed", "", 137),
    ];
    for (pod, why, phase, reason, code) in cases {
        let status = show(&pod);
        assert_eq!(status["phase"], phase);
        assert_eq!(status.get("reason").and_then(Value::as_str).unwrap_or(""), reason);
        let last = &status["containerStatuses"][1]["state"]["terminated"];
        assert_eq!((&last["reason"], &last["exitCode"]), (&json!(why), &json!(code)));
    }
}

#[test]
fn trouble_is_told_while_the_pod_waits() {
    let mut pod = known(two(), Value::Null);
    pod.submission = Submission::Unsent;
    pod.trouble = Some(("FailedMount", "ConfigMap \"x\" does not exist".into()));
    let status = show(&pod);
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Pending"), &json!("FailedMount")));
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "FailedMount");
    pod.status = Some(Arc::new(status));
    pod.trouble = None;
    pod.submission = Submission::Accepted;
    pod.job = "42".into();
    let status = show(&pod);
    assert!(status.get("reason").is_none());
    assert_eq!(
        status["containerStatuses"][0]["state"]["waiting"],
        json!({"reason": "Submitted", "message": "submitted as job 42"})
    );
    let object = KnownPod { status: Some(Arc::new(status)), ..pod }.to_object();
    assert!(was_submitted(&object) && !was_being_submitted(&object));
}

#[test]
fn containers_that_are_kept_back_decide_nothing() {
    let mut pod = known(two(), Value::Null);
    let mut object = (*pod.object).clone();
    object.fields_mut()["metadata"]["annotations"] = json!({"interlink.eu/disable-offload-containers": "b"});
    pod.object = Arc::new(object);
    let status = show(&after(pod.clone(), json!({"containers": [running("a")]})));
    assert_eq!((&status["phase"], &condition(&status, "Ready")["status"]), (&json!("Running"), &json!("True")));
    assert_eq!(status["containerStatuses"][1]["state"]["waiting"]["reason"], "NotOffloaded");
    assert_eq!(show(&after(pod, json!({"containers": [ended("a", 0)]})))["phase"], "Succeeded");
}

#[test]
fn foreign_words_are_no_reason_to_write_and_survive_it() {
    let pod = after(known(two(), Value::Null), json!({"containers": [running("a"), running("b")]}));
    let wanted = show(&pod);
    let mut current = wanted.clone();
    current["conditions"].as_array_mut().unwrap().push(json!({"type": "example.com/gate", "status": "True"}));
    current["qosClass"] = "BestEffort".into();
    assert!(shows(&current, &wanted));
    current["reason"] = "FailedMount".into();
    assert!(!shows(&current, &wanted) && !shows(&Value::Null, &wanted));
    let patch = patch(UID, &wanted);
    assert_eq!(patch["metadata"], json!({"uid": UID}));
    assert_eq!(patch["status"]["hostIPs"], json!([{"$patch": "replace"}, {"ip": "192.0.2.7"}]));
    assert!(patch["status"]["reason"].is_null() && patch["status"].as_object().unwrap().contains_key("reason"));
    assert!(patch["status"].get("qosClass").is_none());
}

#[test]
fn readiness_gates_are_others_to_open() {
    let spec = json!({"readinessGates": [{"conditionType": "example.com/gate"}], "containers": [{"name": "a"}]});
    for (foreign, ready) in
        [(json!({}), "False"), (json!({"conditions": [{"type": "example.com/gate", "status": "True"}]}), "True")]
    {
        let status = show(&after(known(spec.clone(), foreign), json!({"containers": [running("a")]})));
        assert_eq!(condition(&status, "Ready")["status"], ready);
        assert_eq!(condition(&status, "ContainersReady")["status"], "True");
    }
}
