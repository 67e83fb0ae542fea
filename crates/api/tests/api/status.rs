//! Statuses: matched by UID, never with an empty container list, and one bad pod never hides the rest.
#![allow(clippy::unwrap_used, clippy::panic)]

use interlink_testkit::dirs::TestDir;
use serde_json::{Value, json};

use crate::peers::{Api, Asked, Plugin, SOON, ended, ok, our_ping, pod, running, say, uid};

fn uids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|s| s["UID"].as_str().unwrap().to_owned()).collect()
}

fn asked_uids(asked: &Asked) -> Vec<String> {
    asked.json().as_array().unwrap().iter().map(|p| p["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_batch_is_one_question_and_answers_are_matched_by_uid() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() { our_ping() } else { ok(json!([running(9), running(3), running(1)])) }
    })
    .await;
    let got = api.status(&[pod(1), pod(2), pod(3)]).await;
    assert_eq!((got.status, got.header("content-type")), (200, "application/json"));
    assert_eq!(
        uids(&got.json()),
        [uid(1), uid(3)],
        "in the order of the request; the unknown is left out, the foreign too"
    );
    assert_eq!(got.json()[0]["JID"], "j1");
    let asked = plugin.asked("/status");
    assert_eq!((asked.len(), asked[0].method.as_str()), (1, "GET"));
    assert!(asked[0].json()[0]["metadata"].get("managedFields").is_none());
}

#[tokio::test]
async fn every_dialects_status_is_safe_for_a_kubelet() {
    let sdk = json!([{"name": "p1", "UID": uid(1), "JID": null, "namespace": "default",
        "containers": [{"name": "c", "state": {"terminated": {"exitCode": 3, "reason": "Error"}, "running": null, "waiting": null}}]}]);
    let cases = [
        ("13: no containers", json!([{"name": "p1", "UID": uid(1), "namespace": "default", "containers": null}]).to_string(), json!({"waiting": {"reason": "ContainerCreating"}})),
        ("13: empty list", json!([{"name": "p1", "UID": uid(1), "containers": []}]).to_string(), json!({"waiting": {"reason": "ContainerCreating"}})),
        ("15: Python SDK", sdk.to_string(), json!({"terminated": {"exitCode": 3}})),
        ("17: HTCondor, removed", json!([{"name": "p1", "UID": uid(1), "containers": [{"name": "c", "state": {"terminated": {"reason": "Removed"}}}]}]).to_string(), json!({"terminated": {"exitCode": 255}})),
        ("11, 16: snake case", json!([{"name": "p1", "uid": uid(1), "containers": [{"name": "c", "state": {"terminated": {"exit_code": 4}}}]}]).to_string(), json!({"terminated": {"exitCode": 4}})),
        ("15: Go Slurm, not started", json!([{"name": "p1", "UID": uid(1), "JID": "", "containers": [{"name": "c", "state": {}, "lastState": {}}], "initContainers": null}]).to_string(), json!({})),
        ("one object instead of a list", running(1).to_string(), json!({"running": {}})),
    ];
    for (case, body, state) in cases {
        let (api, _plugin) = Api::with_plugin(move |_| {
            let body = body.clone();
            async move { say(200, body) }
        })
        .await;
        let list = api.status(&[pod(1)]).await.json();
        let (kind, fields) = match state.as_object().unwrap().iter().next() {
            Some((kind, fields)) => (kind.as_str(), fields.clone()),
            None => ("", json!({})),
        };
        let container = &list[0]["containers"][0];
        assert_eq!(container["name"], "c", "{case}: {list}");
        for (field, value) in fields.as_object().unwrap() {
            assert_eq!(&container["state"][kind][field], value, "{case}: {list}");
        }
        assert!(kind.is_empty() || container["state"].get(kind).is_some(), "{case}: {list}");
        assert_eq!(list[0]["initContainers"], json!([]), "{case}");
    }
}

#[tokio::test]
async fn nothing_known_is_an_empty_list() {
    for body in ["null", "", "[]"] {
        let (api, _plugin) = Api::with_plugin(move |_| async move { say(200, body) }).await;
        let got = api.status(&[pod(1), pod(2)]).await;
        assert_eq!((got.status, got.body.as_str()), (200, "[]"), "8: {body:?}");
    }
}

#[tokio::test]
async fn a_plugin_that_answers_only_the_first_pod_is_asked_for_each() {
    // HTCondor: element 0 only, 404 for the whole request when it does not know that pod.
    let (api, plugin) = Api::with_plugin(|asked| async move {
        match asked.json()[0]["metadata"]["name"].as_str() {
            None => say(500, "Internal Server Error"),
            Some("p2") => say(404, json!({"error": "no such job"}).to_string()),
            Some(name) => ok(json!([running(name[1..].parse().unwrap())])),
        }
    })
    .await;
    let pods = [pod(1), pod(2), pod(3)];
    assert_eq!(uids(&api.status(&pods).await.json()), [uid(1), uid(3)]);
    assert_eq!(uids(&api.status(&pods).await.json()), [uid(1), uid(3)]);
    let sizes: Vec<usize> = plugin.asked("/status").iter().map(|a| asked_uids(a).len()).collect();
    assert_eq!(sizes, [3, 1, 1, 1, 1, 1], "a batch once, then the missing two, then each");
}

#[tokio::test]
async fn one_bad_pod_does_not_hide_the_rest() {
    let (api, _plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() {
            return ok(json!([]));
        }
        if asked_uids(&asked).contains(&uid(2)) { say(500, "boom") } else { ok(json!([running(1), running(3)])) }
    })
    .await;
    assert_eq!(uids(&api.status(&[pod(1), pod(2), pod(3)]).await.json()), [uid(1), uid(3)]);
    api.status(&[pod(2)]).await.assert_refused(500, "hop=plugin;code=http-500;retry=yes", "boom");
}

