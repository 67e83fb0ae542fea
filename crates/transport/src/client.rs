//! A pooled HTTP/1.1 client for one endpoint, which tells whether anything was sent.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::endpoint::Endpoint;
use crate::stream::Stream;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is closed before the peer may do so under a request. The existing API server does it after 30 s, and
/// kubelets ping every 30 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Idle connections kept per endpoint.
const IDLE_CONNECTIONS: usize = 64;

/// A client of one endpoint. Cheap to clone; clones share the pool.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
    pool: legacy::Client<Connector, Full<Bytes>>,
}

/// One request. Its body has a known length, also on GET, because the contract's servers read GET bodies by length.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method.
    pub method: Method,
    /// Path with query, beginning with `/`.
    pub path: String,
    /// Headers, beyond `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// How long the answer's headers may take, connecting included.
    pub timeout: Duration,
}

impl Call {
    /// A request without headers and with a time limit of 30 s.
    pub fn new(method: Method, path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: body.into(),
            timeout: Duration::from_secs(30),
        }
    }

    /// With a header. A value that HTTP can't carry is left out.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// With another time limit for the answer's headers.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection: nothing was sent, so even a create may be repeated.
    #[error("can't connect to {endpoint}: {why}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        why: String,
        /// The system's error kind, where it was one.
        kind: Option<io::ErrorKind>,
    },
    /// The connection broke after something may have been sent.
    #[error("{endpoint} closed the connection without a complete answer: {why}")]
    Broken {
        /// Where.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// No answer in time; the request may have been carried out.
    #[error("{endpoint} did not answer within {} s", .after.as_secs())]
    TimedOut {
        /// Where.
        endpoint: String,
        /// The limit.
        after: Duration,
    },
    /// The answer is larger than the caller takes.
    #[error("{endpoint} answered with more than {limit} bytes")]
    TooLarge {
        /// Where.
        endpoint: String,
        /// In bytes.
        limit: usize,
    },
    /// The request itself can't be written as HTTP.
    #[error("not a valid request: {0}")]
    Invalid(String),
}

impl CallError {
    /// Whether it is certain that the peer got nothing.
    #[must_use]
    pub fn nothing_sent(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Invalid(_))
    }
}

impl Client {
    /// A client of `endpoint`; connects when used.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self::with_idle(endpoint, IDLE_CONNECTIONS)
    }

    /// A client of `endpoint` that makes a new connection for every request, for requests whose fate must be known: a
    /// pooled connection may just be dying, and then nobody could say whether the request arrived.
    #[must_use]
    pub fn unpooled(endpoint: Endpoint) -> Self {
        Self::with_idle(endpoint, 0)
    }

    fn with_idle(endpoint: Endpoint, idle: usize) -> Self {
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(idle)
            .build(Connector { endpoint: endpoint.clone() });
        Self { endpoint, pool }
    }

    /// Where its peer is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request and waits for the answer's headers. Dropping the future cancels the request.
    ///
    /// # Errors
    /// [`CallError`]; an answer with an error status is not one.
    pub async fn send(&self, call: Call) -> Result<Answer, CallError> {
        let uri = Uri::builder().scheme("http").authority(self.endpoint.authority()).path_and_query(call.path);
        let uri = uri.build().map_err(|e| CallError::Invalid(e.to_string()))?;
        let mut request = Request::builder().method(call.method).uri(uri);
        if let Some(headers) = request.headers_mut() {
            *headers = call.headers;
        }
        let request = request.body(Full::new(call.body)).map_err(|e| CallError::Invalid(e.to_string()))?;
        match tokio::time::timeout(call.timeout, self.pool.request(request)).await {
            Err(_) => Err(CallError::TimedOut { endpoint: self.endpoint.to_string(), after: call.timeout }),
            Ok(Err(error)) => Err(self.explain(&error)),
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                Ok(Answer { status: head.status, headers: head.headers, endpoint: self.endpoint.to_string(), body })
            }
        }
    }

    fn explain(&self, error: &legacy::Error) -> CallError {
        let endpoint = self.endpoint.to_string();
        let root = root_cause(error);
        if error.is_connect() {
            let kind = io_kind(error);
            let why = match (kind, self.endpoint.socket()) {
                (Some(io::ErrorKind::NotFound), Some(_)) => "the socket does not exist".to_owned(),
                (Some(io::ErrorKind::ConnectionRefused), Some(_)) => "nobody listens on the socket".to_owned(),
                _ => root,
            };
            return CallError::Unreachable { endpoint, why, kind };
        }
        CallError::Broken { endpoint, why: root }
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}

/// An answer whose headers have come.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    endpoint: String,
    body: Incoming,
}

impl Answer {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The whole body, if it is at most `limit` bytes and ends within `timeout`.
    ///
    /// # Errors
    /// [`CallError`]: a body that breaks off is an error, never a short answer.
    pub async fn bytes(self, limit: usize, timeout: Duration) -> Result<Bytes, CallError> {
        let endpoint = self.endpoint.clone();
        let collect = async {
            let mut all = BytesMut::new();
            let mut chunks = std::pin::pin!(self.into_stream());
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk?;
                if all.len() + chunk.len() > limit {
                    return Err(CallError::TooLarge { endpoint: endpoint.clone(), limit });
                }
                all.extend_from_slice(&chunk);
            }
            Ok(all.freeze())
        };
        match tokio::time::timeout(timeout, collect).await {
            Ok(result) => result,
            Err(_) => Err(CallError::TimedOut { endpoint, after: timeout }),
        }
    }

    /// The body as it comes. Dropping the stream closes the connection.
    pub fn into_stream(self) -> impl futures_util::Stream<Item = Result<Bytes, CallError>> + Send + 'static {
        let endpoint = self.endpoint;
        self.body
            .into_data_stream()
            .map(move |chunk| chunk.map_err(|e| CallError::Broken { endpoint: endpoint.clone(), why: root_cause(&e) }))
    }
}

#[derive(Debug, Clone)]
struct Connector {
    endpoint: Endpoint,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let endpoint = self.endpoint.clone();
        Box::pin(async move {
            let connecting = tokio::time::timeout(CONNECT_TIMEOUT, Stream::connect(&endpoint));
            connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(TokioIo::new)
        })
    }
}
