//! The existing YAML file's keys, exactly as written there, of every release.
//!
//! Missing keys and `null` are "not set"; a text takes any scalar.

use std::collections::BTreeMap;
use std::fmt;

use interlink_daemon::config::null_default;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct File {
    #[serde(rename = "InterlinkURL", deserialize_with = "null_default")]
    pub interlink_url: String,
    #[serde(deserialize_with = "null_default")]
    pub interlink_port: String,
    #[serde(deserialize_with = "null_default")]
    pub kubernetes_api_addr: String,
    #[serde(deserialize_with = "null_default")]
    pub kubernetes_api_port: String,
    #[serde(deserialize_with = "null_default")]
    pub kubernetes_api_ca_crt: String,
    #[serde(deserialize_with = "null_default")]
    pub disable_projected_volumes: bool,
    #[serde(rename = "JobScriptBuilderURL", deserialize_with = "null_default")]
    pub job_script_builder_url: String,
    #[serde(rename = "VKTokenFile", deserialize_with = "null_default")]
    pub token_file: String,
    #[serde(rename = "PodCIDR", deserialize_with = "null_default")]
    pub pod_cidr: PodCidr,
    #[serde(deserialize_with = "null_default")]
    pub verbose_logging: bool,
    #[serde(deserialize_with = "null_default")]
    pub errors_only_logging: bool,
    #[serde(deserialize_with = "null_default")]
    pub kubelet_cert_file: String,
    #[serde(deserialize_with = "null_default")]
    pub kubelet_key_file: String,
    #[serde(rename = "DisableCSR", deserialize_with = "null_default")]
    pub disable_csr: bool,
    #[serde(rename = "ClientCAFile", deserialize_with = "null_default")]
    pub client_ca_file: String,
    #[serde(deserialize_with = "null_default")]
    pub resources: Resources,
    #[serde(deserialize_with = "null_default")]
    pub node_name: String,
    #[serde(deserialize_with = "null_default")]
    pub node_owner: String,
    #[serde(deserialize_with = "null_default")]
    pub node_labels: Labels,
    #[serde(deserialize_with = "null_default")]
    pub node_taints: Vec<TaintKeys>,
    #[serde(rename = "TLS", deserialize_with = "null_default")]
    pub tls: Enabled,
    #[serde(deserialize_with = "null_default")]
    pub network: Network,
    #[serde(deserialize_with = "null_default")]
    pub pprof: Enabled,
    /// Releases 0.3 had these four at the top.
    #[serde(rename = "CPU", deserialize_with = "null_default")]
    pub cpu: String,
    #[serde(deserialize_with = "null_default")]
    pub memory: String,
    #[serde(deserialize_with = "null_default")]
    pub pods: String,
    #[serde(rename = "nvidia.com/gpu", deserialize_with = "null_default")]
    pub nvidia_gpu: String,
}

/// `PodCIDR`. `MinIP` and `MaxIP` belong to the VPN, which is not served.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct PodCidr {
    #[serde(deserialize_with = "null_default")]
    pub subnet: String,
}

/// `Resources`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Resources {
    #[serde(rename = "CPU", deserialize_with = "null_default")]
    pub cpu: String,
    #[serde(deserialize_with = "null_default")]
    pub memory: String,
    #[serde(deserialize_with = "null_default")]
    pub pods: String,
    #[serde(deserialize_with = "null_default")]
    pub accelerators: Vec<Accelerator>,
}

/// An entry of `Resources.Accelerators`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Accelerator {
    #[serde(deserialize_with = "null_default")]
    pub resource_type: String,
    #[serde(deserialize_with = "null_default")]
    pub model: String,
    #[serde(deserialize_with = "null_default")]
    pub available: String,
}

/// An entry of `NodeTaints`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct TaintKeys {
    #[serde(deserialize_with = "null_default")]
    pub key: String,
    #[serde(deserialize_with = "null_default")]
    pub value: String,
    #[serde(deserialize_with = "null_default")]
    pub effect: String,
}

/// A section that can be switched on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Enabled {
    #[serde(deserialize_with = "null_default")]
    pub enabled: bool,
}

/// `Network`, as far as it decides something.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Network {
    #[serde(deserialize_with = "null_default")]
    pub enable_tunnel: bool,
    #[serde(deserialize_with = "null_default")]
    pub full_mesh: bool,
}

/// `NodeLabels`: a list of `key=value`, as the existing program wants it, or a map, as its documents show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// List entries without `=`.
    pub ignored: Vec<String>,
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of \"key=value\" or a map of key to value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Labels, A::Error> {
                let mut out = Labels::default();
                while let Some(entry) = list.next_element::<String>()? {
                    match entry.split_once('=') {
                        Some((key, value)) => drop(out.labels.insert(key.trim().to_owned(), value.trim().to_owned())),
                        None => out.ignored.push(entry),
                    }
                }
                Ok(out)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut out = Labels::default();
                while let Some((key, value)) = map.next_entry::<String, Option<String>>()? {
                    out.labels.insert(key, value.unwrap_or_default());
                }
                Ok(out)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
