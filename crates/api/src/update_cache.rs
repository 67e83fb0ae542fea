//! `/updateCache`: forgets what is remembered of a pod. The existing kubelet sends the whole Pod, the existing server
//! expects the bare UID; both are taken.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use interlink_wire::{Object, PodUid};
use serde_json::Value;

use crate::answer::{self, Refusal};
use crate::server::{App, Payload};

/// Handles the path.
///
/// # Errors
/// [`Refusal`] when the body names no pod.
pub async fn handle(State(app): State<Arc<App>>, Payload(body): Payload) -> Result<Response, Refusal> {
    let uids = uids(&body).ok_or_else(|| {
        Refusal::bad_request(
            "the body names no pod; send its UID, as text or as a JSON string, the Pod as JSON, or a list of them",
        )
    })?;
    let mut cache = app.cache();
    for uid in &uids {
        cache.forget_status(uid, Instant::now());
    }
    Ok(answer::text(StatusCode::OK, "Updated cache"))
}

/// The UIDs that a body names: bare or quoted, a Pod, or a list of these.
fn uids(body: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if PodUid::parse(text).is_ok() {
        return Some(vec![text.to_owned()]);
    }
    match serde_json::from_str(text).ok()? {
        Value::Array(items) => items.into_iter().map(uid).collect(),
        one => Some(vec![uid(one)?]),
    }
}

fn uid(value: Value) -> Option<String> {
    let uid = match value {
        Value::String(uid) => uid,
        value => Object::from_value(value)?.uid().to_owned(),
    };
    (!uid.is_empty()).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_body_names_its_pods() {
        const UID: &str = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";
        let pod = format!(r#"{{"metadata":{{"uid":"{UID}"}}}}"#);
        let cases = [
            (UID.to_owned(), Some(1)),
            (format!(" {UID}\n"), Some(1)),
            (format!("\"{UID}\""), Some(1)),
            (pod.clone(), Some(1)),
            (format!("[{pod},\"{UID}\"]"), Some(2)),
            ("[]".into(), Some(0)),
            (String::new(), None),
            ("null".into(), None),
            ("{}".into(), None),
            ("\"\"".into(), None),
            ("{broken".into(), None),
            ("[1]".into(), None),
        ];
        for (body, count) in cases {
            let found = uids(body.as_bytes());
            assert_eq!(found.as_ref().map(Vec::len), count, "{body}");
            assert!(found.unwrap_or_default().iter().all(|uid| uid == UID));
        }
        assert_eq!(uids(&[0xff]), None);
    }
}
