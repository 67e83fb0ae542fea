//! What every answer has in common: `InterLink-Version` always, and for errors one plain sentence beside `InterLink-Error`.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use interlink_wire::{Fault, header};
use serde::Serialize;

use crate::HOP;

/// The value of `InterLink-Version`.
pub const VERSION: &str = concat!("interlink/", env!("CARGO_PKG_VERSION"));

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An error answer: a status, never 2xx, and who says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// Hop, code, whether to try again, one sentence.
    pub fault: Fault,
}

impl Refusal {
    /// The request itself is wrong: 400, final.
    pub fn bad_request(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, fault: Fault::lasting(HOP, "bad-request", sentence) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = text(self.status, format!("{}\n", self.fault.sentence));
        if let Ok(value) = HeaderValue::from_str(&self.fault.header_value()) {
            response.headers_mut().insert(header::ERROR, value);
        }
        response
    }
}

/// Plain text.
pub fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    with_type(status, TEXT, body.into())
}

/// JSON that is already written.
#[must_use]
pub fn json_bytes(body: Bytes) -> Response {
    with_type(StatusCode::OK, JSON, body.into())
}

/// A value as JSON.
pub fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json_bytes(body.into()),
        Err(error) => Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            fault: Fault::passing(HOP, "internal", format!("the answer can't be written as JSON: {error}")),
        }
        .into_response(),
    }
}

/// Adds `InterLink-Version`; a layer around every route.
pub async fn add_version(mut response: Response) -> Response {
    response.headers_mut().insert(header::VERSION, HeaderValue::from_static(VERSION));
    response
}

fn with_type(status: StatusCode, kind: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
