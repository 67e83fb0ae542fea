//! The interLink API as a virtual kubelet uses it, with every failure as a [`Fault`].

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::Method;
use interlink_transport::{Answer, Call, CallError, Client, Endpoint};
use interlink_wire::ping::HopState;
use interlink_wire::{
    CreateStruct, Envelope, Fault, LogStruct, Object, PingResponse, PodCreateRequests, PodStatus, capability, header,
    path,
};

/// The largest answer that is taken; a status of a pod is a few kilobytes.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// How long the body of an answer may take once its headers are there.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A create can wait for a slow `sbatch`: the contract's limit for answers.
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);

/// A client of the API server.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    /// For the create: a pooled connection may just be dying, and then nobody could say whether it arrived.
    fresh: Client,
    owner: String,
    session: String,
}

/// What a ping that was answered with 200 says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ping {
    /// Whether a create may be repeated.
    pub idempotent_create: bool,
    /// How the hops are doing, nearest first; empty where the API server doesn't say.
    pub hops: Vec<HopState>,
}

/// A create without a good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateFault {
    /// Why.
    pub fault: Fault,
    /// Whether it is certain that the API got nothing.
    pub nothing_sent: bool,
    /// Whether there was an answer at all; without one the pod may have been submitted.
    pub answered: bool,
}

impl Api {
    /// A client of `endpoint` that speaks for `owner`; `session` ties the hops' log lines together.
    #[must_use]
    pub fn new(endpoint: Endpoint, owner: String, session: String) -> Self {
        Self { client: Client::new(endpoint.clone()), fresh: Client::unpooled(endpoint), owner, session }
    }

    /// Asks through the whole chain whether it is alive.
    ///
    /// # Errors
    /// The [`Fault`] of the hop that isn't.
    pub async fn ping(&self) -> Result<Ping, Fault> {
        let answer =
            self.send(self.call(Method::POST, path::PINGLINK, Bytes::new())).await.map_err(|e| unreachable(&e))?;
        // Peers may answer a ping with anything; only an object says more than "alive".
        let said = PingResponse::decode(&whole(answer).await?).unwrap_or_default();
        let capabilities = said.interlink_api.unwrap_or_default().capabilities;
        let idempotent_create = capabilities.iter().any(|c| c == capability::IDEMPOTENT_CREATE);
        Ok(Ping { idempotent_create, hops: said.hops })
    }

    /// Submits a pod.
    ///
    /// # Errors
    /// [`CreateFault`], which tells whether the pod may have been submitted all the same.
    pub async fn create(&self, request: &PodCreateRequests) -> Result<CreateStruct, CreateFault> {
        let body = serde_json::to_vec(request)
            .map_err(|e| lasting(&format!("the pod can't be written as JSON: {e}")))
            .map_err(|fault| CreateFault { fault, nothing_sent: true, answered: false })?;
        let call = self.call(Method::POST, path::CREATE, body.into()).timeout(CREATE_TIMEOUT);
        let answer = self.fresh.send(call).await;
        let answer = answer.map_err(|e| CreateFault {
            fault: unreachable(&e),
            nothing_sent: e.nothing_sent(),
            answered: false,
        })?;
        let refused = !answer.status.is_success();
        let body = whole(answer).await;
        let body = body.map_err(|fault| CreateFault { fault, nothing_sent: false, answered: refused })?;
        CreateStruct::decode(&body).map_err(|e| CreateFault {
            fault: passing(&e.to_string()),
            nothing_sent: false,
            answered: false,
        })
    }

    /// What is known about a pod; `None` when nothing is.
    ///
    /// # Errors
    /// The [`Fault`] of the hop that doesn't answer.
    pub async fn status(&self, pod: &Object) -> Result<Option<PodStatus>, Fault> {
        let body = serde_json::to_vec(&[pod]).map_err(|e| lasting(&e.to_string()))?;
        let answer = self.send(self.call(Method::GET, path::STATUS, body.into())).await.map_err(|e| unreachable(&e))?;
        if answer.status == http::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let list = PodStatus::decode_list(&whole(answer).await?).map_err(|e| passing(&e.to_string()))?;
        // An API server may add pods that were not asked for.
        Ok(list.into_iter().find(|status| status.uid == pod.uid()))
    }

    /// Ends a pod and forgets it. An unknown pod is no error.
    ///
    /// # Errors
    /// The [`Fault`] of the hop that doesn't answer.
    pub async fn delete(&self, pod: &Object) -> Result<(), Fault> {
        let body = serde_json::to_vec(pod).map_err(|e| lasting(&e.to_string()))?;
        let call = self.call(Method::DELETE, path::DELETE, body.into());
        let answer = self.send(call).await.map_err(|e| unreachable(&e))?;
        if answer.status == http::StatusCode::NOT_FOUND {
            return Ok(());
        }
        whole(answer).await.map(drop)
    }

    /// Output of a container, as it comes.
    ///
    /// # Errors
    /// The [`Fault`] of the hop that doesn't answer.
    pub async fn logs(
        &self,
        request: &LogStruct,
    ) -> Result<impl Stream<Item = Result<Bytes, CallError>> + Send + 'static, Fault> {
        let body = serde_json::to_vec(request).map_err(|e| lasting(&e.to_string()))?;
        let answer =
            self.send(self.call(Method::GET, path::GET_LOGS, body.into())).await.map_err(|e| unreachable(&e))?;
        if answer.status.is_success() {
            return Ok(answer.into_stream());
        }
        match whole(answer).await {
            Err(fault) => Err(fault),
            Ok(_) => Err(lasting("the answer to a log request has an unexpected status")),
        }
    }

    /// All output of a container so far.
    ///
    /// # Errors
    /// The [`Fault`] of the hop that doesn't answer.
    pub async fn whole_log(&self, request: &LogStruct) -> Result<Bytes, Fault> {
        let body = serde_json::to_vec(request).map_err(|e| lasting(&e.to_string()))?;
        let answer = self.send(self.call(Method::GET, path::GET_LOGS, body.into())).await;
        whole(answer.map_err(|e| unreachable(&e))?).await
    }

    fn call(&self, method: Method, path: &str, body: Bytes) -> Call {
        Call::new(method, path, body)
            .header("content-type", "application/json")
            .header(header::SESSION, &self.session)
            .header(header::OWNER, &self.owner)
    }

    async fn send(&self, call: Call) -> Result<Answer, CallError> {
        self.client.send(call).await
    }
}

/// The body of a good answer, or the fault that a bad one tells.
async fn whole(answer: Answer) -> Result<Bytes, Fault> {
    let status = answer.status;
    let header = answer.header(header::ERROR).map(str::to_owned);
    let body = answer.bytes(ANSWER_LIMIT, BODY_TIMEOUT).await;
    if status.is_success() {
        return body.map_err(|e| unreachable(&e));
    }
    Err(Fault::read(HOP, status.as_u16(), header.as_deref(), &body.unwrap_or_default()))
}

/// The hop that answers us.
const HOP: &str = "api";

fn unreachable(error: &CallError) -> Fault {
    passing(&error.to_string())
}

fn passing(sentence: &str) -> Fault {
    Fault::passing(HOP, "unreachable", sentence)
}

fn lasting(sentence: &str) -> Fault {
    Fault::lasting(HOP, "invalid", sentence)
}
