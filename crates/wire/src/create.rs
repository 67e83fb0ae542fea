//! `POST /create`: what the kubelet sends, what the plugin gets, what both are answered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decode::{DecodeError, Envelope, Shape, parse};
use crate::object::Object;

/// Virtual kubelet → API: a pod with every object that its volumes name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PodCreateRequests {
    /// The pod; env is already resolved.
    pub pod: Object,
    /// ConfigMaps that volumes name.
    #[serde(default)]
    pub configmaps: Vec<Object>,
    /// Secrets that volumes name; `data` is base64.
    #[serde(default)]
    pub secrets: Vec<Object>,
    /// One synthetic ConfigMap per projected volume: `metadata.name` is the volume's name, `data` maps file path to content.
    #[serde(default)]
    pub projectedvolumesmaps: Vec<Object>,
    /// URL of a job-script builder, or `""`.
    #[serde(default, rename = "jobscriptURL")]
    pub jobscript_url: String,
}

impl Envelope for PodCreateRequests {
    const WHAT: &'static str = "create request";
    const SHAPE: Shape = Shape::Object(&[
        ("pod", &Shape::Raw),
        ("configmaps", &Shape::List(&Shape::Raw)),
        ("secrets", &Shape::List(&Shape::Raw)),
        ("projectedvolumesmaps", &Shape::List(&Shape::Raw)),
        ("jobscriptURL", &Shape::Text),
    ]);
}

/// API → plugin: the same, arranged by container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RetrievedPodData {
    /// The pod as received.
    pub pod: Object,
    /// One entry per container, init containers first, in the order of the spec.
    #[serde(default)]
    pub container: Vec<RetrievedContainer>,
    /// Job-script builder settings; always present, mostly zero.
    #[serde(default, rename = "jobConfig")]
    pub job_config: ScriptBuildConfig,
    /// A job script made by a builder or a template.
    #[serde(default, rename = "jobScript", skip_serializing_if = "String::is_empty")]
    pub job_script: String,
}

impl Envelope for RetrievedPodData {
    const WHAT: &'static str = "create request";
    const SHAPE: Shape = Shape::Object(&[
        ("pod", &Shape::Raw),
        ("container", &Shape::List(&RETRIEVED_CONTAINER)),
        ("jobConfig", &SCRIPT_BUILD_CONFIG),
        ("jobScript", &Shape::Text),
    ]);

    /// Accepts the object, or the list of one that API servers before 0.5 send.
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        match parse(Self::WHAT, body)? {
            Value::Array(mut items) if items.len() == 1 => Self::from_value(items.remove(0)),
            Value::Array(items) => {
                Err(DecodeError::new(Self::WHAT, format!("expected one pod, got a list of {}", items.len())))
            }
            value => Self::from_value(value),
        }
    }
}

const RETRIEVED_CONTAINER: Shape = Shape::Object(&[
    ("name", &Shape::Text),
    ("configMaps", &Shape::List(&Shape::Raw)),
    ("projectedvolumemaps", &Shape::List(&Shape::Raw)),
    ("secrets", &Shape::List(&Shape::Raw)),
    ("emptyDirs", &Shape::List(&Shape::Text)),
]);

/// The objects that one container mounts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RetrievedContainer {
    /// The container's name.
    #[serde(default)]
    pub name: String,
    /// ConfigMaps, one per mount.
    #[serde(default, rename = "configMaps")]
    pub config_maps: Vec<Object>,
    /// Projected volumes, one per mount. The key is spelt without the `s` of [`PodCreateRequests`].
    #[serde(default)]
    pub projectedvolumemaps: Vec<Object>,
    /// Secrets, one per mount.
    #[serde(default)]
    pub secrets: Vec<Object>,
    /// Deprecated, always empty.
    #[serde(default, rename = "emptyDirs")]
    pub empty_dirs: Vec<String>,
}

