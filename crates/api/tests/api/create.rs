//! Creates: arranged, answered with one object, and never sent twice to a plugin that would run the pod twice.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::peers::{Api, Asked, Plugin, SOON, ok, our_ping, pod, running, say, uid};
use interlink_testkit::dirs::TestDir;
use interlink_testkit::wait;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

fn created(asked: &Asked, jid: &str) -> axum::response::Response {
    ok(json!({"PodUID": asked.json()["pod"]["metadata"]["uid"], "PodJID": jid}))
}

#[tokio::test]
async fn the_pod_reaches_the_plugin_arranged_by_container() {
    let (api, plugin) =
        Api::with_plugin(|asked| async move { if asked.is_ping() { ok(json!([])) } else { created(&asked, "42") } })
            .await;
    let mut sent = pod(1);
    sent["spec"]["volumes"] =
        json!([{"name": "v", "configMap": {"name": "cm"}}, {"name": "h", "hostPath": {"path": "/x"}}]);
    sent["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    sent["spec"]["fromTheFuture"] = json!({"Key": [null]});
    let body = json!({"pod": sent, "configmaps": [{"metadata": {"name": "cm"}, "binaryData": {"k": "eA=="}}], "secrets": null, "projectedvolumesmaps": null, "jobscriptURL": ""});
    let headers = [
        ("interlink-http-session", "CreatePod#7"),
        ("interlink-owner", "o/n"),
        ("interlink-node", "n"),
        ("traceparent", "00-aa-bb-01"),
        ("authorization", "Bearer secret"),
    ];
    let got = api.call_with("POST", "/create", body.to_string(), &headers).await;
    assert_eq!((got.status, got.json()), (200, json!({"PodUID": uid(1), "PodJID": "42"})));
    assert!(got.header("interlink-version").starts_with("interlink/"));

    let asked = plugin.asked("/create").remove(0);
    assert_eq!(
        (asked.method.as_str(), asked.header("host"), asked.header("content-type")),
        ("POST", "unix", "application/json")
    );
    for (name, value) in &headers[..4] {
        assert_eq!(asked.header(name), *value);
    }
    assert_eq!(asked.header("authorization"), "", "tokens of the kubelet are not for the plugin");
    let data = asked.json();
    assert_eq!(
        data["container"],
        json!([{"name": "c", "configMaps": [{"metadata": {"name": "cm"}, "binaryData": {"k": "eA=="}, "data": {}}], "projectedvolumemaps": [], "secrets": [], "emptyDirs": []}])
    );
    assert_eq!(
        data["pod"]["spec"]["volumes"],
        json!([{"name": "v", "configMap": {"name": "cm", "defaultMode": 420}}, {"name": "h", "hostPath": {"path": "/x", "type": ""}}])
    );
    assert_eq!(data["pod"]["spec"]["fromTheFuture"], json!({"Key": [null]}));
    assert!(data["pod"]["metadata"].get("managedFields").is_none());
    assert!(data["jobConfig"]["SingularityHubProxy"].is_object() && data.get("jobScript").is_none());
}

#[tokio::test]
async fn answers_of_every_dialect_become_one_object() {
    let cases = [
        ("1, 4: HTCondor", 201, json!({"PodUID": uid(1), "PodJID": "42", "metadata": {"name": "p1"}}).to_string()),
        ("2: a list of one", 200, json!([{"PodUID": uid(1), "PodJID": "42"}]).to_string()),
        ("3: snake case", 200, json!({"pod_uid": uid(1), "pod_jid": "42"}).to_string()),
        ("5: a bare string", 200, "\"42\"".into()),
        ("7: a number", 202, json!({"PodUID": uid(1), "PodJID": 42}).to_string()),
        ("another pod's UID", 200, json!({"PodUID": "x", "PodJID": "42"}).to_string()),
    ];
    for (case, status, body) in cases {
        let (api, _plugin) = Api::with_plugin(move |asked| {
            let body = body.clone();
            async move { if asked.is_ping() { say(500, "no") } else { say(status, body) } }
        })
        .await;
        let got = api.create(pod(1)).await;
        assert_eq!((got.status, got.json()), (200, json!({"PodUID": uid(1), "PodJID": "42"})), "{case}");
    }
}

#[tokio::test]
async fn an_answer_without_a_job_is_a_failure() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        match asked.json()["pod"]["metadata"]["name"].as_str() {
            Some("p1") => say(200, ""),
            Some("p2") => say(200, "Submitted!"),
            _ => ok(json!([])),
        }
    })
    .await;
    api.create(pod(1)).await.assert_refused(502, "hop=plugin;code=bad-answer;retry=no", "default/p1");
    api.create(pod(2)).await.assert_refused(502, "hop=plugin;code=submission-unknown;retry=no", "default/p2");
    api.create(pod(2)).await.assert_refused(409, "hop=plugin;code=submission-unknown;retry=no", "not sent again");
    assert_eq!(plugin.asked("/create").len(), 2);
}

