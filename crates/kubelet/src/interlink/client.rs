//! The calls of the interLink API.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::Method;
use interlink_transport::{Answer, Call, CallError, Client as Transport, Endpoint};
use interlink_wire::{
    CreateStruct, Envelope, Fault, LogStruct, Object, PodCreateRequests, PodListEntry, PodStatus, header, path,
};

use super::{InterlinkError, LogStream, Pong};

/// A ping that takes longer is a failed one.
const PING_LIMIT: Duration = Duration::from_secs(10);
/// As the existing virtual kubelet: a plugin may run `sbatch` while we wait.
const CREATE_LIMIT: Duration = Duration::from_secs(120);
/// A plugin may run `scancel` while we wait.
const DELETE_LIMIT: Duration = Duration::from_secs(60);
/// A plugin may ask its scheduler first.
const STATUS_LIMIT: Duration = Duration::from_secs(30);
/// The first byte of a followed log may be long in coming, its headers may not.
const LOGS_LIMIT: Duration = Duration::from_secs(30);
/// How long a body may take once its headers are there.
const BODY_LIMIT: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes; 100 pods with 50 containers of 1 KiB each are 5 MB.
const ANSWER_LIMIT: usize = 16 << 20;
/// The largest error text that is read, in bytes.
const ERROR_LIMIT: usize = 64 << 10;
/// The name of the answering hop in faults that do not name one.
const HOP: &str = "api";

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Name of the virtual node (`InterLink-Node`).
    pub node: String,
    /// File with the bearer token (`VKTokenFile`), or none.
    pub token_file: Option<PathBuf>,
}

/// A client of the API server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    /// For creates: a connection of its own each, so that none dies with a pooled connection that the peer just closed.
    fresh: Transport,
    caller: Arc<Caller>,
    owner: Arc<OnceLock<String>>,
}

impl Client {
    /// A client of the API server at `endpoint`; connects when used.
    #[must_use]
    pub fn new(endpoint: Endpoint, caller: Caller) -> Self {
        Self {
            transport: Transport::new(endpoint.clone()),
            fresh: Transport::unpooled(endpoint),
            caller: Arc::new(caller),
            owner: Arc::default(),
        }
    }

    /// Sets whose pods these are (`InterLink-Owner`), once it is known; later calls change nothing.
    pub fn set_owner(&self, owner: String) {
        let _ = self.owner.set(owner);
    }

