//! The keys of the configuration file as they are written.

use std::collections::BTreeMap;

use interlink_daemon::config::null_default;
use interlink_wire::ping::PingTaint;
use serde::Deserialize;

/// Every key of the existing plugin, and ours at the end. An empty value means "not set".
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct File {
    #[serde(deserialize_with = "null_default")]
    pub sidecar_port: String,
    #[serde(deserialize_with = "null_default")]
    pub socket: String,
    #[serde(deserialize_with = "null_default")]
    pub sbatch_path: String,
    #[serde(deserialize_with = "null_default")]
    pub scancel_path: String,
    #[serde(deserialize_with = "null_default")]
    pub squeue_path: String,
    #[serde(deserialize_with = "null_default")]
    pub sinfo_path: String,
    #[serde(deserialize_with = "null_default")]
    pub command_prefix: String,
    #[serde(deserialize_with = "null_default")]
    pub image_prefix: String,
    #[serde(deserialize_with = "null_default")]
    pub singularity_path: String,
    #[serde(deserialize_with = "null_default")]
    pub singularity_default_options: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub container_runtime: String,
    #[serde(deserialize_with = "null_default")]
    pub data_root_folder: String,
    #[serde(deserialize_with = "null_default")]
    pub bash_path: String,
    #[serde(deserialize_with = "null_default")]
    pub tsocks: bool,
    #[serde(deserialize_with = "null_default")]
    pub verbose_logging: bool,
    #[serde(deserialize_with = "null_default")]
    pub errors_only_logging: bool,
    #[serde(deserialize_with = "null_default")]
    pub enable_probes: bool,
    #[serde(deserialize_with = "null_default")]
    pub flavors: BTreeMap<String, FlavorFile>,
    #[serde(deserialize_with = "null_default")]
    pub default_flavor: String,
    #[serde(rename = "DefaultUID", deserialize_with = "null_default")]
    pub default_uid: Option<i64>,
    #[serde(deserialize_with = "null_default")]
    pub taints: Vec<TaintFile>,
    #[serde(deserialize_with = "null_default")]
    pub resource_script_path: String,
    #[serde(deserialize_with = "null_default")]
    pub scheduler: String,
    #[serde(deserialize_with = "null_default")]
    pub sacct_path: String,
    #[serde(deserialize_with = "null_default")]
    pub scontrol_path: String,
    #[serde(deserialize_with = "null_default")]
    pub pod_scripts: String,
    #[serde(deserialize_with = "null_default")]
    pub host_paths: Vec<String>,
}

/// One entry of `Flavors`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct FlavorFile {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    #[serde(rename = "CPUDefault", deserialize_with = "null_default")]
    pub cpu_default: i64,
    #[serde(deserialize_with = "null_default")]
    pub memory_default: String,
    #[serde(rename = "UID", deserialize_with = "null_default")]
    pub uid: Option<i64>,
    #[serde(deserialize_with = "null_default")]
    pub slurm_flags: Vec<String>,
}

/// One entry of `Taints`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct TaintFile {
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    #[serde(deserialize_with = "null_default")]
    pub value: String,
    #[serde(deserialize_with = "null_default")]
    pub effect: String,
}

impl From<TaintFile> for PingTaint {
    fn from(taint: TaintFile) -> Self {
        Self { key: taint.key, value: taint.value, effect: taint.effect }
    }
}
