//! The other side: every call to the plugin goes through [`Plugin`], which bounds it in time and number, notes whether
//! the plugin answers, and turns what goes wrong into words.

pub mod dialect;
pub mod health;
pub mod limits;
pub mod probe;
pub mod trouble;
pub mod tunnel;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http::{HeaderMap, Method, StatusCode};
use interlink_daemon::HopHandle;
use interlink_transport::{Answer, Call, CallError, Client, Endpoint};
use interlink_wire::{Fault, HopState, header, path};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::HOP;
use crate::answer::Refusal;
use crate::caller::Caller;
use crate::ping::compose;
use dialect::Dialect;
use health::Health;
use limits::Limits;
use trouble::Trouble;

/// The largest answer that is taken whole. A status of ten thousand pods is about as large.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// The most that is read of an error's text.
const ERROR_LIMIT: usize = 64 * 1024;

/// How long the resolver may take to tell whether a host name exists.
const RESOLVE_LIMIT: Duration = Duration::from_secs(2);

/// An answer with its whole body.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Body.
    pub body: Bytes,
    error: Option<String>,
}

impl Reply {
    /// Our answer to the kubelet where this is an error: the plugin's status and its words.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let known = self.status.is_client_error() || self.status.is_server_error();
        let status = if known { self.status } else { StatusCode::BAD_GATEWAY };
        Refusal { status, fault: Fault::read("plugin", status.as_u16(), self.error.as_deref(), &self.body) }
    }
}

/// A call without an answer.
#[derive(Debug, Clone)]
pub struct Unanswered {
    /// Why.
    pub trouble: Trouble,
    /// Whether it is certain that the plugin got nothing.
    pub nothing_sent: bool,
}

/// How many calls of a kind are at the plugin at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Pings.
    Ping,
    /// Statuses and lists.
    Read,
    /// Creates and deletes.
    Write,
}

/// The last ping.
#[derive(Debug, Clone, Copy)]
pub struct LastPing {
    /// When.
    pub at: Instant,
    /// Whether there was an answer, of whatever kind.
    pub answered: bool,
}

/// The plugin, as this program sees it.
#[derive(Debug)]
pub struct Plugin {
    client: Client,
    fresh: Client,
    limits: Limits,
    pings: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    follows: Arc<Semaphore>,
    dialect: Mutex<Dialect>,
    last_ping: Mutex<Option<LastPing>>,
    health: Health,
    tunnel_state: Option<PathBuf>,
}

impl Plugin {
    /// The plugin at `endpoint`; its state is shown behind `handle`'s. `tunnel_state` is the state socket of a tunnel
    /// that may run beside us.
    #[must_use]
    pub fn new(endpoint: Endpoint, limits: Limits, handle: HopHandle, tunnel_state: Option<PathBuf>) -> Self {
        let slots = |count| Arc::new(Semaphore::new(count));
        Self {
            client: Client::new(endpoint.clone()),
            fresh: Client::unpooled(endpoint),
            pings: slots(limits.pings),
            reads: slots(limits.reads),
            writes: slots(limits.writes),
            follows: slots(limits.follows),
            limits,
            dialect: Mutex::default(),
            last_ping: Mutex::default(),
            health: Health::new(handle),
            tunnel_state,
        }
    }

