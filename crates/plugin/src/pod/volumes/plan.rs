//! What becomes of each volume of the spec.

use std::collections::BTreeMap;
use std::path::PathBuf;

use interlink_wire::names::is_local_path;
use interlink_wire::pod::{KeyToPath, ProjectedVolume, Volume};

use super::objects::{Data, Objects};
use crate::pod::Refusal;
use crate::pod::policy::Policy;
use crate::pod::request::Request;

/// `defaultMode` where the spec has none.
const DEFAULT_MODE: u32 = 0o644;

/// One volume of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    /// Its name: a DNS label.
    pub name: String,
    /// What it is made of.
    pub source: Source,
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Files that we write.
    Files(Vec<PlannedFile>),
    /// An empty directory of the pod.
    Empty,
    /// A path of the node.
    Host(PathBuf),
    /// Nothing to mount: a service account's volume that the peer does not send.
    Absent,
}

/// One file of a volume.
#[derive(Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Path below the volume: relative, without `..`.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// Without the content, which may be secret.
impl std::fmt::Debug for PlannedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlannedFile").field("path", &self.path).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Plans every volume of the spec.
///
/// # Errors
/// [`Refusal`] names the volume: an unknown kind, an object that did not come, a path that leaves its directory.
pub fn plan(request: &Request, objects: &Objects<'_>, policy: &Policy) -> Result<Vec<VolumePlan>, Refusal> {
    let volumes = &request.pod.spec.volumes;
    volumes
        .iter()
        .map(|volume| Ok(VolumePlan { name: volume.name.clone(), source: source(volume, objects, policy)? }))
        .collect()
}

fn source(volume: &Volume, objects: &Objects<'_>, policy: &Policy) -> Result<Source, Refusal> {
    let name = &volume.name;
    if let Some(spec) = &volume.config_map {
        let found = (objects.config_map(&spec.name), "ConfigMap", spec.name.as_str());
        return files(name, found, &spec.items, spec.default_mode, spec.optional);
    }
    if let Some(spec) = &volume.secret {
        let found = (objects.secret(&spec.secret_name), "Secret", spec.secret_name.as_str());
        return files(name, found, &spec.items, spec.default_mode, spec.optional);
    }
    if let Some(spec) = &volume.projected {
        return projected(name, objects, spec);
    }
    if let Some(spec) = &volume.downward_api {
        let modes = spec.items.iter().filter_map(|i| Some((i.path.as_str(), i.mode?))).collect();
        return match objects.projected(name) {
            Some(data) => laid_out(name, data?, spec.default_mode, &modes),
            None => Err(not_sent(name, "downwardAPI")),
        };
    }
    if volume.empty_dir.is_some() {
        return Ok(Source::Empty);
    }
    if let Some(spec) = &volume.host_path {
        return policy.host_path(name, &spec.path).map(Source::Host);
    }
    match volume.other.keys().next() {
        // A volume without any source is an emptyDir (core/v1 Volume).
        None => Ok(Source::Empty),
        Some(kind) => Err(Refusal::unsupported(format!(
            "volume {name:?} is of kind {kind}, which cannot be had on the remote machine; use configMap, secret, projected, downwardAPI, emptyDir or an allowed hostPath"
        ))),
    }
}

fn not_sent(volume: &str, kind: &str) -> Refusal {
    Refusal::missing(format!("the content of {kind} volume {volume:?} did not come with the pod"))
}

type Found<'a> = (Option<Result<Data, Refusal>>, &'a str, &'a str);

