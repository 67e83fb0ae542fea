//! The volumes of a pod: which objects they need, and what goes into the request.

use std::collections::BTreeMap;

use interlink_wire::Object;
use interlink_wire::names::is_local_path;
use interlink_wire::pod::{KeyToPath, PodExtract, Volume};
use serde_json::{Value, json};

use super::content::{self, Content};
use super::fields::Downward;
use super::objects::{Fetched, References};
use super::projected::{self, Trust};
use super::unresolved::{FAILED_MOUNT, Problem, UNSUPPORTED_VOLUME};

/// What the volumes add to a create request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct VolumeObjects {
    pub(super) config_maps: Vec<Object>,
    pub(super) secrets: Vec<Object>,
    pub(super) projected: Vec<Object>,
}

/// How volumes are treated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// `DisableProjectedVolumes`: projected and downwardAPI volumes are passed over.
    pub(super) skip_projected: bool,
    /// `KubernetesApiCaCrt`.
    pub(super) trust: Trust<'a>,
}

/// What the volumes of `pod` refer to.
pub(super) fn references(pod: &PodExtract, rules: Rules<'_>, into: &mut References) {
    for volume in &pod.spec.volumes {
        into.config_maps.extend(volume.config_map.iter().map(|v| v.name.clone()));
        into.secrets.extend(volume.secret.iter().map(|v| v.secret_name.clone()));
        if let Some(projected) = volume.projected.as_ref().filter(|_| !rules.skip_projected) {
            projected::references(projected, rules.trust, into);
        }
    }
}

/// Collects the objects of all volumes, each object once.
pub(super) fn collect(
    pod: &PodExtract,
    rules: Rules<'_>,
    downward: &Downward<'_>,
    fetched: &Fetched,
) -> Result<VolumeObjects, (&'static str, Problem)> {
    let mut config_maps = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    let mut projected = Vec::new();
    for volume in &pod.spec.volumes {
        let place = format!("volume {:?}", volume.name);
        let missing = |p: Problem| (FAILED_MOUNT, p.within(&place));
        if let Some(kind) = unsupported(volume) {
            let problem = Problem::lasting(format!(
                "{place} is of the kind {kind}, which this node can't provide; use configMap, secret, projected, \
                 downwardAPI, emptyDir or hostPath"
            ));
            return Err((UNSUPPORTED_VOLUME, problem));
        }
        if let Some(source) = &volume.config_map {
            let optional = source.optional == Some(true);
            if let Some(object) = fetched.config_map(&source.name, optional).map_err(missing)? {
                let keys = content::config_map(object).map_err(missing)?;
                checked("ConfigMap", &source.name, &source.items, &keys, optional).map_err(missing)?;
                config_maps.insert(source.name.as_str(), sent(object));
            }
        } else if let Some(source) = &volume.secret {
            let optional = source.optional == Some(true);
            if let Some(object) = fetched.secret(&source.secret_name, optional).map_err(missing)? {
                let keys = content::secret(object).map_err(missing)?;
                checked("Secret", &source.secret_name, &source.items, &keys, optional).map_err(missing)?;
                secrets.insert(source.secret_name.as_str(), sent(object));
            }
        } else if rules.skip_projected {
        } else if let Some(source) = &volume.projected {
            let files = projected::files(source, pod, rules.trust, downward, fetched).map_err(missing)?;
            projected.push(projected::config_map(&volume.name, files));
        } else if let Some(source) = &volume.downward_api {
            let files = projected::downward_files(&source.items, downward).map_err(missing)?;
            projected.push(projected::config_map(&volume.name, files.into_iter().collect()));
        }
    }
    Ok(VolumeObjects {
        config_maps: config_maps.into_values().collect(),
        secrets: secrets.into_values().collect(),
        projected,
    })
}

/// Turns each downwardAPI volume of the raw pod into a projected one, so that the next hop finds its content by name.
pub(super) fn rewrite(raw: &mut Object, rules: Rules<'_>) {
    let volumes = raw.fields_mut().get_mut("spec").and_then(|s| s.get_mut("volumes")).and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten().filter_map(Value::as_object_mut).filter(|_| !rules.skip_projected) {
        if !volume.get("downwardAPI").is_some_and(Value::is_object) {
            continue;
        }
        if let Some(Value::Object(mut source)) = volume.remove("downwardAPI") {
            let mut projected = json!({});
            if let Some(mode) = source.remove("defaultMode").filter(|m| !m.is_null()) {
                projected["defaultMode"] = mode;
            }
            projected["sources"] = json!([{ "downwardAPI": source }]);
            volume.insert("projected".to_owned(), projected);
        }
    }
}

/// Checks `items`: their keys exist and their paths stay inside of the volume.
pub(super) fn checked(
    kind: &str,
    name: &str,
    items: &[KeyToPath],
    keys: &BTreeMap<String, Content>,
    optional: bool,
) -> Result<(), Problem> {
    for item in items {
        local(&item.path)?;
        if !keys.contains_key(&item.key) && !optional {
            return Err(Problem::passing(format!(
                "{kind} {name:?} has no key {:?}; add it or mark the volume optional",
                item.key
            )));
        }
    }
    Ok(())
}

/// Checks that a file's path stays inside of its volume.
pub(super) fn local(path: &str) -> Result<(), Problem> {
    if is_local_path(path) {
        Ok(())
    } else {
        Err(Problem::lasting(format!("the path {path:?} leaves the volume; expected a relative path without \"..\"")))
    }
}

/// The kind of a volume that can't travel.
fn unsupported(volume: &Volume) -> Option<&str> {
    volume.other.keys().next().map(String::as_str)
}

/// An object as the existing virtual kubelet sends it: without its type, with `data` even when it has only `binaryData`.
fn sent(object: &Object) -> Object {
    let mut object = object.clone().without_managed_fields();
    let fields = object.fields_mut();
    fields.remove("kind");
    fields.remove("apiVersion");
    if !fields.get("data").is_some_and(Value::is_object) {
        fields.insert("data".to_owned(), json!({}));
    }
    object
}