    /// Times and numbers.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What has been learnt of it.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes something learnt.
    pub fn learn(&self, change: impl FnOnce(&mut Dialect)) {
        change(&mut self.dialect.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What it announced; pings it first where nothing is known yet, as after an outage.
    ///
    /// # Errors
    /// [`Unanswered`], when it was asked just now and gave no answer.
    pub async fn capabilities(&self) -> Result<Vec<String>, Unanswered> {
        if self.dialect().capabilities.is_none() {
            self.ping(&Caller::ourselves()).await?;
        }
        Ok(self.dialect().capabilities.unwrap_or_default())
    }

    /// The hops behind us, nearest first: the tunnel where one says how it is, and the plugin.
    pub async fn hops(&self) -> Vec<HopState> {
        let mut hops = self.tunnel().await;
        hops.truncate(1);
        let plugin = self.health.get();
        if hops.iter().all(|hop| hop.hop != plugin.hop) {
            hops.push(plugin);
        }
        hops
    }

    /// How long an answer to a question may take: our kubelets ask again soon, and want the reason rather than to wait.
    #[must_use]
    pub fn patience_of(&self, caller: &Caller) -> Duration {
        if caller.owner.is_some() { self.limits.short_read } else { self.limits.read }
    }

    /// Pings: `GET /status` with `[]`. Learns what the plugin announces and whether it is well.
    ///
    /// # Errors
    /// [`Unanswered`]; an answer with an error status is not one.
    pub async fn ping(&self, caller: &Caller) -> Result<Reply, Unanswered> {
        let limit = self.limits.ping;
        let result = self
            .ask_either(Lane::Ping, [Method::GET, Method::POST], path::STATUS, caller, Bytes::from_static(b"[]"), limit)
            .await;
        self.note_ping(result.is_ok());
        match &result {
            Ok(reply) if reply.status.is_success() => {
                let capabilities = compose::capabilities(&reply.body);
                self.learn(|dialect| dialect.capabilities = Some(capabilities));
                self.health.well();
            }
            Ok(reply) => {
                // It is there; it only says nothing of what it can do.
                self.learn(|dialect| dialect.capabilities = dialect.capabilities.take().or(Some(Vec::new())));
                let Refusal { status, fault } = reply.refusal();
                let cause = format!("its ping was answered with {status}: {}", fault.sentence);
                self.health.unwell(&Trouble {
                    hop: fault.hop,
                    code: "ping-refused",
                    status,
                    cause,
                    remedy: String::new(),
                });
            }
            Err(unanswered) => {
                self.learn(|dialect| dialect.capabilities = None);
                if !unanswered.nothing_sent {
                    self.health.unwell(&unanswered.trouble);
                }
            }
        }
        result
    }

    /// When the last ping was, and whether anything came back.
    #[must_use]
    pub fn last_ping(&self) -> Option<LastPing> {
        *self.last_ping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_ping(&self, answered: bool) {
        let ping = LastPing { at: Instant::now(), answered };
        *self.last_ping.lock().unwrap_or_else(PoisonError::into_inner) = Some(ping);
    }

    /// Asks, and asks with the other method where the first is not allowed (some plugins insist on one).
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask_either(
        &self,
        lane: Lane,
        methods: [Method; 2],
        path: &str,
        caller: &Caller,
        body: Bytes,
        limit: Duration,
    ) -> Result<Reply, Unanswered> {
        let [first, second] = methods;
        let reply = self.ask(lane, first, path, caller, body.clone(), limit).await?;
        if reply.status == StatusCode::METHOD_NOT_ALLOWED {
            return self.ask(lane, second, path, caller, body, limit).await;
        }
        Ok(reply)
    }

    /// One call, its whole answer within `limit`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask(
        &self,
        lane: Lane,
        method: Method,
        path: &str,
        caller: &Caller,
        body: Bytes,
        limit: Duration,
    ) -> Result<Reply, Unanswered> {
        let deadline = Instant::now() + limit;
        let slots = match lane {
            Lane::Ping => &self.pings,
            Lane::Read => &self.reads,
            Lane::Write => &self.writes,
        };
        let _slot = self.slot(slots, limit).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let call = call(method, path, &caller.headers, body, left);
        let answer = match lane {
            // A write that may not be repeated goes over a new connection: a pooled one may have just died, and then
            // nobody could say whether the write arrived.
            Lane::Write if !self.dialect().may_repeat_create() => self.fresh.send(call).await,
            Lane::Write => self.client.send(call).await,
            Lane::Ping | Lane::Read => self.question(call).await,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.note(error).await),
        };
        let (status, error) = (answer.status, answer.header(header::ERROR).map(str::to_owned));
        let size = if status.is_success() { ANSWER_LIMIT } else { ERROR_LIMIT };
        let left = deadline.saturating_duration_since(Instant::now());
        match answer.bytes(size, left).await {
            Ok(body) => {
                self.health.answered();
                Ok(Reply { status, body, error })
            }
            // The status tells enough; an error's text may be cut.
            Err(CallError::TooLarge { .. }) if !status.is_success() => Ok(Reply { status, body: Bytes::new(), error }),
            Err(error) => Err(self.note(error).await),
        }
    }

    /// A call whose body is streamed. The place in the lane is held by the returned permit.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        caller: &Caller,
        body: Bytes,
        limit: Duration,
    ) -> Result<(Answer, OwnedSemaphorePermit), Unanswered> {
        let slot = self.slot(&self.follows, self.limits.ping).await?;
        match self.question(call(method, path, &caller.headers, body, limit)).await {
            Ok(answer) => {
                self.health.answered();
                Ok((answer, slot))
            }
            Err(error) => Err(self.note(error).await),
        }
    }

