//! Time limits, with shorter ones than the program's own: the same router inside of the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::Method;
use interlink_api::plugin::limits::Limits;
use interlink_api::plugin::{self};
use interlink_api::server::{App, router};
use interlink_daemon::HopHandle;
use interlink_testkit::dirs::TestDir;
use interlink_testkit::wait;
use interlink_transport::{Call, Client, Endpoint, Listener, serve};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::peers::{Asked, Got, Plugin, SOON, ok, our_ping, pod, running, say, send, uid};

/// The API server in the test's own process.
struct Inside {
    client: Client,
    plugin: Plugin,
    _stop: tokio_util::sync::DropGuard,
    _dir: TestDir,
}

async fn inside<F, A>(limits: Limits, answer: F) -> Inside
where
    F: Fn(Asked) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = axum::response::Response> + Send + 'static,
{
    let dir = TestDir::new();
    let (ours, theirs) = (dir.join("api.sock"), dir.join("plugin.sock"));
    let plugin = Plugin::start(&theirs, answer).await;
    let stop = CancellationToken::new();
    let handle = HopHandle::new("interlink", "api");
    let other_side = Arc::new(plugin::Plugin::new(Endpoint::unix(&theirs).unwrap(), limits, handle, None));
    let app = App::new(other_side, String::new(), stop.clone());
    let listener = Listener::bind(&Endpoint::unix(&ours).unwrap()).await.unwrap();
    tokio::spawn(serve(listener, router(app), stop.clone(), Duration::from_millis(100)));
    Inside { client: Client::new(Endpoint::unix(&ours).unwrap()), plugin, _stop: stop.drop_guard(), _dir: dir }
}

impl Inside {
    async fn call(&self, method: &str, path: &str, body: String) -> Got {
        tokio::time::timeout(SOON, send(&self.client, method, path, body, &[])).await.expect("it is bounded")
    }
}

fn short() -> Limits {
    let ms = Duration::from_millis;
    Limits {
        read: ms(300),
        short_read: ms(300),
        create: ms(300),
        delete: ms(300),
        patience: ms(200),
        pause: ms(50),
        ..Limits::default()
    }
}

async fn never() -> axum::response::Response {
    std::future::pending().await
}

#[tokio::test]
async fn a_create_that_is_never_answered_is_submission_unknown_or_may_be_repeated() {
    let create = json!({"pod": pod(1)}).to_string();
    let foreign =
        inside(short(), |asked| async move { if asked.is_ping() { ok(json!({})) } else { never().await } }).await;
    let got = foreign.call("POST", "/create", create.clone()).await;
    got.assert_refused(504, "hop=plugin;code=submission-unknown;retry=no", "did not answer within");
    assert_eq!(foreign.plugin.asked("/create").len(), 1);

    let ours = inside(short(), |asked| async move { if asked.is_ping() { our_ping() } else { never().await } }).await;
    let got = ours.call("POST", "/create", create).await;
    got.assert_refused(504, "hop=plugin;code=timeout;retry=yes", "did not answer within");
}

#[tokio::test]
async fn statuses_and_deletes_that_are_never_answered_are_given_up() {
    let inside = inside(short(), |asked| async move { if asked.is_ping() { our_ping() } else { never().await } }).await;
    let status = inside.call("GET", "/status", json!([pod(1)]).to_string()).await;
    status.assert_refused(504, "hop=plugin;code=timeout;retry=yes", "did not");
    let delete = inside.call("DELETE", "/delete", pod(1).to_string()).await;
    delete.assert_refused(504, "hop=plugin;code=timeout;retry=yes", "did not answer within");
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_is_given_up() {
    let inside = inside(short(), |asked| async move {
        if asked.is_ping() {
            return our_ping();
        }
        let start = futures_util::stream::iter([Ok::<_, std::io::Error>(axum::body::Bytes::from_static(b"[{"))]);
        say(200, axum::body::Body::from_stream(start.chain(futures_util::stream::pending())))
    })
    .await;
    let status = inside.call("GET", "/status", json!([pod(1)]).to_string()).await;
    status.assert_refused(504, "hop=plugin;code=timeout;retry=yes", "did not");
    let body = json!({"Namespace": "n", "PodUID": uid(1)}).to_string();
    let logs = inside.client.send(Call::new(Method::GET, "/getLogs", body)).await.unwrap();
    let read = tokio::time::timeout(SOON, logs.bytes(1000, SOON)).await.unwrap();
    assert!(read.is_err(), "silence in the middle of logs is not their end");
}

#[tokio::test]
async fn followed_logs_may_be_silent_for_longer_than_any_limit() {
    let inside = inside(short(), |asked| async move {
        if asked.is_ping() {
            return our_ping();
        }
        let late = futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_millis(900)).await;
            Ok::<_, std::io::Error>("late")
        });
        say(200, axum::body::Body::from_stream(late))
    })
    .await;
    let body = json!({"Namespace": "n", "PodUID": uid(1), "Opts": {"Follow": true}}).to_string();
    assert_eq!(inside.call("GET", "/getLogs", body).await.body, "late");
}

#[tokio::test]
async fn no_more_requests_than_agreed_are_at_the_plugin_and_the_rest_are_told() {
    let limits = Limits { reads: 2, ..short() };
    let inside = inside(limits, |asked| async move {
        match asked.json()[0]["metadata"]["name"].as_str() {
            None => our_ping(),
            Some("p2") => ok(json!([running(2)])),
            Some(_) => never().await,
        }
    })
    .await;
    let ask = |n| inside.call("GET", "/status", json!([pod(n)]).to_string());
    let all = futures_util::future::join_all([ask(1), ask(1), ask(1), ask(1)]).await;
    assert!(all.iter().all(|got| matches!(got.status, 503 | 504)), "{all:?}");
    assert!(inside.plugin.asked("/status").len() <= 3, "the places were taken");
    // Not at the first try where the machine is busier than these limits are short.
    let free = wait::until("the places to be free again", SOON, async || {
        let got = ask(2).await;
        if got.status == 200 { Ok(got.json()) } else { Err(got.body) }
    })
    .await;
    assert_eq!(free[0]["UID"], uid(2));
}
