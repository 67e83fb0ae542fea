//! Deletes: passed on until the plugin has heard them, and never before the pod's own create.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_testkit::wait;
use serde_json::json;

use crate::peers::{Api, Plugin, SOON, ok, our_ping, pod, running, say, uid};

#[tokio::test]
async fn the_pod_goes_on_by_post_without_managed_fields() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() { our_ping() } else { say(200, "All containers for submitted Pods have been deleted") }
    })
    .await;
    let got = api.call("DELETE", "/delete", pod(1).to_string()).await;
    assert_eq!((got.status, got.body.as_str()), (200, "All containers for submitted Pods have been deleted"));
    let asked = plugin.asked("/delete").remove(0);
    let mut expected = pod(1);
    expected["metadata"].as_object_mut().unwrap().remove("managedFields");
    assert_eq!((asked.method.as_str(), asked.json()), ("POST", expected));
}

#[tokio::test]
async fn an_unknown_pod_is_as_good_as_deleted_and_an_error_is_an_error() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        match asked.json()["metadata"]["name"].as_str() {
            None => ok(json!([])),
            Some("p1") => say(404, "no such pod"),
            Some("p2") if asked.method == "POST" => say(405, "Method Not Allowed"),
            Some("p2") => say(200, "deleted"),
            _ => say(500, json!({"detail": "scancel: error"}).to_string()),
        }
    })
    .await;
    assert_eq!(api.call("DELETE", "/delete", pod(1).to_string()).await.status, 200);
    assert_eq!(
        api.call("POST", "/delete", pod(2).to_string()).await.body,
        "deleted",
        "25: by DELETE where POST is not allowed"
    );
    api.call("DELETE", "/delete", pod(3).to_string()).await.assert_refused(
        500,
        "hop=plugin;code=http-500;retry=yes",
        "scancel: error",
    );
    assert_eq!(plugin.asked("/delete").len(), 4);
}

#[tokio::test]
async fn a_delete_does_not_overtake_its_create() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        match asked.path.as_str() {
            "/create" => {
                tokio::time::sleep(Duration::from_millis(700)).await;
                ok(json!({"PodUID": uid(1), "PodJID": "42"}))
            }
            "/delete" => say(200, ""),
            _ => ok(json!([])),
        }
    })
    .await;
    let (created, deleted) = tokio::join!(api.create(pod(1)), async {
        wait::until("the create at the plugin", SOON, async || {
            if plugin.asked("/create").is_empty() { Err("none") } else { Ok(()) }
        })
        .await;
        api.call("DELETE", "/delete", pod(1).to_string()).await
    });
    assert_eq!((created.status, deleted.status), (200, 200));
    let log = api.daemon.log();
    assert!(log.find("message=created").unwrap_or(usize::MAX) < log.find("message=deleted").unwrap_or(0), "{log}");
}

#[tokio::test]
async fn a_delete_ends_a_create_that_still_waits_for_the_plugin() {
    let api = Api::start().await;
    let (created, plugin) = tokio::join!(api.create(pod(1)), async {
        api.said("trying again").await;
        let deleted = api.call("DELETE", "/delete", pod(1).to_string());
        let plugin = async {
            api.said("was deleted before it could be sent").await;
            Plugin::start(&Api::plugin_socket(&api.dir), |asked| async move {
                if asked.is_ping() { our_ping() } else { say(200, "") }
            })
            .await
        };
        let (deleted, plugin) = tokio::join!(deleted, plugin);
        assert_eq!(deleted.status, 200, "it goes on until the plugin has heard it");
        plugin
    });
    created.assert_refused(409, "hop=api;code=deleted;retry=no", "was deleted");
    assert!(plugin.asked("/create").is_empty() && plugin.asked("/delete").len() == 1);
}

#[tokio::test]
async fn a_plugin_that_hangs_up_over_an_unknown_pod_does_not_hold_its_delete_for_ever() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        match asked.path.as_str() {
            // As Go's server after a nil dereference.
            "/delete" => std::panic::resume_unwind(Box::new("connection dropped")),
            _ if asked.is_ping() => ok(json!({})),
            _ if asked.json()[0]["metadata"]["name"] == "p1" => {
                ok(json!([{"name": "p1", "UID": uid(1), "containers": [{"name": "c", "state": {}}]}]))
            }
            _ => ok(json!([running(2)])),
        }
    })
    .await;
    let delete = async |n| api.call_with("DELETE", "/delete", pod(n).to_string(), &[("interlink-owner", "o/n")]).await;
    let unknown = delete(1).await;
    assert_eq!(unknown.status, 200, "{unknown:?}");
    assert!(plugin.asked("/delete").len() > 1, "it was tried more than once");
    delete(2).await.assert_refused(502, "hop=plugin;code=plugin-closed;retry=yes", "closed without an answer");
}

#[tokio::test]
async fn a_deleted_pod_is_forgotten_and_may_be_created_anew() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        match asked.path.as_str() {
            "/create" => ok(json!({"PodUID": uid(1), "PodJID": "42"})),
            "/delete" => say(200, ""),
            _ if asked.is_ping() => ok(json!([])),
            _ => ok(json!([running(1)])),
        }
    })
    .await;
    for round in 1..=2 {
        assert_eq!(api.create(pod(1)).await.status, 200);
        assert_eq!(api.status(&[pod(1)]).await.json()[0]["UID"], uid(1));
        assert_eq!(api.call("DELETE", "/delete", pod(1).to_string()).await.status, 200);
        assert_eq!(api.call("GET", "/status", "[]").await.json(), json!([]));
        assert_eq!(plugin.asked("/create").len(), round);
    }
}

#[tokio::test]
async fn a_delete_that_failed_does_not_let_the_pod_be_sent_a_second_time() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        match asked.path.as_str() {
            "/create" => ok(json!({"PodUID": uid(1), "PodJID": "42"})),
            "/delete" => say(500, "scancel: error"),
            _ => ok(json!([])),
        }
    })
    .await;
    assert_eq!(api.create(pod(1)).await.status, 200);
    assert_eq!(api.call("DELETE", "/delete", pod(1).to_string()).await.status, 500);
    assert_eq!(api.create(pod(1)).await.json()["PodJID"], "42");
    assert_eq!(plugin.asked("/create").len(), 1);
}
