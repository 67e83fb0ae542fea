//! The ping: `POST /pinglink` at the API server, `GET /status` with `[]` at the plugin.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decode::{Envelope, Shape};

/// A structured ping answer. Peers may answer anything else with 200, which then only means "alive".
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PingResponse {
    /// `ok`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// What the node may offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<PingResources>,
    /// Taints of the node. Absent leaves them, an empty list clears them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taints: Option<Vec<PingTaint>>,
    /// What the plugin can do. Between plugin and API server only: the API server removes it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// What the API server can serve with its plugin. The only key that our kubelet decides on.
    #[serde(rename = "interlinkAPI", skip_serializing_if = "Option::is_none")]
    pub interlink_api: Option<InterlinkApi>,
    /// How each hop behind the answering one is doing, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<HopState>,
    /// What a newer peer adds.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Node resources as Kubernetes quantities.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PingResources {
    /// CPU cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Number of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<String>,
    /// GPUs and the like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accelerators: Vec<PingAccelerator>,
}

/// One extended resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PingAccelerator {
    /// Resource name, such as `nvidia.com/gpu`.
    pub resource_type: String,
    /// Whole number.
    pub available: String,
}

/// One taint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PingTaint {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// What the API server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InterlinkApi {
    /// Its version; for people, never for decisions.
    pub version: String,
    /// What it can serve.
    pub capabilities: Vec<String>,
}

/// The state of one hop, in words for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HopState {
    /// `virtual-kubelet`, `api`, `tunnel`, `plugin`, `slurm`, …
    pub hop: String,
    /// Up, down or starting.
    pub state: HopStatus,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why it is not up: one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// What to do about it: one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// Up, down or not yet known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HopStatus {
    /// Not yet known.
    Starting,
    /// Does its work.
    Up,
    /// Does not.
    Down,
}

impl std::fmt::Display for HopStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

impl Envelope for PingResponse {
    const WHAT: &'static str = "ping answer";
    const SHAPE: Shape = Shape::Object(&[
        ("status", &Shape::Text),
        (
            "resources",
            &Shape::Object(&[
                ("cpu", &Shape::Text),
                ("memory", &Shape::Text),
                ("pods", &Shape::Text),
                (
                    "accelerators",
                    &Shape::List(&Shape::Object(&[("resourceType", &Shape::Text), ("available", &Shape::Text)])),
                ),
            ]),
        ),
        (
            "taints",
            &Shape::List(&Shape::Object(&[("key", &Shape::Text), ("value", &Shape::Text), ("effect", &Shape::Text)])),
        ),
        ("capabilities", &Shape::List(&Shape::Text)),
        ("interlinkAPI", &Shape::Object(&[("version", &Shape::Text), ("capabilities", &Shape::List(&Shape::Text))])),
        ("hops", &Shape::List(&Shape::Object(&[("since", &Shape::Time)]))),
    ]);
}