#[tokio::test]
async fn a_plugin_that_wants_a_list_gets_one_and_is_remembered() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        match asked.json() {
            _ if asked.is_ping() => ok(json!(null)),
            Value::Array(list) => ok(json!([{"PodUID": list[0]["pod"]["metadata"]["uid"], "PodJID": "7"}])),
            _ => say(422, json!({"detail": [{"loc": ["body"], "msg": "value is not a valid list"}]}).to_string()),
        }
    })
    .await;
    for n in 1..=3 {
        assert_eq!(api.create(pod(n)).await.json(), json!({"PodUID": uid(n), "PodJID": "7"}));
    }
    let shapes: Vec<bool> = plugin.asked("/create").iter().map(|a| a.json().is_array()).collect();
    assert_eq!(shapes, [false, true, true, true], "asked with an object once");
}

#[tokio::test]
async fn a_refusal_keeps_the_plugins_status_and_words() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        match asked.json() {
            _ if asked.is_ping() => ok(json!({})),
            Value::Array(_) => say(400, "no lists"),
            create if create["pod"]["metadata"]["name"] == "p1" => {
                say(400, json!({"error": "image is not allowed", "timestamp": 1}).to_string())
            }
            create if create["pod"]["metadata"]["name"] == "p2" => {
                say(504, "sbatch: error: Batch job submission failed")
            }
            _ => say(429, "slow down"),
        }
    })
    .await;
    api.create(pod(1)).await.assert_refused(400, "hop=plugin;code=http-400;retry=no", "image is not allowed");
    api.create(pod(2)).await.assert_refused(504, "hop=plugin;code=http-504;retry=no", "Batch job submission failed");
    api.create(pod(3)).await.assert_refused(429, "hop=plugin;code=http-429;retry=yes", "slow down");
    assert_eq!(plugin.asked("/create").len(), 4, "only the 400 is tried as a list");
}

#[tokio::test]
async fn a_missing_object_is_refused_before_the_plugin_hears_of_it() {
    let (api, plugin) = Api::with_plugin(|_| async { ok(json!([])) }).await;
    let mut sent = pod(1);
    sent["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "gone"}}]);
    sent["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    api.create(sent).await.assert_refused(
        400,
        "hop=api;code=bad-request;retry=no",
        "pod default/p1: volume v needs Secret gone",
    );
    let with_script = json!({"pod": pod(1), "jobscriptURL": "http://builder"}).to_string();
    api.call("POST", "/create", with_script).await.assert_refused(
        422,
        "hop=api;code=unsupported;retry=no",
        "job-script builder",
    );
    assert!(plugin.asked("/create").is_empty());
}

#[tokio::test]
async fn creates_of_one_pod_at_once_are_one_submission() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() {
            return ok(json!([]));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        created(&asked, "42")
    })
    .await;
    let answers = futures_util::future::join_all((0..8).map(|_| api.create(pod(1)))).await;
    assert!(answers.iter().all(|got| got.json()["PodJID"] == "42"));
    assert_eq!(api.create(pod(1)).await.json()["PodJID"], "42", "and a later one returns the first one's answer");
    assert_eq!(plugin.asked("/create").len(), 1);
}