#[tokio::test]
async fn an_answer_that_is_no_status_is_an_error_not_an_empty_success() {
    let (api, _plugin) = Api::with_plugin(|_| async { say(200, "<html>login</html>") }).await;
    api.status(&[pod(1)]).await.assert_refused(502, "hop=plugin;code=bad-answer;retry=yes", "something else");
}

#[tokio::test]
async fn a_pod_whose_end_the_kubelet_knows_is_not_asked_for_again() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() { our_ping() } else { ok(json!([ended(1, 3), running(2)])) }
    })
    .await;
    let mut done = pod(1);
    let pods = [done.clone(), pod(2)];
    api.status(&pods).await;
    done["status"]["phase"] = json!("Failed");
    let got = api.status(&[done.clone(), pod(2)]).await.json();
    assert_eq!(uids(&got), [uid(1), uid(2)]);
    assert_eq!(got[0]["containers"][0]["state"]["terminated"]["exitCode"], 3);
    assert_eq!(asked_uids(&plugin.asked("/status")[1]), [uid(2)]);
    plugin.stop().await;
    assert_eq!(uids(&api.status(&[done.clone()]).await.json()), [uid(1)], "known also while the plugin is away");
    api.status(&[pod(2)]).await.assert_refused(503, "hop=tunnel;code=tunnel-down;retry=yes", "not there");
    for body in [json!(done).to_string(), uid(1), format!("\"{}\"", uid(1))] {
        assert_eq!(api.call("POST", "/updateCache", body).await.body, "Updated cache");
    }
    api.status(&[done]).await.assert_refused(503, "hop=tunnel;code=tunnel-down;retry=yes", "not there");
}

#[tokio::test]
async fn no_body_means_all_known_pods_of_the_owner() {
    let (api, _plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() {
            return our_ping();
        }
        let known = asked_uids(&asked).iter().map(|u| running(u[34..].parse().unwrap())).collect::<Vec<_>>();
        ok(json!(known))
    })
    .await;
    for (n, owner) in [(1, "one"), (2, "two")] {
        api.call_with("GET", "/status", json!([pod(n)]).to_string(), &[("interlink-owner", owner)]).await;
    }
    for body in ["", "null", "[]"] {
        let of = async |owner: &str| api.call_with("GET", "/status", body, &[("interlink-owner", owner)]).await;
        assert_eq!(uids(&of("one").await.json()), [uid(1)]);
        assert_eq!(uids(&of("two").await.json()), [uid(2)]);
        assert_eq!(of("three").await.json(), json!([]));
        assert_eq!(
            uids(&api.call("GET", "/status", body).await.json()),
            [uid(1), uid(2)],
            "a person with curl sees all"
        );
    }
}

#[tokio::test]
async fn a_pod_that_vanished_has_no_stale_status() {
    let dir = TestDir::new();
    let first = Plugin::start(&Api::plugin_socket(&dir), |_| async { ok(json!([running(1), running(2)])) }).await;
    let api = Api::start_in(dir).await;
    assert_eq!(uids(&api.status(&[pod(1), pod(2)]).await.json()).len(), 2);
    first.stop().await;
    let _second = Plugin::start(&Api::plugin_socket(&api.dir), |_| async { ok(json!([running(2)])) }).await;
    assert_eq!(uids(&api.status(&[pod(1), pod(2)]).await.json()), [uid(2)]);
    assert_eq!(uids(&api.call("GET", "/status", "[]").await.json()), [uid(2)]);
}

#[tokio::test]
async fn a_plugin_that_insists_on_post_is_asked_so() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        if asked.method == "GET" { say(405, "Method Not Allowed") } else { ok(json!([running(1)])) }
    })
    .await;
    assert_eq!(
        uids(&api.call("PUT", "/status", json!(pod(1)).to_string()).await.json()),
        [uid(1)],
        "one object, any method"
    );
    let methods: Vec<String> = plugin.asked("/status").iter().map(|a| a.method.to_string()).collect();
    assert_eq!(methods, ["GET", "POST"], "25");
}

#[tokio::test]
async fn the_job_id_comes_from_the_create_where_the_status_has_none() {
    let (api, _plugin) = Api::with_plugin(|asked| async move {
        match asked.path.as_str() {
            "/create" => ok(json!({"PodUID": uid(1), "PodJID": "42"})),
            _ if asked.is_ping() => ok(json!(null)),
            _ => ok(json!([{"name": "p1", "UID": uid(1), "JID": null, "containers": []}])),
        }
    })
    .await;
    assert_eq!(api.create(pod(1)).await.status, 200);
    assert_eq!(api.status(&[pod(1)]).await.json()[0]["JID"], "42", "12");
}

#[tokio::test]
async fn a_slow_status_does_not_hold_up_a_ping_or_another_status() {
    let (api, _plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() {
            return our_ping();
        }
        if asked_uids(&asked).contains(&uid(1)) {
            std::future::pending::<()>().await;
        }
        ok(json!([running(2)]))
    })
    .await;
    let only = [pod(1)];
    let stuck = (0..10).map(|_| api.status(&only));
    let others = async {
        for _ in 0..3 {
            assert_eq!(api.call("POST", "/pinglink", "").await.status, 200);
            assert_eq!(uids(&api.status(&[pod(2)]).await.json()), [uid(2)]);
        }
    };
    tokio::select! {
        _ = futures_util::future::join_all(stuck) => panic!("these never end"),
        done = tokio::time::timeout(SOON, others) => done.unwrap(),
    }
}
