//! `GET /status`: what the plugin knows of a pod.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decode::{DecodeError, Envelope, Shape, fold, typed};

/// Exit code that is reported where a peer says "terminated" without one and nothing says that it went well.
pub const EXIT_CODE_UNKNOWN: i32 = 255;

/// The state of one pod. Keys beyond `initContainers` are ours and are ignored by older peers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PodStatus {
    /// Pod name. A kubelet ignores an entry without one.
    #[serde(default)]
    pub name: String,
    /// Pod UID, the key.
    #[serde(default, rename = "UID")]
    pub uid: String,
    /// Namespace.
    #[serde(default)]
    pub namespace: String,
    /// Job id, or empty.
    #[serde(default, rename = "JID")]
    pub jid: String,
    /// One status per container of the spec, in its order. Never empty for a known pod: the existing kubelet takes an
    /// empty list as "all ended well".
    #[serde(default)]
    pub containers: Vec<ContainerStatus>,
    /// One status per init container.
    #[serde(default, rename = "initContainers")]
    pub init_containers: Vec<ContainerStatus>,
    /// Address of the pod.
    #[serde(default, rename = "podIP", skip_serializing_if = "Option::is_none")]
    pub pod_ip: Option<String>,
    /// Address of the compute node.
    #[serde(default, rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// Name of the compute node.
    #[serde(default, rename = "nodeName", skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// When this was observed, by the compute node's clock.
    #[serde(default, rename = "observedAt", skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
    /// Per-pod counter: the only order that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Whose pod this is (`InterLink-Owner` of its create).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What a newer peer adds.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl Envelope for PodStatus {
    const WHAT: &'static str = "pod status";
    const SHAPE: Shape = Shape::Object(&[
        ("name", &Shape::Text),
        ("UID", &Shape::Text),
        ("namespace", &Shape::Text),
        ("JID", &Shape::Text),
        ("containers", &Shape::List(&CONTAINER)),
        ("initContainers", &Shape::List(&CONTAINER)),
        ("podIP", &Shape::Text),
        ("hostIP", &Shape::Text),
        ("nodeName", &Shape::Text),
        ("observedAt", &Shape::Time),
        ("sequence", &Shape::Int),
        ("owner", &Shape::Text),
    ]);

    /// Also gives a terminated container without an exit code one that is not mistaken for success.
    fn from_value(value: Value) -> Result<Self, DecodeError> {
        let mut folded = fold(value, &Self::SHAPE).ok_or_else(|| DecodeError::new(Self::WHAT, "it is null"))?;
        for list in ["containers", "initContainers"] {
            for container in folded.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                supply_exit_codes(container);
            }
        }
        typed(Self::WHAT, folded)
    }
}

fn supply_exit_codes(container: &mut Value) {
    for state in ["state", "lastState"] {
        let Some(Value::Object(terminated)) = container.get_mut(state).and_then(|s| s.get_mut("terminated")) else {
            continue;
        };
        if !terminated.contains_key("exitCode") {
            let completed = terminated.get("reason").and_then(Value::as_str) == Some("Completed");
            terminated.insert("exitCode".into(), Value::from(if completed { 0 } else { EXIT_CODE_UNKNOWN }));
        }
    }
}

const STATE: Shape = Shape::Object(&[
    ("waiting", &Shape::Object(&[("reason", &Shape::Text), ("message", &Shape::Text)])),
    ("running", &Shape::Object(&[("startedAt", &Shape::Time)])),
    (
        "terminated",
        &Shape::Object(&[
            ("exitCode", &Shape::Int),
            ("signal", &Shape::Int),
            ("reason", &Shape::Text),
            ("message", &Shape::Text),
            ("startedAt", &Shape::Time),
            ("finishedAt", &Shape::Time),
            ("containerID", &Shape::Text),
        ]),
    ),
]);
const CONTAINER: Shape = Shape::Object(&[
    ("name", &Shape::Text),
    ("state", &STATE),
    ("lastState", &STATE),
    ("ready", &Shape::Bool),
    ("restartCount", &Shape::Int),
    ("image", &Shape::Text),
    ("imageID", &Shape::Text),
    ("containerID", &Shape::Text),
    ("started", &Shape::Bool),
]);

/// A core/v1 `ContainerStatus`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Container name.
    #[serde(default)]
    pub name: String,
    /// What it does now.
    #[serde(default)]
    pub state: ContainerState,
    /// How its previous run ended.
    #[serde(default)]
    pub last_state: ContainerState,
    /// Whether its readiness checks pass.
    #[serde(default)]
    pub ready: bool,
    /// How often it was started again.
    #[serde(default)]
    pub restart_count: i32,
    /// Image as written in the spec.
    #[serde(default)]
    pub image: String,
    /// Image as found by the runtime.
    #[serde(default, rename = "imageID")]
    pub image_id: String,
    /// `<runtime>://<id>`.
    #[serde(default, rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Whether the startup checks passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
    /// What a newer Kubernetes adds.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// A core/v1 `ContainerState`: at most one of the three; none means that it is not known.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "StateFields", into = "StateFields")]
pub enum ContainerState {
    /// `{}`: not known.
    #[default]
    Unknown,
    /// Not yet started.
    Waiting(Waiting),
    /// Running.
    Running(Running),
    /// Ended.
    Terminated(Terminated),
}

/// Not yet started, and why.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// One CamelCase word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// One sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Running since.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Running {
    /// Start.
    pub started_at: Option<Timestamp>,
}

/// Ended, and how.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    /// Exit code; 128 + signal number for a signalled process. 0 only for success.
    pub exit_code: i32,
    /// Signal number, if one ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// One CamelCase word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// One sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Start.
    pub started_at: Option<Timestamp>,
    /// End.
    pub finished_at: Option<Timestamp>,
    /// `<runtime>://<id>`.
    #[serde(rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StateFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting: Option<Waiting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    running: Option<Running>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    terminated: Option<Terminated>,
}

impl From<StateFields> for ContainerState {
    /// Where a peer sets several, the existing kubelet's order decides: terminated, waiting, running.
    fn from(fields: StateFields) -> Self {
        match fields {
            StateFields { terminated: Some(t), .. } => Self::Terminated(t),
            StateFields { waiting: Some(w), .. } => Self::Waiting(w),
            StateFields { running: Some(r), .. } => Self::Running(r),
            StateFields { .. } => Self::Unknown,
        }
    }
}

impl From<ContainerState> for StateFields {
    fn from(state: ContainerState) -> Self {
        let mut fields = Self { waiting: None, running: None, terminated: None };
        match state {
            ContainerState::Unknown => {}
            ContainerState::Waiting(w) => fields.waiting = Some(w),
            ContainerState::Running(r) => fields.running = Some(r),
            ContainerState::Terminated(t) => fields.terminated = Some(t),
        }
        fields
    }
}

impl ContainerState {
    /// Waiting, with a reason (one CamelCase word) and a message (one sentence).
    pub fn waiting(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Waiting(Waiting { reason: reason.into(), message: message.into() })
    }

    /// Whether it has ended.
    #[must_use]
    pub fn terminated(&self) -> Option<&Terminated> {
        match self {
            Self::Terminated(t) => Some(t),
            _ => None,
        }
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }
}