    /// Sends what may be asked twice. A pooled connection may end under it, as when the tunnel is restarted: then it is
    /// asked once more over a new one, if the first try has left time for that.
    async fn question(&self, call: Call) -> Result<Answer, CallError> {
        let begun = Instant::now();
        let first = match self.client.send(call.clone()).await {
            Err(first @ CallError::Broken { .. }) => first,
            told => return told,
        };
        let left = call.timeout.saturating_sub(begun.elapsed());
        if left < call.timeout / 2 {
            return Err(first);
        }
        match self.fresh.send(call.timeout(left)).await {
            Err(CallError::TimedOut { .. }) => Err(first),
            told => told,
        }
    }

    /// The error answer of a stream, read whole.
    pub async fn refusal_of(&self, answer: Answer) -> Refusal {
        let (status, error) = (answer.status, answer.header(header::ERROR).map(str::to_owned));
        let body = answer.bytes(ERROR_LIMIT, self.limits.ping).await.unwrap_or_default();
        Reply { status, body, error }.refusal()
    }

    /// What the tunnel says, where we go through one.
    async fn tunnel(&self) -> Vec<HopState> {
        match &self.tunnel_state {
            Some(path) => tunnel::hops(path, self.client.endpoint()).await,
            None => Vec::new(),
        }
    }

    async fn slot(&self, slots: &Arc<Semaphore>, limit: Duration) -> Result<OwnedSemaphorePermit, Unanswered> {
        if let Ok(Ok(slot)) = tokio::time::timeout(limit, slots.clone().acquire_owned()).await {
            return Ok(slot);
        }
        let trouble = Trouble {
            hop: HOP.into(),
            code: "busy",
            status: StatusCode::SERVICE_UNAVAILABLE,
            cause: "as many requests as this API server sends at once are already waiting for the plugin".into(),
            remedy: "look why the plugin is slow, and try again".into(),
        };
        Err(Unanswered { trouble, nothing_sent: true })
    }

    /// Puts a failed call into words and notes an unreachable plugin.
    async fn note(&self, error: CallError) -> Unanswered {
        let resolves = match (&error, self.client.endpoint()) {
            (CallError::Unreachable { .. }, Endpoint::Tcp { host, port }) => resolves(host, *port).await,
            _ => true,
        };
        let mut trouble = trouble::explain(self.client.endpoint(), &error, resolves);
        let of_the_road = !matches!(error, CallError::TooLarge { .. } | CallError::Invalid(_));
        if of_the_road && let Some(hop) = tunnel::culprit(self.tunnel().await) {
            trouble.cause = format!(
                "{}: {}",
                if hop.hop == "tunnel" { "the tunnel is down" } else { "behind the tunnel" },
                hop.cause
            );
            trouble.hop = if hop.hop == "tunnel" { hop.hop } else { "plugin".into() };
            trouble.remedy = hop.remedy;
        }
        let nothing_sent = error.nothing_sent();
        // Whoever hung up may be gone for good, and another may listen there next: a promise is its own.
        if nothing_sent || matches!(error, CallError::Broken { .. }) {
            self.learn(|dialect| *dialect = Dialect::default());
        }
        if nothing_sent {
            // As good as a ping: the probe looks again soon.
            self.note_ping(false);
            self.health.unreachable(&trouble);
        }
        Unanswered { trouble, nothing_sent }
    }
}

fn call(method: Method, path: &str, headers: &HeaderMap, body: Bytes, timeout: Duration) -> Call {
    let mut call = Call::new(method, path, body).timeout(timeout);
    call.headers = headers.clone();
    call
}

async fn resolves(host: &str, port: u16) -> bool {
    let lookup = tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((host, port)));
    lookup.await.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some()))
}
