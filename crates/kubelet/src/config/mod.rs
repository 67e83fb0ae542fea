//! Configuration: the existing program's file, environment and flags.
//!
//! [`resolve`] is pure; [`load`] finds and reads the file. What can't work is refused with the key and the remedy; what is
//! not served, or looks like a slip, is a warning.

pub mod file;
pub mod flags;
mod labels;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use interlink_daemon::logs::Level;
use interlink_daemon::{Failure, paths};
use interlink_transport::Endpoint;
use interlink_wire::Quantity;
use interlink_wire::names::is_dns_subdomain;

use crate::node::Taint;
use crate::resolve::KubernetesApi;
use file::File;
use flags::Flags;

/// Where the file is when nobody says otherwise: the existing program's path.
pub const DEFAULT_PATH: &str = "/etc/interlink/InterLinkConfig.yaml";
/// The port of the kubelet API when `KUBELET_PORT` is not set: the existing program's.
const DEFAULT_PORT: u16 = 5820;

/// What this program was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Name of the node.
    pub node: String,
    /// The interLink API server.
    pub api: Endpoint,
    /// File with the bearer token for it.
    pub token_file: Option<PathBuf>,
    /// Directory of manifests; `None` with a cluster.
    pub manifests: Option<PathBuf>,
    /// How much to say.
    pub level: Level,
    /// The ClusterRole that the Node belongs to.
    pub owner: Option<String>,
    /// Capacity of the node by resource name.
    pub resources: BTreeMap<String, String>,
    /// Labels of the node beyond the fixed ones.
    pub labels: BTreeMap<String, String>,
    /// Taints of the node beyond the fixed one.
    pub taints: Vec<Taint>,
    /// `spec.podCIDR`, or empty.
    pub pod_cidr: String,
    /// The API server as pods reach it.
    pub kubernetes_api: Option<KubernetesApi>,
    /// Its CA for pods: PEM.
    pub kubernetes_api_ca: Option<String>,
    /// Skip projected volumes.
    pub disable_projected_volumes: bool,
    /// URL of a job-script builder, or empty.
    pub job_script_builder_url: String,
    /// Where the kubelet API listens.
    pub listen: (String, u16),
    /// The node's address, where it was given.
    pub pod_ip: Option<IpAddr>,
    /// Whether the kubelet API should have a certificate signed by the cluster (`DisableCSR: false`).
    pub csr_wanted: bool,
    /// Certificate and key of the kubelet API.
    pub serving: Option<(PathBuf, PathBuf)>,
    /// The CA of the kubelet API's clients.
    pub client_ca_file: Option<PathBuf>,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Finds, reads and checks the configuration.
///
/// # Errors
/// [`Failure`]: exit code 78 with file, line and key, or 2 for flags that can't be meant.
pub fn load(flags: &Flags) -> Result<Config, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let path = path(flags, env);
    if !path.exists() {
        return Err(Failure::config(format!(
            "the configuration file {} does not exist; name one with -configpath or CONFIGPATH",
            path.display()
        )));
    }
    let file: File = interlink_daemon::config::load(&path, &[])?;
    resolve(flags, env, &file).map_err(|f| Failure { sentence: format!("{}: {}", path.display(), f.sentence), ..f })
}

