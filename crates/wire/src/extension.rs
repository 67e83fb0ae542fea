//! Bodies of what we add to the contract; used only between peers that announced it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decode::{Envelope, Shape};
use crate::status::PodStatus;

/// One line of `GET /statusWatch` (`application/x-ndjson`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StatusWatchLine {
    /// A pod's state, new or changed.
    Pod {
        /// Where to go on from.
        version: String,
        /// The state.
        pod: Box<PodStatus>,
    },
    /// A pod that the plugin no longer knows.
    Gone {
        /// Where to go on from.
        version: String,
        /// Its UID.
        gone: String,
    },
    /// Every pod has been said once; from here on changes follow.
    Synced {
        /// Always true.
        synced: bool,
        /// Where to go on from.
        version: String,
    },
    /// Sent at least every 10 s.
    Heartbeat {
        /// Now.
        heartbeat: Timestamp,
    },
}

/// One entry of `GET /pods`, the asking owner's pods.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PodListEntry {
    /// Namespace.
    #[serde(default)]
    pub namespace: String,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// UID.
    #[serde(default, rename = "UID")]
    pub uid: String,
    /// `InterLink-Owner` of the create, or empty.
    #[serde(default)]
    pub owner: String,
    /// Job id, or empty.
    #[serde(default, rename = "JID")]
    pub jid: String,
    /// `pending`, `running`, `finished` or `deleting`.
    #[serde(default)]
    pub state: String,
    /// When the create came.
    #[serde(default, rename = "createdAt")]
    pub created_at: Option<Timestamp>,
}

impl Envelope for PodListEntry {
    const WHAT: &'static str = "pod list";
    const SHAPE: Shape = Shape::Object(&[
        ("namespace", &Shape::Text),
        ("name", &Shape::Text),
        ("UID", &Shape::Text),
        ("owner", &Shape::Text),
        ("JID", &Shape::Text),
        ("state", &Shape::Text),
        ("createdAt", &Shape::Time),
    ]);
}

/// One entry of `GET /usage`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PodUsage {
    /// Pod UID.
    #[serde(default, rename = "UID")]
    pub uid: String,
    /// Per container.
    #[serde(default)]
    pub containers: Vec<ContainerUsage>,
}

/// What a container uses.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerUsage {
    /// Container name.
    #[serde(default)]
    pub name: String,
    /// CPU time so far, in seconds.
    #[serde(default)]
    pub cpu_usage_seconds: f64,
    /// Memory in use, in bytes.
    #[serde(default)]
    pub memory_working_set_bytes: u64,
    /// When it was read.
    #[serde(default)]
    pub timestamp: Option<Timestamp>,
}

impl Envelope for PodUsage {
    const WHAT: &'static str = "usage";
    const SHAPE: Shape = Shape::Object(&[("UID", &Shape::Text), ("containers", &Shape::List(&Shape::Raw))]);
}