#[tokio::test]
async fn a_plugin_with_idempotent_create_is_asked_again_and_decides_itself() {
    let count = Arc::new(AtomicU32::new(0));
    let (api, plugin) = Api::with_plugin(move |asked| {
        let count = count.clone();
        async move {
            if asked.is_ping() {
                our_ping()
            } else {
                created(&asked, &count.fetch_add(1, Ordering::Relaxed).to_string())
            }
        }
    })
    .await;
    assert_eq!(api.create(pod(1)).await.json()["PodJID"], "0");
    assert_eq!(api.create(pod(1)).await.json()["PodJID"], "1");
    assert_eq!(plugin.asked("/create").len(), 2);
}

/// A plugin that answers pings and hangs up on the first `drops` creates after having read them.
async fn hangs_up(dir: &TestDir, ping: &'static str, drops: usize) -> (tokio::task::JoinHandle<()>, Arc<AtomicU32>) {
    let listener = tokio::net::UnixListener::bind(Api::plugin_socket(dir)).unwrap();
    let creates = Arc::new(AtomicU32::new(0));
    let count = creates.clone();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let count = count.clone();
            connections.spawn(async move {
                let mut buffer = vec![0; 1 << 20];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                    let answer = if text.starts_with("GET /status") {
                        if text.contains("[{") { "[]" } else { ping }
                    } else if count.fetch_add(1, Ordering::Relaxed) < u32::try_from(drops).unwrap() {
                        return;
                    } else {
                        "{\"PodUID\":\"x\",\"PodJID\":\"9\"}"
                    };
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (task, creates)
}

#[tokio::test]
async fn a_lost_answer_is_submission_unknown_for_a_plugin_without_the_promise() {
    let dir = TestDir::new();
    let (task, creates) = hangs_up(&dir, "{}", 1).await;
    let api = Api::start_in(dir).await;
    api.create(pod(1)).await.assert_refused(502, "hop=plugin;code=submission-unknown;retry=no", "default/p1");
    api.create(pod(1)).await.assert_refused(
        409,
        "hop=plugin;code=submission-unknown;retry=no",
        "delete the pod to start anew",
    );
    assert_eq!(creates.load(Ordering::Relaxed), 1, "it is not sent again");
    task.abort();
    let _ = task.await;

    // A plugin that knows the pod after all: it is adopted.
    std::fs::remove_file(Api::plugin_socket(&api.dir)).unwrap();
    let plugin = Plugin::start(&Api::plugin_socket(&api.dir), |asked| async move {
        if asked.is_ping() { ok(json!({})) } else { ok(json!([running(1)])) }
    })
    .await;
    let adopted = wait::until("the plugin to be back", SOON, async || {
        let got = api.create(pod(1)).await;
        if got.status == 200 { Ok(got.json()) } else { Err(got.body) }
    })
    .await;
    assert_eq!(adopted, json!({"PodUID": uid(1), "PodJID": "j1"}));
    assert!(plugin.asked("/create").is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_at_a_plugin_with_idempotent_create() {
    let dir = TestDir::new();
    let (task, creates) = hangs_up(&dir, "{\"capabilities\":[\"idempotentCreate\"]}", 2).await;
    let api = Api::start_in(dir).await;
    assert_eq!(api.create(pod(1)).await.json(), json!({"PodUID": uid(1), "PodJID": "9"}));
    assert_eq!(creates.load(Ordering::Relaxed), 3);
    task.abort();
}

#[tokio::test]
async fn a_create_waits_for_a_plugin_that_comes_back() {
    let api = Api::start().await;
    let (plugin, got) = tokio::join!(
        async {
            api.said("trying again").await;
            Plugin::start(&Api::plugin_socket(&api.dir), |asked| async move {
                if asked.is_ping() { our_ping() } else { created(&asked, "42") }
            })
            .await
        },
        api.create(pod(1))
    );
    assert_eq!(got.json()["PodJID"], "42");
    assert_eq!(plugin.asked("/create").len(), 1);
}

#[tokio::test]
async fn our_kubelet_hears_soon_why_nothing_could_be_sent() {
    let api = Api::start().await;
    let body = json!({"pod": pod(1)}).to_string();
    let got = api.call_with("POST", "/create", body, &[("interlink-owner", "o/n")]).await;
    got.assert_refused(503, "hop=tunnel;code=tunnel-down;retry=yes", "plugin.sock (SidecarURL) is not there");
}

#[tokio::test]
async fn a_kubelet_that_goes_away_does_not_undo_a_create() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() {
            return ok(json!([]));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        created(&asked, "42")
    })
    .await;
    tokio::select! {
        _ = api.create(pod(1)) => panic!("too fast"),
        () = async {
            wait::until("the create at the plugin", SOON, async || if plugin.asked("/create").is_empty() { Err("nothing") } else { Ok(()) }).await;
        } => {}
    }
    api.said("jid=42").await;
    assert_eq!(api.create(pod(1)).await.json()["PodJID"], "42");
    assert_eq!(plugin.asked("/create").len(), 1);
}

/// A plugin that talks over plain connections: gives every answer that `answer` has for a request's text and the number
/// of its connection, and hangs up where that is nothing.
async fn scripted<F>(dir: &TestDir, answer: F) -> tokio::task::JoinHandle<()>
where
    F: Fn(&str, usize) -> Option<&'static str> + Clone + Send + 'static,
{
    let listener = tokio::net::UnixListener::bind(Api::plugin_socket(dir)).unwrap();
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            connections.spawn(async move {
                let mut buffer = vec![0; 1 << 20];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let Some(body) = answer(&String::from_utf8_lossy(&buffer[..read]), number) else { return };
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
                }
            });
        }
    })
}

