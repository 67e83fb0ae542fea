//! Requests to the API server as raw JSON, each with a time limit, and errors sorted by what they mean.

use std::time::Duration;

use http::{Method, Request, header};
use serde_json::Value;

/// How long one request may take, all retries included.
const LIMIT: Duration = Duration::from_secs(30);

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KubeError {
    /// 404.
    #[error("{0}")]
    NotFound(String),
    /// 409: it exists already, is another one, or has changed.
    #[error("{0}")]
    Conflict(String),
    /// 401 or 403.
    #[error("{0}")]
    Forbidden(String),
    /// Another 4xx: the request itself is at fault.
    #[error("{0}")]
    Invalid(String),
    /// No answer, or one that promises that another try may work.
    #[error("{0}")]
    Unavailable(String),
}

/// How a patch is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Lists are merged by key where Kubernetes knows one.
    Strategic,
    /// Lists are replaced.
    Plain,
}

/// The API server.
#[derive(Clone)]
pub struct Kube {
    client: kube::Client,
}

impl std::fmt::Debug for Kube {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kube")
    }
}

impl Kube {
    /// Requests through `client`.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// The client, for watches.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// GET.
    ///
    /// # Errors
    /// [`KubeError`]
    pub async fn get(&self, path: &str) -> Result<Value, KubeError> {
        self.send(Method::GET, path, None, None).await
    }

    /// POST.
    ///
    /// # Errors
    /// [`KubeError`]
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, KubeError> {
        self.send(Method::POST, path, Some("application/json"), Some(object)).await
    }

    /// PATCH.
    ///
    /// # Errors
    /// [`KubeError`]
    pub async fn patch(&self, path: &str, merge: Merge, patch: &Value) -> Result<Value, KubeError> {
        let kind = match merge {
            Merge::Strategic => "application/strategic-merge-patch+json",
            Merge::Plain => "application/merge-patch+json",
        };
        self.send(Method::PATCH, path, Some(kind), Some(patch)).await
    }

    /// DELETE with options.
    ///
    /// # Errors
    /// [`KubeError`]
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value, KubeError> {
        self.send(Method::DELETE, path, Some("application/json"), Some(options)).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Value, KubeError> {
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let body = body.map(serde_json::to_vec).transpose().map_err(|e| KubeError::Invalid(e.to_string()))?;
        let request = request.body(body.unwrap_or_default()).map_err(|e| KubeError::Invalid(e.to_string()))?;
        // As text, because the library logs what it can't parse, and it may be a Secret.
        let text = match tokio::time::timeout(LIMIT, self.client.request_text(request)).await {
            Err(_) => {
                return Err(KubeError::Unavailable(format!(
                    "the API server did not answer within {} s",
                    LIMIT.as_secs()
                )));
            }
            Ok(Err(error)) => return Err(sorted(&error)),
            Ok(Ok(text)) => text,
        };
        serde_json::from_str(&text).map_err(|e| {
            KubeError::Unavailable(format!(
                "the API server's answer is not JSON at line {} column {}",
                e.line(),
                e.column()
            ))
        })
    }
}

/// What an error of the library means.
#[must_use]
pub fn sorted(error: &kube::Error) -> KubeError {
    let kube::Error::Api(status) = error else {
        return KubeError::Unavailable(format!("the API server can't be reached: {}", chain(error)));
    };
    let words = status.message.clone();
    match status.code {
        // Only the API server itself knows that something does not exist. Whoever is in front of it answers 404 too, and
        // that must neither end a job nor count as an absent Secret.
        404 if status.reason != "NotFound" => {
            KubeError::Unavailable(format!("something other than the API server answered 404: {}", words.trim()))
        }
        404 | 410 => KubeError::NotFound(words),
        409 => KubeError::Conflict(words),
        401 | 403 => KubeError::Forbidden(words),
        408 | 425 | 429 => KubeError::Unavailable(words),
        400..=499 => KubeError::Invalid(words),
        _ => KubeError::Unavailable(words),
    }
}

/// The innermost cause, which is the one that says something.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn only_the_api_server_says_that_something_does_not_exist() {
        let not_found = |reason: &str| {
            let status = Status::failure("words", reason).with_code(404);
            sorted(&kube::Error::Api(status.boxed()))
        };
        assert!(matches!(not_found("NotFound"), KubeError::NotFound(_)));
        // What kube makes of an answer that is no Status, as of a load balancer without a backend.
        assert!(matches!(not_found("Failed to parse error data"), KubeError::Unavailable(_)));
    }
}