fn files(
    volume: &str,
    found: Found<'_>,
    items: &[KeyToPath],
    mode: Option<i32>,
    optional: Option<bool>,
) -> Result<Source, Refusal> {
    let (data, kind, object) = found;
    let optional = optional == Some(true);
    let Some(data) = data.transpose()? else {
        return if optional {
            Ok(Source::Files(Vec::new()))
        } else {
            Err(Refusal::missing(format!(
                "volume {volume:?} needs {kind} {object:?}, which did not come with the pod; create it in the pod's namespace or mark the volume optional"
            )))
        };
    };
    if items.is_empty() {
        return laid_out(volume, data, mode, &BTreeMap::new());
    }
    let mut chosen = Data::new();
    let mut modes = BTreeMap::new();
    for item in items {
        match data.get(&item.key) {
            Some(content) => {
                chosen.insert(item.path.clone(), content.clone());
                if let Some(mode) = item.mode {
                    modes.insert(item.path.as_str(), mode);
                }
            }
            None if optional => {}
            None => {
                return Err(Refusal::missing(format!(
                    "volume {volume:?} takes key {:?} of {kind} {object:?}, which has no such key; add the key or mark the volume optional",
                    item.key
                )));
            }
        }
    }
    laid_out(volume, chosen, mode, &modes)
}

fn projected(volume: &str, objects: &Objects<'_>, spec: &ProjectedVolume) -> Result<Source, Refusal> {
    let Some(data) = objects.projected(volume) else {
        let needed = spec.sources.iter().any(|s| {
            let optional = |o: Option<bool>| o == Some(true);
            s.config_map.as_ref().is_some_and(|c| !optional(c.optional))
                || s.secret.as_ref().is_some_and(|c| !optional(c.optional))
                || s.downward_api.is_some()
        });
        // Kubelets that hand out no service account tokens drop the whole automounted volume.
        let token = spec.sources.iter().any(|s| s.service_account_token.is_some());
        return match (token, needed) {
            (true, _) => Ok(Source::Absent),
            (false, false) => Ok(Source::Files(Vec::new())),
            (false, true) => Err(not_sent(volume, "projected")),
        };
    };
    let mut modes = BTreeMap::new();
    for source in &spec.sources {
        for keys in [&source.config_map, &source.secret].into_iter().flatten() {
            modes.extend(keys.items.iter().filter_map(|i| Some((i.path.as_str(), i.mode?))));
        }
        if let Some(downward) = &source.downward_api {
            modes.extend(downward.items.iter().filter_map(|i| Some((i.path.as_str(), i.mode?))));
        }
    }
    laid_out(volume, data?, spec.default_mode, &modes)
}

