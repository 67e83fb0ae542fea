//! How answers look: exactly 200 on success; an error is one sentence beside `InterLink-Error`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use interlink_wire::{DecodeError, Fault};
use serde::Serialize;

use crate::pod::Refusal;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// HTTP status.
    pub status: StatusCode,
    /// What is wrong.
    pub fault: Fault,
}

impl Wrong {
    /// An error answer.
    #[must_use]
    pub fn new(status: StatusCode, fault: Fault) -> Self {
        Self { status, fault }
    }

    /// The request itself is wrong.
    pub fn bad_request(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Fault::lasting("plugin", "invalid", sentence))
    }

    /// There is no such pod.
    pub fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Fault::lasting("plugin", "not-found", sentence))
    }
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        let status = if refusal.code == "policy" { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        Self::new(status, Fault::lasting("plugin", refusal.code, refusal.sentence))
    }
}

impl From<DecodeError> for Wrong {
    fn from(error: DecodeError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let mut response = text(self.status, format!("{}\n", self.fault.sentence));
        if let Ok(value) = HeaderValue::from_str(&self.fault.header_value()) {
            response.headers_mut().insert(interlink_wire::header::ERROR, value);
        }
        response
    }
}

/// A plain text answer.
pub fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A JSON answer.
pub fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = Response::new(Body::from(body));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            let fault = Fault::passing("plugin", "internal", format!("the answer can't be written as JSON: {error}"));
            Wrong::new(StatusCode::INTERNAL_SERVER_ERROR, fault).into_response()
        }
    }
}