    /// Whose pods these are, if that is known.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.get().map(String::as_str)
    }

    /// Where the API server is, for messages.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.transport.endpoint()
    }

    /// `POST /pinglink`.
    ///
    /// # Errors
    /// [`InterlinkError`]
    pub async fn ping(&self) -> Result<Pong, InterlinkError> {
        let call = self.call(Method::POST, path::PINGLINK, "PingInterLink", Bytes::new(), PING_LIMIT).await?;
        let body = self.body(call).await?;
        Pong::read(&body).map_err(InterlinkError::Refused)
    }

    /// `POST /create`.
    ///
    /// # Errors
    /// [`InterlinkError`]; an answer that is not understood counts as [`InterlinkError::Unknown`]: the pod may exist.
    pub async fn create(&self, request: &PodCreateRequests) -> Result<CreateStruct, InterlinkError> {
        let body = encode(request)?;
        let call = self.call(Method::POST, path::CREATE, "CreatePod", body, CREATE_LIMIT).await?;
        let body = whole(self.answer(&self.fresh, call).await?).await?;
        CreateStruct::decode(&body).map_err(|e| InterlinkError::Unknown(format!("{HOP}: {e}")))
    }

    /// `DELETE /delete` with the whole pod.
    ///
    /// # Errors
    /// [`InterlinkError`]
    pub async fn delete(&self, pod: &Object) -> Result<(), InterlinkError> {
        let body = encode(pod)?;
        let call = self.call(Method::DELETE, path::DELETE, "DeletePod", body, DELETE_LIMIT).await?;
        self.body(call).await.map(drop)
    }

    /// `GET /status` of whole pods. Pods that the remote side does not know are not in the answer.
    ///
    /// # Errors
    /// [`InterlinkError`]
    pub async fn status(&self, pods: &[Arc<Object>]) -> Result<Vec<PodStatus>, InterlinkError> {
        let pods: Vec<&Object> = pods.iter().map(AsRef::as_ref).collect();
        let body = encode(&pods)?;
        let call = self.call(Method::GET, path::STATUS, "GetStatus", body, STATUS_LIMIT).await?;
        let body = self.body(call).await?;
        PodStatus::decode_list(&body).map_err(|e| InterlinkError::Unknown(format!("{HOP}: {e}")))
    }

    /// `GET /pods`: this owner's pods. Only where [`Capabilities::pod_list`](super::Capabilities) says so.
    ///
    /// # Errors
    /// [`InterlinkError`]
    pub async fn pods(&self) -> Result<Vec<PodListEntry>, InterlinkError> {
        let call = self.call(Method::GET, path::PODS, "ListPods", Bytes::new(), STATUS_LIMIT).await?;
        let body = self.body(call).await?;
        PodListEntry::decode_list(&body).map_err(|e| InterlinkError::Unknown(format!("{HOP}: {e}")))
    }

    /// `GET /getLogs`.
    ///
    /// # Errors
    /// [`InterlinkError`]
    pub async fn logs(&self, request: &LogStruct) -> Result<LogStream, InterlinkError> {
        let body = encode(request)?;
        let call = self.call(Method::GET, path::GET_LOGS, "GetLogs", body, LOGS_LIMIT).await?;
        let answer = self.answer(&self.transport, call).await?;
        Ok(answer.into_stream().map(|chunk| chunk.map_err(|e| InterlinkError::Unknown(e.to_string()))).boxed())
    }

    async fn call(
        &self,
        method: Method,
        path: &'static str,
        tag: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Call, InterlinkError> {
        let session = format!("{tag}#{:016x}", rand::random::<u64>());
        let mut call = Call::new(method, path, body)
            .header(header::SESSION, &session)
            .header(header::NODE, &self.caller.node)
            .header(header::ACCEPT, "sidecars")
            .header("content-type", "application/json")
            .timeout(limit);
        if let Some(owner) = self.owner() {
            call = call.header(header::OWNER, owner);
        }
        if let Some(token) = self.token().await? {
            call = call.header("authorization", &format!("Bearer {token}"));
        }
        Ok(call)
    }

    /// The token as it is in the file now; sidecars renew it. An empty file means that there is none.
    async fn token(&self) -> Result<Option<String>, InterlinkError> {
        let Some(file) = &self.caller.token_file else { return Ok(None) };
        match tokio::fs::read_to_string(file).await {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
            Err(error) => Err(InterlinkError::Unreachable(format!(
                "virtual-kubelet: the token file {} (VKTokenFile) can't be read: {error}",
                file.display()
            ))),
        }
    }

    async fn answer(&self, transport: &Transport, call: Call) -> Result<Answer, InterlinkError> {
        let answer = transport.send(call).await.map_err(explain)?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status;
        if status.is_redirection() {
            let to = answer.header("location").unwrap_or("elsewhere").chars().take(200).collect::<String>();
            return Err(InterlinkError::Refused(Fault::passing(
                HOP,
                "redirect",
                format!(
                    "answered HTTP {} to {to}, as a login page does; check InterlinkURL and VKTokenFile",
                    status.as_u16()
                ),
            )));
        }
        let fault = answer.header(header::ERROR).map(str::to_owned);
        // The words are a courtesy: an error stays an error without them.
        let body = answer.bytes(ERROR_LIMIT, BODY_LIMIT).await.unwrap_or_default();
        let from_a_hop = fault.is_some();
        let mut fault = Fault::read(HOP, status.as_u16(), fault.as_deref(), &body);
        // A proxy that does not let us in says nothing about the pod: tokens expire and are renewed.
        if !from_a_hop && matches!(status.as_u16(), 401 | 403 | 407) {
            fault.retry = true;
            fault.sentence.push_str("; check VKTokenFile");
        }
        if matches!(status.as_u16(), 404 | 410) {
            super::error::NOT_FOUND.clone_into(&mut fault.code);
        }
        Err(InterlinkError::Refused(fault))
    }

    async fn body(&self, call: Call) -> Result<Bytes, InterlinkError> {
        whole(self.answer(&self.transport, call).await?).await
    }
}

async fn whole(answer: Answer) -> Result<Bytes, InterlinkError> {
    answer.bytes(ANSWER_LIMIT, BODY_LIMIT).await.map_err(|e| InterlinkError::Unknown(e.to_string()))
}

fn encode(body: &impl serde::Serialize) -> Result<Bytes, InterlinkError> {
    let lasting = |e: serde_json::Error| {
        InterlinkError::Refused(Fault::lasting("virtual-kubelet", "encode", format!("can't be written as JSON: {e}")))
    };
    serde_json::to_vec(body).map(Bytes::from).map_err(lasting)
}

fn explain(error: CallError) -> InterlinkError {
    if error.nothing_sent() {
        InterlinkError::Unreachable(format!("{HOP}: {error}"))
    } else {
        InterlinkError::Unknown(format!("{HOP}: {error}"))
    }
}