/// Which file: flag, environment, default. A relative path counts from the working directory.
pub fn path(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> PathBuf {
    let named =
        flags.configpath.clone().filter(|p| !p.is_empty()).or_else(|| env("CONFIGPATH")).filter(|p| !p.is_empty());
    paths::expand_tilde(named.as_deref().unwrap_or(DEFAULT_PATH))
}

/// Lays environment and flags over the file and checks the result.
///
/// # Errors
/// [`Failure`] in one sentence.
pub fn resolve(flags: &Flags, env: impl Fn(&str) -> Option<String>, file: &File) -> Result<Config, Failure> {
    let mut warnings = Vec::new();
    if let Some(provider) = flags.provider.as_deref().filter(|p| *p != "interlink") {
        return Err(Failure::usage(format!("--provider {provider:?} is not known; the only one is interlink")));
    }
    let node = node_name(flags, &env, file, &mut warnings)?;
    if file.interlink_url.trim().is_empty() {
        return Err(Failure::config(
            "InterlinkURL is not set; set it, for example to \"unix:///run/interlink/api.sock\"",
        ));
    }
    let api = Endpoint::parse(&file.interlink_url, &file.interlink_port)
        .map_err(|e| Failure::config(format!("InterlinkURL with InterlinkPort: {e}")))?;
    if file.tls.enabled {
        return Err(Failure::config(
            "TLS.Enabled is true, but this version speaks plain HTTP only; use a unix:// socket, or a local proxy with TLS behind it, and set TLS.Enabled: false",
        ));
    }
    for (on, key) in [(file.network.enable_tunnel, "EnableTunnel"), (file.network.full_mesh, "FullMesh")] {
        if on {
            warnings.push(format!("Network.{key} is set, but this version does not serve it: pods run without it"));
        }
    }
    if file.pprof.enabled || env("ENABLE_PPROF").as_deref() == Some("true") {
        warnings.push("Pprof is a Go profiler and has no counterpart here; the key is ignored".to_owned());
    }
    let (listen, pod_ip) = addresses(&env, &mut warnings)?;
    let text = |text: &str| Some(text.to_owned()).filter(|t| !t.trim().is_empty());
    let file_at = |path: &str| text(path).map(|p| paths::expand_tilde(p.trim()));
    let serving = match (file_at(&file.kubelet_cert_file), file_at(&file.kubelet_key_file)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(Failure::config("KubeletCertFile and KubeletKeyFile belong together; set both or neither")),
    };
    let kubernetes_api = match (text(&file.kubernetes_api_addr), text(&file.kubernetes_api_port)) {
        (Some(address), Some(port)) => Some(KubernetesApi { address, port }),
        _ => None,
    };
    let owner = text(&file.node_owner).map(|name| name.trim().to_owned());
    // It becomes part of a path.
    if let Some(name) = owner.as_deref().filter(|name| !is_dns_subdomain(name)) {
        return Err(Failure::config(format!(
            "NodeOwner {name:?} is not the name of a ClusterRole as the chart makes one: lower-case letters, digits, - and . only, at most 253"
        )));
    }
    let (resources, models) = resources(file, &mut warnings)?;
    let labels = labels::check(&file.node_labels, models, &mut warnings)?;
    Ok(Config {
        node,
        api,
        token_file: file_at(&file.token_file),
        manifests: flags.pod_manifest_path.clone(),
        level: Level::from_keys(file.verbose_logging || flags.verbose, file.errors_only_logging),
        owner,
        resources,
        labels,
        taints: taints(file, &mut warnings)?,
        pod_cidr: file.pod_cidr.subnet.trim().to_owned(),
        kubernetes_api,
        kubernetes_api_ca: text(&file.kubernetes_api_ca_crt),
        disable_projected_volumes: file.disable_projected_volumes,
        job_script_builder_url: file.job_script_builder_url.clone(),
        listen,
        pod_ip,
        csr_wanted: !file.disable_csr,
        serving,
        client_ca_file: file_at(&file.client_ca_file),
        warnings,
    })
}

fn node_name(
    flags: &Flags,
    env: impl Fn(&str) -> Option<String>,
    file: &File,
    warnings: &mut Vec<String>,
) -> Result<String, Failure> {
    let places = [
        ("-nodename", flags.nodename.clone()),
        ("NODENAME", env("NODENAME")),
        ("the key NodeName", Some(file.node_name.clone())),
    ];
    let mut named = places.into_iter().filter_map(|(place, name)| Some((place, name?))).filter(|(_, n)| !n.is_empty());
    let Some((place, name)) = named.next() else {
        return Err(Failure::usage("the node has no name; give one with -nodename or NODENAME"));
    };
    if !is_dns_subdomain(&name) {
        return Err(Failure::config(format!(
            "{place} {name:?} is not a node name: lower-case letters, digits, - and . only, at most 253"
        )));
    }
    for (other, different) in named.filter(|(_, n)| *n != name) {
        warnings.push(format!("{other} says {different:?}, but {place} says {name:?}, which wins"));
    }
    Ok(name)
}

fn addresses(
    env: impl Fn(&str) -> Option<String>,
    warnings: &mut Vec<String>,
) -> Result<((String, u16), Option<IpAddr>), Failure> {
    let host = match env("KUBELET_URL") {
        Some(host) if !host.trim().is_empty() => host.trim().to_owned(),
        _ => "0.0.0.0".to_owned(),
    };
    let port = match env("KUBELET_PORT").filter(|p| !p.trim().is_empty()) {
        None => DEFAULT_PORT,
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| Failure::config(format!("KUBELET_PORT {text:?} is not a port: a number from 0 to 65535")))?,
    };
    let pod_ip = env("POD_IP").filter(|ip| !ip.trim().is_empty()).and_then(|text| match text.trim().parse() {
        Ok(ip) => Some(ip),
        Err(_) => {
            warnings.push(format!("POD_IP {text:?} is not an IP address and is ignored"));
            None
        }
    });
    Ok(((host, port), pod_ip))
}

