//! Where ConfigMaps, Secrets and tokens come from: the cluster, or a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use interlink_wire::Object;

use super::unresolved::Problem;

/// A token for one pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenRequest {
    /// Namespace of pod and ServiceAccount.
    pub namespace: String,
    /// Name of the ServiceAccount.
    pub service_account: String,
    /// Name of the pod that the token is bound to.
    pub pod_name: String,
    /// UID of the pod that the token is bound to.
    pub pod_uid: String,
    /// Audience, or `""` for the API server's own.
    pub audience: String,
    /// Lifetime in seconds.
    pub expiration_seconds: i64,
}

/// The source of what a pod refers to. An `Err` is one clause that says what went wrong (not the object's name).
#[async_trait::async_trait]
pub trait Objects: Send + Sync {
    /// A ConfigMap; `None` when there is none of that name.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Object>, String>;
    /// A Secret; `None` when there is none of that name.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Object>, String>;
    /// A token that ends with the pod.
    async fn service_account_token(&self, request: &TokenRequest) -> Result<String, String>;
}

/// The names of what a pod refers to; each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    /// ConfigMaps in the pod's namespace.
    pub config_maps: BTreeSet<String>,
    /// Secrets in the pod's namespace.
    pub secrets: BTreeSet<String>,
    /// Tokens: audience and lifetime in seconds.
    pub tokens: BTreeSet<(String, i64)>,
}

/// Answers for every reference of a pod.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    config_maps: BTreeMap<String, Result<Option<Object>, String>>,
    secrets: BTreeMap<String, Result<Option<Object>, String>>,
    tokens: BTreeMap<(String, i64), Result<String, String>>,
}

/// The longest wait for one object. A pod that waits for it is tried again.
const FETCH_LIMIT: Duration = Duration::from_secs(30);
/// Requests at a time for one pod: enough to hide the latency, too few to be a burden.
const AT_ONCE: usize = 4;

enum Kind {
    ConfigMap(String),
    Secret(String),
    Token((String, i64)),
}

enum Answer {
    ConfigMap(String, Result<Option<Object>, String>),
    Secret(String, Result<Option<Object>, String>),
    Token((String, i64), Result<String, String>),
}

impl Fetched {
    /// Asks for everything. Failures are kept, to be told with the place that needs the object.
    pub(super) async fn fetch(references: References, pod: &TokenRequest, objects: &dyn Objects) -> Self {
        let kinds = (references.config_maps.into_iter().map(Kind::ConfigMap))
            .chain(references.secrets.into_iter().map(Kind::Secret))
            .chain(references.tokens.into_iter().map(Kind::Token))
            .collect::<Vec<_>>();
        let mut answers =
            futures_util::stream::iter(kinds.into_iter().map(|kind| ask(kind, pod, objects))).buffer_unordered(AT_ONCE);
        let mut fetched = Self::default();
        while let Some(answer) = answers.next().await {
            match answer {
                Answer::ConfigMap(name, answer) => drop(fetched.config_maps.insert(name, answer)),
                Answer::Secret(name, answer) => drop(fetched.secrets.insert(name, answer)),
                Answer::Token(key, answer) => drop(fetched.tokens.insert(key, answer)),
            }
        }
        fetched
    }

    pub(super) fn config_map(&self, name: &str, optional: bool) -> Result<Option<&Object>, Problem> {
        found("ConfigMap", name, optional, self.config_maps.get(name))
    }

    pub(super) fn secret(&self, name: &str, optional: bool) -> Result<Option<&Object>, Problem> {
        found("Secret", name, optional, self.secrets.get(name))
    }

    pub(super) fn token(&self, audience: &str, expiration: i64) -> Result<&str, Problem> {
        match self.tokens.get(&(audience.to_owned(), expiration)) {
            Some(Ok(token)) if !token.is_empty() => Ok(token),
            Some(Ok(_)) => Err(Problem::passing("the token request was answered without a token")),
            Some(Err(why)) => Err(Problem::passing(format!("the token request failed: {why}"))),
            None => Err(Problem::passing("the token was not asked for")),
        }
    }
}

async fn ask(kind: Kind, pod: &TokenRequest, objects: &dyn Objects) -> Answer {
    match kind {
        Kind::ConfigMap(name) => {
            let answer = in_time(objects.config_map(&pod.namespace, &name)).await;
            Answer::ConfigMap(name, answer)
        }
        Kind::Secret(name) => {
            let answer = in_time(objects.secret(&pod.namespace, &name)).await;
            Answer::Secret(name, answer)
        }
        Kind::Token((audience, expiration_seconds)) => {
            let request = TokenRequest { audience: audience.clone(), expiration_seconds, ..pod.clone() };
            let answer = in_time(objects.service_account_token(&request)).await;
            Answer::Token((audience, expiration_seconds), answer)
        }
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(FETCH_LIMIT, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", FETCH_LIMIT.as_secs())),
    }
}

fn found<'a>(
    kind: &str,
    name: &str,
    optional: bool,
    answer: Option<&'a Result<Option<Object>, String>>,
) -> Result<Option<&'a Object>, Problem> {
    match answer {
        Some(Ok(Some(object))) => Ok(Some(object)),
        Some(Ok(None)) if optional => Ok(None),
        Some(Ok(None)) => Err(Problem::passing(format!(
            "{kind} {name:?} does not exist in this namespace; create it or mark the reference optional"
        ))),
        Some(Err(why)) => Err(Problem::passing(format!("{kind} {name:?} can't be read: {why}"))),
        None => Err(Problem::passing(format!("{kind} {name:?} was not asked for"))),
    }
}
