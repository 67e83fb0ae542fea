//! The known deviations of interLink's peers, a row a case: what is sent, and what we make of it.
//!
//! The numbers are those of the project's deviation table for the API server (rows that are about behaviour rather
//! than decoding are tested where that behaviour lives).

#![allow(clippy::unwrap_used, clippy::panic)]

use interlink_wire::status::EXIT_CODE_UNKNOWN;
use interlink_wire::{
    ContainerState, CreateStruct, Envelope, Fault, LogStruct, Object, PingResponse, PodCreateRequests, PodStatus,
    RetrievedPodData,
};
use serde_json::{Value, json};

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[test]
fn answers_to_create() {
    let cases = [
        ("2: a list of one", json!([{"PodUID": "u", "PodJID": "7"}]), ("u", "7")),
        ("3: snake case", json!({"pod_uid": "u", "pod_jid": "7"}), ("u", "7")),
        ("3: any case", json!({"podUid": "u", "podjid": "7"}), ("u", "7")),
        ("4: extra keys", json!({"PodUID": "u", "PodJID": "7", "metadata": {"name": "x"}}), ("u", "7")),
        ("5: a bare string", json!("7"), ("", "7")),
        ("5: a bare number", json!(7), ("", "7")),
        ("7: a number for the job", json!({"PodUID": "u", "PodJID": 7}), ("u", "7")),
        ("no job yet", json!({"PodUID": "u", "PodJID": null}), ("u", "")),
    ];
    for (row, sent, (uid, jid)) in cases {
        let read = CreateStruct::decode(&bytes(&sent)).unwrap_or_else(|e| panic!("{row}: {e}"));
        assert_eq!((read.pod_uid.as_str(), read.pod_jid.as_str()), (uid, jid), "{row}");
    }
    for (row, sent) in
        [("5: empty", &b""[..]), ("5: not JSON", b"Submitted"), ("null", b"null"), ("list of two", b"[{},{}]")]
    {
        assert!(CreateStruct::decode(sent).is_err(), "{row}");
    }
    assert_eq!(
        serde_json::to_value(CreateStruct { pod_uid: "u".into(), pod_jid: "7".into() }).unwrap(),
        json!({"PodUID": "u", "PodJID": "7"})
    );
}