/// `jobConfig`: settings for a job-script builder. The mixed spelling is the contract's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScriptBuildConfig {
    /// Image proxy.
    #[serde(rename = "SingularityHubProxy")]
    pub singularity_hub_proxy: SingularityHubProxy,
    /// Runtime options.
    #[serde(rename = "ApptainerOptions")]
    pub apptainer_options: ApptainerOptions,
    /// Directories.
    #[serde(rename = "Volumes")]
    pub volumes: VolumesOptions,
}

/// `jobConfig.SingularityHubProxy`.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SingularityHubProxy {
    /// Server address.
    pub server: String,
    /// Secret.
    pub master_token: String,
    /// How long the cache holds, in seconds.
    pub cache_validity_seconds: i64,
}

impl std::fmt::Debug for SingularityHubProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SingularityHubProxy")
            .field("server", &self.server)
            .field("master_token", &"…")
            .finish_non_exhaustive()
    }
}

/// `jobConfig.ApptainerOptions`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, clippy::struct_excessive_bools)]
pub struct ApptainerOptions {
    pub executable: String,
    pub fakeroot: bool,
    pub containall: bool,
    pub fuse_mode: String,
    pub no_init: bool,
    pub no_home: bool,
    pub no_privs: bool,
    pub nvidia_support: bool,
    pub cleanenv: bool,
    pub unsquash: bool,
}

/// `jobConfig.Volumes`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct VolumesOptions {
    pub scratch_area: String,
    pub apptainer_cachedir: String,
    pub image_dir: String,
    pub additional_directories_in_path: Option<Vec<String>>,
    pub fuse_sleep_seconds: i64,
}

const SCRIPT_BUILD_CONFIG: Shape = Shape::Object(&[
    (
        "SingularityHubProxy",
        &Shape::Object(&[
            ("server", &Shape::Text),
            ("master_token", &Shape::Text),
            ("cache_validity_seconds", &Shape::Int),
        ]),
    ),
    (
        "ApptainerOptions",
        &Shape::Object(&[
            ("executable", &Shape::Text),
            ("fakeroot", &Shape::Bool),
            ("containall", &Shape::Bool),
            ("fuseMode", &Shape::Text),
            ("noInit", &Shape::Bool),
            ("noHome", &Shape::Bool),
            ("noPrivs", &Shape::Bool),
            ("nvidiaSupport", &Shape::Bool),
            ("cleanenv", &Shape::Bool),
            ("unsquash", &Shape::Bool),
        ]),
    ),
    (
        "Volumes",
        &Shape::Object(&[
            ("scratch_area", &Shape::Text),
            ("apptainer_cachedir", &Shape::Text),
            ("image_dir", &Shape::Text),
            ("additional_directories_in_path", &Shape::List(&Shape::Text)),
            ("fuse_sleep_seconds", &Shape::Int),
        ]),
    ),
]);

/// The answer to a create: one object, never a list, because every virtual kubelet decodes an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateStruct {
    /// The pod's UID, echoed; a kubelet adopts the pod only if it is equal.
    #[serde(default, rename = "PodUID")]
    pub pod_uid: String,
    /// The scheduler's job id; empty when the intent is durable but the job is not yet submitted.
    #[serde(default, rename = "PodJID")]
    pub pod_jid: String,
}

impl Envelope for CreateStruct {
    const WHAT: &'static str = "answer to create";
    const SHAPE: Shape = Shape::Object(&[("PodUID", &Shape::Text), ("PodJID", &Shape::Text)]);

    /// Accepts the object, a list of one, or a bare string or number, which is the job id. An empty body is an error.
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        match parse(Self::WHAT, body)? {
            Value::Array(mut items) if items.len() == 1 => Self::from_value(items.remove(0)),
            Value::String(jid) => Ok(Self { pod_uid: String::new(), pod_jid: jid }),
            Value::Number(jid) => Ok(Self { pod_uid: String::new(), pod_jid: jid.to_string() }),
            value @ Value::Object(_) => Self::from_value(value),
            _ => Err(DecodeError::new(Self::WHAT, "expected an object with PodUID and PodJID")),
        }
    }
}
