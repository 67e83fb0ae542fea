//! The interLink contract: what the programs say to each other, as types. No I/O.
//!
//! ```text
//! virtual-kubelet ──PodCreateRequests──▶ interlink ──RetrievedPodData──▶ interlink-plugin
//!                 ◀──CreateStruct──────            ◀──CreateStruct────
//!                 ──[Object]──────────▶            ──[Object]────────▶
//!                 ◀──[PodStatus]───────            ◀──[PodStatus]─────
//! ```
//!
//! - [`object`]: Kubernetes objects as raw JSON; unknown fields stay intact.
//! - [`pod`]: the typed extract of a Pod that our programs read; never sent on.
//! - [`create`], [`status`], [`logs`], [`ping`]: bodies of the base contract.
//! - [`extension`]: bodies of what we add (status watch, pod list, usage).
//! - [`decode`]: tolerant reading, as the peers' Go decoder and their deviations need it.
//! - [`http`]: paths, headers, capability names, and [`http::Fault`], the shape of every error answer.
//! - [`ids`], [`names`], [`quantity`]: validated values.
//!
//! Writing is always strict: the exact keys of the contract. Reading is tolerant of what known peers send.

pub mod create;
pub mod decode;
pub mod extension;
pub mod http;
pub mod ids;
pub mod logs;
pub mod names;
pub mod object;
pub mod ping;
pub mod pod;
pub mod quantity;
pub mod status;

pub use create::{CreateStruct, PodCreateRequests, RetrievedContainer, RetrievedPodData};
pub use decode::{DecodeError, Envelope};
pub use extension::{PodListEntry, PodUsage, StatusWatchLine};
pub use http::{Fault, capability, header, path};
pub use ids::{JobId, PodUid};
pub use logs::{LogOpts, LogStruct};
pub use object::Object;
pub use ping::{HopState, HopStatus, PingResponse};
pub use pod::PodExtract;
pub use quantity::Quantity;
pub use status::{ContainerState, ContainerStatus, PodStatus};
