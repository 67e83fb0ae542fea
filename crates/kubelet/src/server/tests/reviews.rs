//! SubjectAccessReviews against a scripted Kubernetes API.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};

use super::super::access::{Review, Reviewer};
use super::super::review::SubjectAccessReviews;
use super::super::subject::Subject;

type Asked = Arc<Mutex<Vec<Value>>>;

fn api(status: u16, answer: Value) -> (SubjectAccessReviews, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (seen, answer) = (seen.clone(), answer.clone());
        async move {
            assert_eq!(request.uri().path(), "/apis/authorization.k8s.io/v1/subjectaccessreviews");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            seen.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(body).unwrap())
        }
    });
    (SubjectAccessReviews::new(kube::Client::new(service, "default"), "site"), asked)
}

fn jane() -> Subject {
    Subject { user: "jane".into(), groups: vec!["friends".into()] }
}

fn verdict(status: Value) -> Value {
    json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": {}, "status": status})
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code})
}

#[tokio::test]
async fn the_question_names_user_groups_and_node_and_is_asked_once() {
    let (reviews, asked) = api(201, verdict(json!({"allowed": true})));
    for _ in 0..2 {
        assert_eq!(reviews.review(&jane(), "get", "proxy").await, Review::Allowed);
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0]["spec"],
        json!({"user": "jane", "groups": ["friends", "system:authenticated"],
            "resourceAttributes": {"verb": "get", "version": "v1", "resource": "nodes", "subresource": "proxy", "name": "site"}})
    );
}

#[tokio::test]
async fn a_refusal_lasts_and_a_failure_is_asked_again() {
    let cases = [
        (201, verdict(json!({"allowed": false})), Some(Review::Denied), 1),
        (201, verdict(json!({"allowed": true, "denied": true})), Some(Review::Denied), 1),
        (403, failure(403, "Forbidden"), Some(Review::NotGranted), 1),
        (500, failure(500, "InternalError"), None, 2),
    ];
    for (status, answer, expected, times) in cases {
        let (reviews, asked) = api(status, answer);
        for _ in 0..2 {
            let review = reviews.review(&jane(), "get", "proxy").await;
            match &expected {
                Some(expected) => assert_eq!(review, *expected),
                None => assert!(matches!(review, Review::Unavailable(_)), "{review:?}"),
            }
        }
        assert_eq!(asked.lock().unwrap().len(), times, "{status}");
    }
}