#[tokio::test]
async fn a_lost_answer_is_not_asked_for_again_at_another_plugin_that_came_after() {
    let dir = TestDir::new();
    let creates = Arc::new(AtomicU32::new(0));
    let count = creates.clone();
    // Promises, takes a create and dies over it; who listens there next promises nothing.
    let task = scripted(&dir, move |text, _| match (text.starts_with("POST /create"), count.load(Ordering::Relaxed)) {
        (true, before) => {
            count.fetch_add(1, Ordering::Relaxed);
            (before > 0).then_some("{\"PodUID\":\"x\",\"PodJID\":\"9\"}")
        }
        (false, 0) => Some("{\"capabilities\":[\"idempotentCreate\"]}"),
        (false, _) => Some("{}"),
    })
    .await;
    let api = Api::start_in(dir).await;
    api.create(pod(1)).await.assert_refused(502, "hop=plugin;code=submission-unknown;retry=no", "default/p1");
    assert_eq!(creates.load(Ordering::Relaxed), 1);
    task.abort();
}

#[tokio::test]
async fn a_create_for_a_plugin_without_the_promise_has_a_connection_of_its_own() {
    let dir = TestDir::new();
    let used: Arc<std::sync::Mutex<Vec<usize>>> = Arc::default();
    let notes = used.clone();
    let task = scripted(&dir, move |text, connection| {
        if !text.starts_with("POST /create") {
            return Some("[]");
        }
        notes.lock().unwrap().push(connection);
        Some("{\"PodUID\":\"x\",\"PodJID\":\"9\"}")
    })
    .await;
    let api = Api::start_in(dir).await;
    for n in 1..=3 {
        assert_eq!(api.create(pod(n)).await.status, 200);
    }
    let mut connections = used.lock().unwrap().clone();
    connections.dedup();
    assert_eq!(connections.len(), 3, "a pooled one may have just died, and then nobody knows whether it arrived");
    task.abort();
}