fn laid_out(volume: &str, data: Data, mode: Option<i32>, modes: &BTreeMap<&str, i32>) -> Result<Source, Refusal> {
    let mut files: Vec<PlannedFile> = Vec::with_capacity(data.len());
    for (path, content) in data {
        if !is_local_path(&path) || path.split('/').any(|part| part.starts_with("..")) {
            return Err(Refusal::invalid(format!(
                "volume {volume:?} has a file at {path:?}; it must be a relative path without \"..\""
            )));
        }
        // Sorted keys put a directory's name before what is below it.
        if let Some(file) = files.iter().find(|f| path.starts_with(&format!("{}/", f.path))) {
            return Err(Refusal::invalid(format!(
                "volume {volume:?} has both a file {:?} and a file below it",
                file.path
            )));
        }
        let mode = modes.get(path.as_str()).copied().or(mode);
        let mode = mode.and_then(|m| u32::try_from(m).ok()).map_or(DEFAULT_MODE, |m| m & 0o777);
        files.push(PlannedFile { path, content, mode });
    }
    Ok(Source::Files(files))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::request::tests::request;

    fn objects() -> Value {
        json!({
            "configMaps": [{"metadata": {"name": "m"}, "data": {"a": "1\\n", "b": "2"}, "binaryData": {"z": "AAH/"}}],
            "secrets": [{"metadata": {"name": "s"}, "data": {"k": "c2VjcmV0"}}, {"metadata": {"name": "bad"}, "data": {"k": "?"}}],
            "projectedvolumemaps": [{"metadata": {"name": "v"}, "data": {"token": "t", "ns/name": "x"}}]})
    }

    fn planned(volume: Value) -> Result<Source, Refusal> {
        let mut volume = volume;
        if volume.get("name").is_none() {
            volume["name"] = json!("v");
        }
        let request = request(json!({"containers": [{"name": "c", "image": "i"}], "volumes": [volume]}), objects());
        plan(&request, &Objects::of(&request.data), &Policy::default()).map(|mut plans| plans.remove(0).source)
    }

    fn listed(volume: Value) -> Vec<(String, Vec<u8>, u32)> {
        match planned(volume).unwrap() {
            Source::Files(files) => files.into_iter().map(|f| (f.path, f.content, f.mode)).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn file(path: &str, content: &[u8], mode: u32) -> (String, Vec<u8>, u32) {
        (path.to_owned(), content.to_vec(), mode)
    }

    #[test]
    fn a_config_map_becomes_its_keys_unchanged() {
        let found = listed(json!({"configMap": {"name": "m", "defaultMode": 0o400}}));
        assert_eq!(found, [file("a", b"1\\n", 0o400), file("b", b"2", 0o400), file("z", &[0, 1, 255], 0o400)]);
    }

    #[test]
    fn items_choose_keys_paths_and_modes() {
        let found = listed(
            json!({"configMap": {"name": "m", "items": [{"key": "b", "path": "deep/er/b.txt", "mode": 0o755}, {"key": "a", "path": "x"}]}}),
        );
        assert_eq!(found, [file("deep/er/b.txt", b"2", 0o755), file("x", b"1\\n", 0o644)]);
    }

    #[test]
    fn secrets_and_projected_volumes_are_decoded_and_nested() {
        assert_eq!(listed(json!({"secret": {"secretName": "s"}})), [file("k", b"secret", 0o644)]);
        let projected = json!({"projected": {"defaultMode": 0o440, "sources": [{"downwardAPI": {"items": [{"path": "ns/name", "mode": 0o400}]}}]}});
        assert_eq!(listed(projected), [file("ns/name", b"x", 0o400), file("token", b"t", 0o440)]);
        assert_eq!(listed(json!({"downwardAPI": {"items": []}})).len(), 2);
    }

    #[test]
    fn what_is_optional_may_be_missing() {
        assert_eq!(listed(json!({"configMap": {"name": "none", "optional": true}})), []);
        let items = json!([{"key": "none", "path": "n"}, {"key": "a", "path": "a"}]);
        assert_eq!(listed(json!({"configMap": {"name": "m", "optional": true, "items": items}})).len(), 1);
        let token = json!({"name": "w", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
        assert_eq!(planned(token), Ok(Source::Absent));
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_the_volumes_name() {
        let cases = [
            (json!({"configMap": {"name": "none"}}), "missing", "ConfigMap \"none\""),
            (json!({"secret": {"secretName": "none"}}), "missing", "Secret \"none\""),
            (json!({"configMap": {"name": "m", "items": [{"key": "none", "path": "n"}]}}), "missing", "key \"none\""),
            (json!({"secret": {"secretName": "bad"}}), "invalid", "not base64"),
            (
                json!({"configMap": {"name": "m", "items": [{"key": "a", "path": "../../x"}]}}),
                "invalid",
                "without \"..\"",
            ),
            (
                json!({"configMap": {"name": "m", "items": [{"key": "a", "path": "x"}, {"key": "b", "path": "x/y"}]}}),
                "invalid",
                "below it",
            ),
            (json!({"persistentVolumeClaim": {"claimName": "c"}}), "unsupported", "persistentVolumeClaim"),
            (json!({"hostPath": {"path": "/etc"}}), "policy", "HostPaths"),
            (json!({"name": "w", "downwardAPI": {"items": []}}), "missing", "downwardAPI"),
        ];
        for (volume, code, said) in cases {
            let refusal = planned(volume).unwrap_err();
            assert_eq!(refusal.code, code, "{refusal}");
            assert!(refusal.sentence.contains(said), "{refusal}");
        }
    }
}
