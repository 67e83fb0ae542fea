//! Container logs, from the next hop to the client.

use bytes::Bytes;
use http_body_util::BodyExt;
use interlink_wire::{LogOpts, LogStruct, PodUid};
use tokio::sync::mpsc;

use super::super::Access;
use super::authority::{get, open};
use super::next_hop::{Script, Stage, UID, pod};
use crate::pod_table::Submission;

const APP: &str = "/containerLogs/shop/web/app";

#[tokio::test]
async fn logs_are_asked_for_by_uid_and_passed_on() {
    let stage = Stage::set(Access::default()).await;
    stage.add_pod();
    stage.next(Script::Say(200, "hello\n"));
    let path = format!("{APP}?tailLines=5&timestamps=true&previous=true");
    let answer = get(stage.port, &path, Some(&stage.api_server())).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"));
    let opts = LogOpts { tail: 5, timestamps: true, previous: true, ..LogOpts::default() };
    let expected = LogStruct {
        namespace: "shop".into(),
        pod_uid: UID.into(),
        pod_name: "web".into(),
        container_name: "app".into(),
        opts,
    };
    assert_eq!(*stage.played.asked.lock().unwrap(), [expected]);
    stage.clear().await;
}

#[tokio::test]
async fn a_pod_that_just_went_and_init_containers_still_have_logs() {
    let stage = Stage::set(Access::default()).await;
    let uid = stage.add_pod();
    stage.pods.forget(&uid);
    stage.next(Script::Say(200, "last words\n"));
    let answer = get(stage.port, "/containerLogs/shop/web/prepare", Some(&stage.api_server())).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "last words\n"));
    stage.clear().await;
}

#[tokio::test]
async fn what_can_not_be_answered_is_explained_without_asking() {
    let stage = Stage::set(Access::default()).await;
    stage.add_pod();
    let waiting = PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4e").unwrap();
    stage.pods.apply(&waiting, pod("waiting", waiting.as_str()));
    stage.pods.update(&waiting, |pod| pod.trouble = Some(("FailedMount", "ConfigMap \"c\" does not exist".into())));
    let refused = PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4f").unwrap();
    stage.pods.apply(&refused, pod("refused", refused.as_str()));
    let refusal = Submission::Refused { reason: "Quota", sentence: "no such partition".into() };
    stage.pods.update(&refused, |pod| pod.submission = refusal);
    let cases = [
        ("/containerLogs/shop/ghost/app".to_owned(), 404, "pod shop/ghost is not on this node"),
        ("/containerLogs/other/web/app".to_owned(), 404, "pod other/web is not on this node"),
        ("/containerLogs/shop/web/ghost".to_owned(), 404, "container \"ghost\" is not in pod shop/web"),
        ("/containerLogs/shop/waiting/app".to_owned(), 400, "is waiting to start: ConfigMap \"c\" does not exist"),
        ("/containerLogs/shop/refused/app".to_owned(), 400, "never started: no such partition"),
        (format!("{APP}?tailLines=-1"), 400, "tailLines=\"-1\" is not valid"),
        (format!("{APP}?sinceSeconds=1&sinceTime=2026-01-31T12:00:00Z"), 400, "can't both be given"),
        (format!("{APP}?tailLines=0"), 200, ""),
    ];
    let api_server = stage.api_server();
    for (path, status, sentence) in cases {
        let answer = get(stage.port, &path, Some(&api_server)).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.contains(sentence), "{path}: {}", answer.body);
        assert_eq!(answer.body.is_empty(), status == 200, "{path}");
    }
    assert!(stage.played.asked.lock().unwrap().is_empty());
    stage.clear().await;
}

#[tokio::test]
async fn a_refusal_of_the_next_hop_reaches_the_user_in_its_own_words() {
    let stage = Stage::set(Access::default()).await;
    stage.add_pod();
    for (said, status) in [(400, 400), (404, 400), (500, 500), (503, 500)] {
        stage.next(Script::Say(said, "no output is kept of this container"));
        let answer = get(stage.port, APP, Some(&stage.api_server())).await.unwrap();
        assert_eq!(answer.status, status, "{said}");
        assert!(answer.body.contains("no output is kept of this container"), "{}", answer.body);
    }
    stage.clear().await;
}

#[tokio::test]
async fn a_limit_is_kept_whatever_the_next_hop_sends() {
    let stage = Stage::set(Access::default()).await;
    stage.add_pod();
    for (query, body) in
        [("limitBytes=4", "0123"), ("limitBytes=4&tailLines=1", "0123"), ("limitBytes=40", "0123456789")]
    {
        stage.next(Script::Say(200, "0123456789"));
        let answer = get(stage.port, &format!("{APP}?{query}"), Some(&stage.api_server())).await.unwrap();
        assert_eq!(answer.body, body, "{query}");
    }
    // Peers refuse a tail together with a limit.
    let asked: Vec<_> = stage.played.asked.lock().unwrap().iter().map(|l| (l.opts.tail, l.opts.limit_bytes)).collect();
    assert_eq!(asked, [(0, 4), (1, 0), (0, 40)]);
    stage.clear().await;
}

#[tokio::test]
async fn a_follower_gets_each_chunk_as_it_comes() {
    let stage = Stage::set(Access::default()).await;
    stage.add_pod();
    let (sender, chunks) = mpsc::channel(1);
    stage.next(Script::Stream(chunks));
    let (response, _) = open(stage.port, &format!("{APP}?follow=true"), Some(&stage.api_server())).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    for text in ["one\n", "two\n"] {
        sender.send(Ok(Bytes::from(text))).await.unwrap();
        // Nothing more is under way: what comes was not held back for company.
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), text);
    }
    drop(sender);
    assert!(body.frame().await.is_none());
    stage.clear().await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_call_to_the_next_hop() {
    let stage = Stage::set(Access::default()).await;
    stage.add_pod();
    let (sender, chunks) = mpsc::channel(1);
    stage.next(Script::Stream(chunks));
    let (response, _) = open(stage.port, &format!("{APP}?follow=true"), Some(&stage.api_server())).await.unwrap();
    drop(response);
    // The container says nothing more; the far end of the stream is dropped all the same.
    sender.closed().await;
    stage.clear().await;
}

#[tokio::test]
async fn an_output_that_breaks_off_does_not_look_complete() {
    let stage = Stage::set(Access::default()).await;
    stage.add_pod();
    let (sender, chunks) = mpsc::channel(1);
    stage.next(Script::Stream(chunks));
    sender.send(Ok(Bytes::from("half a li"))).await.unwrap();
    let (response, _) = open(stage.port, APP, Some(&stage.api_server())).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half a li");
    sender.send(Err(std::io::Error::other("broken"))).await.unwrap();
    assert!(body.frame().await.unwrap().is_err());
    stage.clear().await;
}

#[tokio::test]
async fn a_shutdown_ends_followers_and_says_that_more_would_come() {
    let stage = Stage::set(Access::default()).await;
    stage.add_pod();
    let (sender, chunks) = mpsc::channel(1);
    stage.next(Script::Stream(chunks));
    let (response, _) = open(stage.port, &format!("{APP}?follow=true"), Some(&stage.api_server())).await.unwrap();
    sender.send(Ok(Bytes::from("one\n"))).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one\n");
    stage.shutdown.cancel();
    assert!(body.frame().await.unwrap().is_err());
    stage.clear().await;
}