#[test]
fn status_lists() {
    let cases: [(&str, &[u8], usize); 6] = [
        ("8: null", b"null", 0),
        ("8: empty", b"", 0),
        ("8: white space", b" \n", 0),
        ("none", b"[]", 0),
        ("one object instead of a list", br#"{"name":"p","UID":"u"}"#, 1),
        ("a null among them", br#"[null,{"name":"p"}]"#, 1),
    ];
    for (row, sent, count) in cases {
        assert_eq!(PodStatus::decode_list(sent).unwrap_or_else(|e| panic!("{row}: {e}")).len(), count, "{row}");
    }
    assert!(PodStatus::decode_list(b"\"text\"").is_err());
    assert!(PodStatus::decode_list(b"<html>").is_err());
}

/// Reads one container sent inside a status.
fn container(sent: Value) -> interlink_wire::ContainerStatus {
    let status =
        PodStatus::decode_list(&bytes(&json!([{"name": "p", "UID": "u", "containers": [sent]}]))).unwrap().remove(0);
    status.containers.into_iter().next().unwrap()
}

#[test]
fn status_entries() {
    let status =
        PodStatus::decode(br#"{"Name":"p","uid":"u","jid":7,"Namespace":"n","containers":null,"fromTheFuture":[1]}"#)
            .unwrap();
    assert_eq!((status.name.as_str(), status.uid.as_str(), status.jid.as_str()), ("p", "u", "7"), "11: any case");
    assert!(status.containers.is_empty() && status.init_containers.is_empty(), "13, 14: lists null or missing");
    assert_eq!(status.extra["fromTheFuture"], json!([1]));
    assert_eq!(PodStatus::decode(br#"{"name":"p","JID":null}"#).unwrap().jid, "", "12: JID null");

    let explicit_nulls = container(
        json!({"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}, "running": null, "waiting": null}}),
    );
    assert_eq!(explicit_nulls.state.terminated().unwrap().exit_code, 0, "15: explicit nulls");
    assert_eq!(container(json!({"name": "c", "state": {}})).state, ContainerState::Unknown, "15: empty state");
    assert_eq!(container(json!({"name": "c"})).state, ContainerState::Unknown, "15: no state");

    let snake = container(
        json!({"name": "c", "restart_count": 2, "image_id": "i", "state": {"terminated": {"exit_code": 3, "started_at": "2026-07-14T09:47:52Z"}}}),
    );
    let ended = snake.state.terminated().unwrap();
    assert_eq!((ended.exit_code, snake.restart_count, snake.image_id.as_str()), (3, 2, "i"), "16: snake case");
    assert_eq!(ended.started_at.unwrap().to_string(), "2026-07-14T09:47:52Z", "16: snake case");

    let code = |sent: Value| {
        container(json!({"name": "c", "state": {"terminated": sent}})).state.terminated().unwrap().exit_code
    };
    assert_eq!(code(json!({"reason": "Removed"})), EXIT_CODE_UNKNOWN, "17: no exit code is not success");
    assert_eq!(code(json!({"reason": "Completed"})), 0, "17: but Completed is");
    assert_eq!(code(json!({"exitCode": null})), EXIT_CODE_UNKNOWN, "17: null exit code");

    let bare = container(json!({"name": "c", "state": {"running": {}}}));
    assert!(!bare.ready && bare.image.is_empty() && bare.restart_count == 0, "18: missing fields");
    assert!(bare.state.is_running(), "18: running without a start");

    let time = |sent: Value| {
        let read = container(json!({"name": "c", "state": {"terminated": {"exitCode": 0, "startedAt": sent}}}));
        read.state.terminated().unwrap().started_at.map(|t| t.to_string())
    };
    let second = Some("2026-07-14T09:47:52Z".to_owned());
    assert_eq!(time(json!(null)), None, "19: null");
    assert_eq!(time(json!("2026-07-14T09:47:52.25Z")), Some("2026-07-14T09:47:52.25Z".into()), "19: fraction");
    assert_eq!(time(json!("2026-07-14T09:47:52")), second, "19: no zone");
    assert_eq!(time(json!("2026-07-14T11:47:52+02:00")), second, "19: other zone");
    assert_eq!(time(json!(1_784_022_472)), second, "19: seconds");
    assert_eq!(time(json!("soon")), None, "19: unreadable");
}

#[test]
fn ping_answers() {
    let ping = PingResponse::decode(
        br#"{"status":"ok","resources":{"cpu":24,"memory":"96000Mi"},"taints":null,"new":{"k":1}}"#,
    )
    .unwrap();
    assert_eq!(ping.resources.unwrap().cpu.as_deref(), Some("24"), "24: number for a quantity");
    assert_eq!(ping.taints, None, "24: null taints are absent");
    assert_eq!(ping.extra["new"], json!({"k": 1}), "24: unknown keys");
    assert_eq!(PingResponse::decode(br#"{"taints":[]}"#).unwrap().taints, Some(vec![]), "an empty list clears");
    for (row, sent) in [
        ("22: a list", &b"[]"[..]),
        ("22: null", b"null"),
        ("22: text", b"ok"),
        ("22: HTML", b"<p>"),
        ("22: empty", b""),
    ] {
        assert!(PingResponse::decode(sent).is_err(), "{row}: is alive, but says nothing");
    }
}

#[test]
fn requests_to_the_api_server() {
    let pod = json!({"metadata": {"name": "p", "uid": "u", "creationTimestamp": null}, "spec": {"containers": [{"name": "c"}], "fromTheFuture": {"Key_A": null}}, "status": {}});
    let request = PodCreateRequests::decode(&bytes(&json!({"pod": pod, "configmaps": null, "secrets": null}))).unwrap();
    assert!(
        request.configmaps.is_empty() && request.projectedvolumesmaps.is_empty() && request.jobscript_url.is_empty(),
        "33: null and missing lists"
    );
    assert_eq!(request.pod.clone().into_value(), pod, "35, 36: the pod passes unchanged");
    let any_case = PodCreateRequests::decode(&bytes(
        &json!({"Pod": pod, "ConfigMaps": [{"metadata": {"name": "m"}}], "JobScriptURL": "http://b"}),
    ))
    .unwrap();
    assert_eq!((any_case.configmaps[0].name(), any_case.jobscript_url.as_str()), ("m", "http://b"), "34: key case");
    assert_eq!(
        serde_json::to_value(&request).unwrap(),
        json!({"pod": pod, "configmaps": [], "secrets": [], "projectedvolumesmaps": [], "jobscriptURL": ""}),
        "41: spelling"
    );
    let broken = PodCreateRequests::decode(br#"{"configmaps":[]}"#).unwrap_err().to_string();
    assert_eq!(broken, "create request is not valid: missing field `pod`");

    assert_eq!(Object::decode_list(b"null").unwrap().len(), 0, "32: null");
    assert_eq!(Object::decode_list(b"").unwrap().len(), 0, "32: missing");
    assert_eq!(Object::decode_list(&bytes(&pod)).unwrap()[0].uid(), "u", "32: one object instead of a list");
}

#[test]
fn requests_to_the_plugin() {
    let data = json!({"pod": {"metadata": {"uid": "u"}}, "container": [{"name": "c", "configMaps": null, "projectedvolumemaps": null, "secrets": null, "emptyDirs": null}],
        "jobConfig": {"Volumes": {"additional_directories_in_path": null}}});
    for sent in [data.clone(), json!([data])] {
        let read = RetrievedPodData::decode(&bytes(&sent)).unwrap();
        assert_eq!((read.pod.uid(), read.container[0].name.as_str()), ("u", "c"), "37: object or list of one");
    }
    assert!(RetrievedPodData::decode(&bytes(&json!([data, data]))).is_err(), "37: but not two");
    let written = serde_json::to_value(RetrievedPodData::decode(&bytes(&data)).unwrap()).unwrap();
    assert_eq!(
        written["container"][0],
        json!({"name": "c", "configMaps": [], "projectedvolumemaps": [], "secrets": [], "emptyDirs": []}),
        "26: [] instead of null"
    );
    assert_eq!(written["jobConfig"]["ApptainerOptions"]["fuseMode"], json!(""), "jobConfig is always whole");
    assert!(written.get("jobScript").is_none(), "an empty job script is left out");
}

#[test]
fn log_requests() {
    for key in ["Bytes", "LimitBytes", "limit_bytes", "bytes"] {
        let sent = json!({"Namespace": "n", "PodUID": "u", "pod_name": "p", "ContainerName": "c", "Opts": {key: 5, "Tail": "3"}});
        let read = LogStruct::decode(&bytes(&sent)).unwrap();
        assert_eq!((read.opts.limit_bytes, read.opts.tail, read.pod_name.as_str()), (5, 3, "p"), "40: {key}");
    }
    let unset = LogStruct::decode(br#"{"PodUID":"u","Opts":{"SinceTime":"0001-01-01T00:00:00Z"}}"#).unwrap();
    assert_eq!(unset.opts.since_time, None);
    assert_eq!(
        serde_json::to_value(&unset).unwrap(),
        json!({"Namespace": "", "PodUID": "u", "PodName": "", "ContainerName": "", "Opts": {"Tail": 0, "Bytes": 0, "Timestamps": false, "Follow": false,
            "Previous": false, "SinceSeconds": 0, "SinceTime": "0001-01-01T00:00:00Z"}}),
        "26: every key is always there"
    );
}

#[test]
fn error_bodies() {
    let said = |body: &str| Fault::read("plugin", 500, None, body.as_bytes()).sentence;
    assert_eq!(said("plain"), "plain", "42");
    assert_eq!(said(r#"{"detail":"x"}"#), "x", "42");
    assert_eq!(said("a &#34;b&#34;"), "a \"b\"", "42");
}
