//! The existing YAML file's keys, exactly as written there.

use interlink_daemon::config::null_default;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The file. Missing keys and `null` are "not set"; numbers count as text.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct File {
    /// Where to listen: `unix:///path` or `http://host`.
    #[serde(rename = "InterlinkAddress", deserialize_with = "null_default")]
    pub address: String,
    /// Port for `http://`.
    #[serde(rename = "InterlinkPort", deserialize_with = "null_default")]
    pub port: String,
    /// Where the plugin, or the tunnel to it, listens.
    #[serde(rename = "SidecarURL", deserialize_with = "null_default")]
    pub sidecar_url: String,
    /// Port for `http://`.
    #[serde(rename = "SidecarPort", deserialize_with = "null_default")]
    pub sidecar_port: String,
    /// Path of a job-script template.
    #[serde(rename = "JobScriptTemplate", deserialize_with = "null_default")]
    pub template: String,
    /// Settings for a job-script builder; they hold a secret and are not read until a builder is served.
    #[serde(rename = "JobScriptBuildConfig")]
    pub builder: Option<IgnoredAny>,
    /// Debug level.
    #[serde(rename = "VerboseLogging", deserialize_with = "null_default")]
    pub verbose: bool,
    /// Error level.
    #[serde(rename = "ErrorsOnlyLogging", deserialize_with = "null_default")]
    pub errors_only: bool,
    /// Transport security.
    #[serde(rename = "TLS", deserialize_with = "null_default")]
    pub tls: Tls,
    /// Profiling server.
    #[serde(rename = "Pprof", deserialize_with = "null_default")]
    pub pprof: Pprof,
}

/// `TLS`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Asked for.
    #[serde(rename = "Enabled", deserialize_with = "null_default")]
    pub enabled: bool,
}

/// `Pprof`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pprof {
    /// Asked for.
    #[serde(rename = "Enabled", deserialize_with = "null_default")]
    pub enabled: bool,
}
