//! What a pod refers to becomes part of the create request: variables, ConfigMaps, Secrets, projected files, tokens.
//!
//! ```text
//! Pod ─▶ offload ─▶ references ─▶ objects (the only I/O) ─▶ env ─────▶ literal values in the raw pod ┐
//!                                                        └▶ volumes ─▶ ConfigMaps, Secrets, synthetic ┴▶ PodCreateRequests
//! ```
//!
//! Everything but [`Objects`] is plain functions over values. The raw pod keeps every field that we don't know.
//! A pod that can't be resolved gives one sentence, and whether waiting helps.

mod cluster_env;
mod content;
mod env;
mod expand;
mod fields;
mod objects;
mod offload;
mod projected;
mod unresolved;
mod volumes;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use interlink_wire::{Object, PodCreateRequests, PodExtract};
use serde_json::Value;

pub use cluster_env::KubernetesApi;
pub use expand::expand;
pub use objects::{Objects, References, TokenRequest};
pub use unresolved::{CONTAINER_CONFIG, FAILED_MOUNT, INVALID_POD, UNSUPPORTED_VOLUME, Unresolved};

use fields::{Downward, service_account};
use objects::Fetched;
use unresolved::Problem;
use volumes::Rules;

/// What the node says about itself in `fieldRef` and `resourceFieldRef`.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    /// Name of the node.
    pub name: String,
    /// Its addresses, the first one is `status.hostIP`.
    pub addresses: Vec<String>,
    /// Quantities by resource name: the limit of containers that have none.
    pub allocatable: BTreeMap<String, String>,
}

/// Settings that come from the configuration.
#[derive(Debug, Clone, Default)]
pub struct ResolveSettings {
    /// The node.
    pub node: NodeFacts,
    /// `KubernetesApiAddr` and `KubernetesApiPort`, if both are set.
    pub kubernetes_api: Option<KubernetesApi>,
    /// `KubernetesApiCaCrt`: PEM text in the place of `kube-root-ca.crt` in projected volumes.
    pub kubernetes_api_ca: Option<String>,
    /// `DisableProjectedVolumes`.
    pub disable_projected_volumes: bool,
    /// `JobScriptBuilderURL`, or `""`.
    pub job_script_builder_url: String,
}

impl ResolveSettings {
    fn rules(&self) -> Rules<'_> {
        let trust = self.kubernetes_api_ca.as_deref().filter(|ca| !ca.trim().is_empty());
        Rules { skip_projected: self.disable_projected_volumes, trust }
    }
}

/// A pod that can be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The body of the create (or update).
    pub request: PodCreateRequests,
    /// What went into it: when one of these objects changes, the volumes are out of date.
    pub references: References,
    /// When to resolve again so that no token in it expires; `None` without tokens.
    pub renew_tokens_after: Option<Duration>,
}

/// What `pod` refers to in its namespace.
///
/// # Errors
/// [`Unresolved`] when the pod can't be read.
pub fn references(pod: &Object, settings: &ResolveSettings) -> Result<References, Unresolved> {
    let pod = extract(&offload::offloaded(pod.clone()))?;
    Ok(references_of(&pod, settings))
}

/// Makes the create request of `pod`.
///
/// # Errors
/// [`Unresolved`] names pod, place and object, and says whether waiting helps.
pub async fn resolve(pod: &Object, settings: &ResolveSettings, objects: &dyn Objects) -> Result<Resolved, Unresolved> {
    let raw = offload::offloaded(pod.clone().without_managed_fields());
    let extract = extract(&raw)?;
    let references = references_of(&extract, settings);
    let about = TokenRequest {
        namespace: extract.metadata.namespace.clone(),
        service_account: service_account(&extract).to_owned(),
        pod_name: extract.metadata.name.clone(),
        pod_uid: extract.metadata.uid.clone(),
        audience: String::new(),
        expiration_seconds: 0,
    };
    let fetched = Fetched::fetch(references.clone(), &about, objects).await;
    let request = assemble(raw, &extract, settings, &fetched)?;
    // As the kubelet: when 80 % of the lifetime are over, at the latest after a day.
    let renew_tokens_after = projected::shortest_token(&references)
        .map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0).saturating_mul(4) / 5).min(DAY));
    Ok(Resolved { request, references, renew_tokens_after })
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn extract(raw: &Object) -> Result<PodExtract, Unresolved> {
    PodExtract::from_object(raw)
        .map_err(|e| Problem::lasting(e.to_string()).of_pod(INVALID_POD, raw.namespace(), raw.name()))
}

fn references_of(pod: &PodExtract, settings: &ResolveSettings) -> References {
    let mut references = References::default();
    for container in pod.all_containers() {
        env::references(container, &mut references);
    }
    volumes::references(pod, settings.rules(), &mut references);
    references
}

/// The pure part: everything is there.
fn assemble(
    mut raw: Object,
    pod: &PodExtract,
    settings: &ResolveSettings,
    fetched: &Fetched,
) -> Result<PodCreateRequests, Unresolved> {
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    let downward = Downward::new(&raw, pod, &settings.node);
    let rules = settings.rules();
    let volumes = volumes::collect(pod, rules, &downward, fetched)
        .map_err(|(reason, problem)| problem.of_pod(reason, namespace, name))?;

    let lists = [("initContainers", &pod.spec.init_containers), ("containers", &pod.spec.containers)];
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            let spec = raw.fields_mut().get_mut("spec").and_then(|spec| spec.get_mut(list));
            let Some(Value::Array(raw_containers)) = spec else { continue };
            let Some(raw_container) = raw_containers.get_mut(index) else { continue };
            let api = settings.kubernetes_api.as_ref();
            let env = env::resolve(container, raw_container, &downward, fetched, api).map_err(|problem| {
                let place = format!("container {:?}", container.name);
                problem.within(&place).of_pod(CONTAINER_CONFIG, namespace, name)
            })?;
            env::rewrite(raw_container, &env);
        }
    }
    volumes::rewrite(&mut raw, rules);
    // The existing virtual kubelet sends objects without their type.
    raw.fields_mut().remove("kind");
    raw.fields_mut().remove("apiVersion");
    Ok(PodCreateRequests {
        pod: raw,
        configmaps: volumes.config_maps,
        secrets: volumes.secrets,
        projectedvolumesmaps: volumes.projected,
        jobscript_url: settings.job_script_builder_url.clone(),
    })
}
