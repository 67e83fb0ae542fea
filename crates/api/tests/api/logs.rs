//! Logs: checked, streamed as they come, and ended on both sides when either ends.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::pin::pin;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use http::Method;
use interlink_transport::Call;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::peers::{Api, Plugin, SOON, ok, our_ping, say, uid};

fn request(opts: Value) -> String {
    json!({"Namespace": "default", "PodUID": uid(1), "PodName": "p1", "ContainerName": "c", "Opts": opts}).to_string()
}

#[tokio::test]
async fn a_request_is_checked_and_goes_on_whole() {
    let (api, plugin) =
        Api::with_plugin(
            |asked| async move { if asked.is_ping() { our_ping() } else { say(200, "\"NOT IMPLEMENTED\"") } },
        )
        .await;
    let got = api.call("POST", "/getLogs", request(json!({"tail": 3, "LimitBytes": 10}))).await;
    assert_eq!((got.status, got.body.as_str()), (200, "\"NOT IMPLEMENTED\""), "28: passed through");
    assert!(got.header("content-type").starts_with("text/plain"), "29");
    let asked = plugin.asked("/getLogs").remove(0);
    assert_eq!(asked.method, "GET");
    assert_eq!(
        asked.json()["Opts"],
        json!({"Tail": 3, "Bytes": 10, "Timestamps": false, "Follow": false, "Previous": false, "SinceSeconds": 0, "SinceTime": "0001-01-01T00:00:00Z"}),
        "26"
    );
    let bad = json!({"Namespace": "../etc", "PodUID": uid(1)}).to_string();
    api.call("GET", "/getLogs", bad).await.assert_refused(
        400,
        "hop=api;code=bad-request;retry=no",
        "invalid namespace: must be a valid DNS label",
    );
    assert_eq!(plugin.asked("/getLogs").len(), 1);
}

#[tokio::test]
async fn an_error_is_one_sentence() {
    let (api, _plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() { our_ping() } else { say(404, json!({"detail": "no such container"}).to_string()) }
    })
    .await;
    api.call("GET", "/getLogs", request(json!({}))).await.assert_refused(
        404,
        "hop=plugin;code=http-404;retry=no",
        "no such container",
    );
}

/// A plugin whose logs are what the test sends into a channel; the token is cancelled when its answer is dropped.
async fn follower() -> (Api, Plugin, mpsc::Sender<Result<Bytes, std::io::Error>>, CancellationToken) {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let (receiver, gone) = (Arc::new(Mutex::new(Some(receiver))), CancellationToken::new());
    let token = gone.clone();
    let (api, plugin) = Api::with_plugin(move |asked| {
        let (receiver, token) = (receiver.clone(), token.clone());
        async move {
            if asked.is_ping() {
                return ok(json!([]));
            }
            let receiver = receiver.lock().unwrap().take().unwrap();
            let state = (receiver, token.drop_guard());
            say(
                200,
                Body::from_stream(futures_util::stream::unfold(state, |(mut receiver, guard)| async {
                    receiver.recv().await.map(|chunk| (chunk, (receiver, guard)))
                })),
            )
        }
    })
    .await;
    (api, plugin, sender, gone)
}

async fn follow(api: &Api) -> interlink_transport::Answer {
    api.client.send(Call::new(Method::GET, "/getLogs", request(json!({"Follow": true}))).timeout(SOON)).await.unwrap()
}

#[tokio::test]
async fn followed_logs_come_chunk_by_chunk_and_end_with_the_client() {
    let (api, _plugin, sender, gone) = follower().await;
    let answer = follow(&api).await;
    assert_eq!(answer.status, 200, "before the first byte");
    {
        let mut chunks = pin!(answer.into_stream());
        for text in ["one\n", "two\n"] {
            sender.send(Ok(text.into())).await.unwrap();
            assert_eq!(chunks.next().await.unwrap().unwrap(), text);
        }
        assert!(!gone.is_cancelled());
    }
    tokio::time::timeout(SOON, gone.cancelled()).await.expect("the plugin's side ends although no byte was sent");
}

#[tokio::test]
async fn logs_that_break_off_are_not_taken_for_whole() {
    let (api, _plugin, sender, _gone) = follower().await;
    let mut chunks = pin!(follow(&api).await.into_stream());
    sender.send(Ok("one\n".into())).await.unwrap();
    assert_eq!(chunks.next().await.unwrap().unwrap(), "one\n");
    sender.send(Err(std::io::Error::other("the disk is gone"))).await.unwrap();
    assert!(chunks.next().await.unwrap().is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_followers() {
    let (api, _plugin, sender, gone) = follower().await;
    let mut chunks = pin!(follow(&api).await.into_stream());
    sender.send(Ok("one\n".into())).await.unwrap();
    assert_eq!(chunks.next().await.unwrap().unwrap(), "one\n");
    api.daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(chunks.next().await.unwrap().is_err(), "the kubelet sees that there may be more");
    assert_eq!(api.daemon.exited(std::time::Duration::from_secs(10)).await.code(), Some(0));
    tokio::time::timeout(SOON, gone.cancelled()).await.unwrap();
}