/// Accelerator types whose model becomes a label: the existing program's three.
const MODEL_LABELS: [(&str, &str); 3] = [
    ("nvidia.com/gpu", "nvidia-gpu-type"),
    ("xilinx.com/fpga", "xilinx-fpga-type"),
    ("intel.com/fpga", "intel-fpga-type"),
];

type Models = BTreeMap<String, String>;

fn resources(file: &File, warnings: &mut Vec<String>) -> Result<(BTreeMap<String, String>, Models), Failure> {
    let mut out = BTreeMap::new();
    let named = &file.resources;
    let plain = [
        ("cpu", "CPU", &named.cpu, &file.cpu, "100"),
        ("memory", "Memory", &named.memory, &file.memory, "3000G"),
        ("pods", "Pods", &named.pods, &file.pods, "10000"),
    ];
    for (name, key, new, old, default) in plain {
        let (place, text) = match (new.trim(), old.trim()) {
            ("", "") => (key.to_owned(), default),
            ("", old) => (key.to_owned(), old),
            (new, _) => (format!("Resources.{key}"), new),
        };
        let quantity = quantity(&place, text)?;
        if name == "pods" && !quantity.is_whole() {
            return Err(Failure::config(format!("{place} {text:?} must be a whole number")));
        }
        out.insert(name.to_owned(), text.to_owned());
    }
    let mut sums: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut models = Models::new();
    let flat = file::Accelerator {
        resource_type: "nvidia.com/gpu".into(),
        available: file.nvidia_gpu.clone(),
        ..file::Accelerator::default()
    };
    let flat = Some(flat).filter(|a| !a.available.trim().is_empty());
    for (index, accelerator) in named.accelerators.iter().chain(&flat).enumerate() {
        let kind = accelerator.resource_type.trim();
        if !kind.contains('/') || kind.contains(char::is_whitespace) {
            warnings.push(format!(
                "Resources.Accelerators[{index}].ResourceType {kind:?} is not a resource name such as nvidia.com/gpu and is ignored"
            ));
            continue;
        }
        let available = Some(accelerator.available.trim()).filter(|a| !a.is_empty()).unwrap_or("0");
        let place = format!("Resources.Accelerators[{index}].Available");
        let number = quantity(&place, available)?;
        if !number.is_whole() {
            return Err(Failure::config(format!("{place} {available:?} must be a whole number")));
        }
        let sum = sums.entry(kind.to_owned()).or_default();
        *sum = sum.plus(number);
        let label = MODEL_LABELS.iter().find(|(known, _)| *known == kind.to_lowercase());
        if let Some((_, label)) = label.filter(|_| !accelerator.model.trim().is_empty()) {
            models.insert((*label).to_owned(), accelerator.model.trim().to_owned());
        }
    }
    out.extend(sums.into_iter().filter(|(_, n)| *n > Quantity::default()).map(|(k, n)| (k, n.ceil().to_string())));
    Ok((out, models))
}

fn quantity(place: &str, text: &str) -> Result<Quantity, Failure> {
    let quantity: Quantity = text.parse().map_err(|e| Failure::config(format!("{place}: {e}")))?;
    if quantity.is_negative() {
        return Err(Failure::config(format!("{place} {text:?} must not be negative")));
    }
    Ok(quantity)
}

fn taints(file: &File, warnings: &mut Vec<String>) -> Result<Vec<Taint>, Failure> {
    let mut out = Vec::new();
    for (index, keys) in file.node_taints.iter().enumerate() {
        if !labels::is_key(&keys.key) || !labels::is_value(&keys.value) {
            return Err(Failure::config(format!(
                "NodeTaints[{index}] {:?}={:?} is not a valid taint; key and value follow the rules of labels",
                keys.key, keys.value
            )));
        }
        let (taint, known) = Taint::read(&keys.key, &keys.value, &keys.effect);
        if !known {
            warnings.push(format!(
                "NodeTaints[{index}].Effect {:?} is not known; it counts as NoSchedule (known: NoSchedule, PreferNoSchedule, NoExecute)",
                keys.effect
            ));
        }
        out.push(taint);
    }
    Ok(out)
}

/// The keys whose change takes effect only with a restart.
#[must_use]
pub fn need_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut check = |changed: bool, key: &'static str| {
        if changed {
            keys.push(key);
        }
    };
    check(old.node != new.node, "NodeName");
    check(old.api != new.api, "InterlinkURL/InterlinkPort");
    check(old.token_file != new.token_file, "VKTokenFile");
    check(old.pod_cidr != new.pod_cidr, "PodCIDR");
    check(old.serving != new.serving, "KubeletCertFile/KubeletKeyFile");
    check(old.client_ca_file != new.client_ca_file, "ClientCAFile");
    keys
}
