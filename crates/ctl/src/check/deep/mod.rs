//! A real test pod: through Kubernetes where there is a cluster, else through the API server. It prints one word, which
//! must come back as its log, and is removed in every case: also when the check is interrupted.
//!
//! - [`cluster`]: as a user of the cluster. [`api`]: as a virtual kubelet.

pub mod api;
pub mod cluster;

use std::time::{Duration, Instant};

use interlink_transport::Endpoint;
use serde_json::{Value, json};

use super::step::{Fault, Id, Step};
use crate::run::signal::Interrupts;

/// What its names begin with, and the value of its label.
const NAME: &str = "interlink-check";
/// How long its removal may take.
const REMOVAL: Duration = Duration::from_secs(60);
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(500);

/// How the pod is to be run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long it may take from its creation to its end.
    pub patience: Duration,
    /// Its image; it must have `echo`.
    pub image: String,
    /// The namespace, in a cluster.
    pub namespace: String,
}

/// One test pod.
#[derive(Debug, Clone)]
struct Trial {
    name: String,
    /// What it says.
    word: String,
    node: String,
    options: Options,
    limit: Duration,
}

/// How a trial ended.
#[derive(Debug)]
enum End {
    /// Well: what is to be told of it.
    Well(String),
    /// Not.
    Failed(Fault),
    /// It was not begun, as this way is closed: why.
    Closed(String),
    /// The check was interrupted: the exit code.
    Interrupted(u8),
}

/// The step, or the exit code of an interrupt.
///
/// # Errors
/// The exit code.
pub async fn judge(
    options: &Options,
    node: &str,
    cluster: Option<&kube::Client>,
    server: Option<&Endpoint>,
    limit: Duration,
    interrupts: &mut Interrupts,
) -> Result<Step, u8> {
    let key = format!("{:08x}", rand::random::<u32>());
    let trial = Trial {
        name: format!("{NAME}-{key}"),
        word: format!("interlink-check {key}"),
        node: node.to_owned(),
        options: options.clone(),
        limit,
    };
    let began = Instant::now();
    let mut closed = None;
    if let Some(client) = cluster {
        match cluster::run(client, &trial, interrupts).await {
            End::Closed(why) => closed = Some(why),
            end => return told("kubernetes", end, began),
        }
    }
    match (server, closed) {
        (Some(server), closed) => {
            let end = match api::run(server, &trial, interrupts).await {
                End::Well(seen) => End::Well(match closed {
                    Some(why) => format!("{seen}, past Kubernetes: {why}"),
                    None => seen,
                }),
                end => end,
            };
            told("api", end, began)
        }
        (None, closed) => {
            let why = closed
                .unwrap_or_else(|| "there is neither a --kubeconfig nor an API server to run a pod through".into());
            Ok(Step::skipped(Id::TestPod, "chain", why))
        }
    }
}

fn told(hop: &str, end: End, began: Instant) -> Result<Step, u8> {
    Ok(match end {
        End::Well(seen) => Step::good(Id::TestPod, hop, seen).took(Some(began.elapsed())),
        End::Failed(fault) => Step::failed(Id::TestPod, hop, fault.cause, fault.remedy).took(Some(began.elapsed())),
        End::Closed(why) => Step::skipped(Id::TestPod, hop, why),
        End::Interrupted(code) => return Err(code),
    })
}

impl Trial {
    /// The manifest. It ends by itself where nobody removes it: after twice its time.
    fn manifest(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.options.namespace,
                "labels": {"app.kubernetes.io/name": NAME}},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "activeDeadlineSeconds": 2 * self.options.patience.as_secs().max(1),
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "nodeSelector": {"kubernetes.io/hostname": self.node},
                "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
                "containers": [{"name": "check", "image": self.options.image, "command": ["echo", self.word],
                    "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}}}],
            },
        })
    }

    /// Whether `log` is what the pod should have said.
    fn verify(&self, log: &str, on: &str) -> End {
        if log.trim() == self.word {
            return End::Well(format!("the test pod ran{on}, and its log came back"));
        }
        let said = log.trim().lines().next().unwrap_or_default();
        End::Failed(Fault::new(
            format!("the log of the test pod is not what it printed: {said:?} instead of {:?}", self.word),
            "look at the logs of virtual-kubelet and interlink-plugin",
        ))
    }

    /// It did not end in time.
    fn late(&self, state: &str) -> End {
        End::Failed(Fault::new(
            format!("the test pod had not ended after {} s: {state}", self.options.patience.as_secs()),
            "see whether the queue is full (a longer --deep-timeout waits for it) and what interlink-plugin's log says",
        ))
    }

    fn ended_badly(&self, why: &str) -> End {
        let remedy =
            format!("look at interlink-plugin's log, and whether the image {} is at hand there", self.options.image);
        End::Failed(Fault::new(format!("the test pod failed: {why}"), remedy))
    }
}

/// Puts what is left of the pod into the end.
fn with_remains(end: End, remains: Option<String>, remedy: String) -> End {
    match (end, remains) {
        (end @ End::Interrupted(_), _) | (end, None) => end,
        (End::Failed(fault), Some(why)) => End::Failed(Fault::new(
            fault.cause,
            format!("{}; and {remedy}, which could not be done: {why}", fault.remedy),
        )),
        (End::Well(_) | End::Closed(_), Some(why)) => {
            End::Failed(Fault::new(format!("the test pod ran, but could not be removed: {why}"), remedy))
        }
    }
}
