//! Who asks, and what of the request's headers goes on to the plugin.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use interlink_wire::header;

/// Headers that go on as they came.
const FORWARDED: [&str; 5] = [header::NODE, header::OWNER, header::ACCEPT, "traceparent", "tracestate"];

/// The part of a request that isn't its body.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The request's session, or a new one: ties the log lines of all hops together.
    pub session: String,
    /// Whose pods these are. Only our kubelets say so.
    pub owner: Option<String>,
    /// What goes on to the plugin.
    pub headers: HeaderMap,
}

impl Caller {
    /// Reads the headers of a request.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty());
        let session = text(header::SESSION).map_or_else(|| format!("Request-{}", uuid::Uuid::new_v4()), str::to_owned);
        let mut forwarded = HeaderMap::new();
        for name in FORWARDED {
            if let Some(value) = headers.get(name) {
                forwarded.insert(name, value.clone());
            }
        }
        if let Ok(value) = HeaderValue::from_str(&session) {
            forwarded.insert(header::SESSION, value);
        }
        forwarded.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { session, owner: text(header::OWNER).map(str::to_owned), headers: forwarded }
    }

    /// This program's own questions to the plugin.
    #[must_use]
    pub fn ourselves() -> Self {
        Self::read(&HeaderMap::new())
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_kept_or_made() {
        let mut headers = HeaderMap::new();
        let made = Caller::read(&headers);
        assert!(
            made.session.starts_with("Request-") && made.session.len() == "Request-".len() + 36,
            "{}",
            made.session
        );
        assert_ne!(made.session, Caller::read(&headers).session);
        headers.insert(header::SESSION, HeaderValue::from_static("CreatePod#7"));
        let kept = Caller::read(&headers);
        assert_eq!(kept.session, "CreatePod#7");
        assert_eq!(kept.headers[header::SESSION], "CreatePod#7");
    }

    #[test]
    fn only_what_the_contract_names_goes_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("interlink-owner", "o/n"),
            ("interlink-node", "n"),
            ("traceparent", "00-1-2-01"),
            ("authorization", "Bearer secret"),
            ("cookie", "x"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let caller = Caller::read(&headers);
        assert_eq!(caller.owner.as_deref(), Some("o/n"));
        let mut names: Vec<_> = caller.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["content-type", "interlink-http-session", "interlink-node", "interlink-owner", "traceparent"]
        );
    }
}
