//! From what the kubelet sends, sorted by kind, to what the plugin wants, sorted by container.

use std::collections::HashMap;

use interlink_wire::create::ScriptBuildConfig;
use interlink_wire::pod::{Container, ProjectedVolume, Volume};
use interlink_wire::{DecodeError, Object, PodCreateRequests, PodExtract, RetrievedContainer, RetrievedPodData};

use super::defaults;

/// Why a create can't be arranged; each is a mistake of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArrangeError {
    /// The pod's own JSON.
    #[error(transparent)]
    Pod(#[from] DecodeError),
    /// A pod without the field that everything is keyed by.
    #[error("create request is not valid: pod.metadata.uid is missing; it must be the pod's UID")]
    NoUid,
    /// A mount of a volume that the pod does not define.
    #[error(
        "pod {pod}: container {container} mounts volume {volume}, which spec.volumes does not define; add the volume or remove the mount"
    )]
    NoVolume {
        /// Namespace and name.
        pod: String,
        /// Container name.
        container: String,
        /// Volume name.
        volume: String,
    },
    /// An object that a mounted volume names did not come along.
    #[error(
        "pod {pod}: volume {volume} needs {kind} {object}, which did not come with the pod; create it in the pod's namespace, or mark the volume optional"
    )]
    NoObject {
        /// Namespace and name.
        pod: String,
        /// Volume name.
        volume: String,
        /// `ConfigMap`, `Secret` or `the content of projected volume`.
        kind: &'static str,
        /// Object name.
        object: String,
    },
}

/// Arranges a create request: one entry per container, init containers first, with the objects of its mounts in order.
/// A volume that is mounted twice has its object twice, as the existing API server does it.
///
/// # Errors
/// [`ArrangeError`] in one sentence that names pod, volume and object.
pub fn arrange(request: PodCreateRequests, job_config: ScriptBuildConfig) -> Result<RetrievedPodData, ArrangeError> {
    if request.pod.uid().is_empty() {
        return Err(ArrangeError::NoUid);
    }
    let extract = PodExtract::from_object(&request.pod)?;
    let sources = Sources {
        pod: format!("{}/{}", request.pod.namespace(), request.pod.name()),
        volumes: extract.spec.volumes.iter().map(|v| (v.name.as_str(), v)).collect(),
        config_maps: by_name(request.configmaps.into_iter().map(defaults::with_data)),
        secrets: by_name(request.secrets.into_iter()),
        // A kubelet that was told to leave projected volumes out sends none at all; then they are left out here too.
        projected_came: !request.projectedvolumesmaps.is_empty(),
        projected: by_name(request.projectedvolumesmaps.into_iter().map(defaults::with_data)),
    };
    let container = extract.all_containers().map(|c| sources.of(c)).collect::<Result<Vec<_>, _>>()?;
    let pod = defaults::fill(request.pod.without_managed_fields());
    Ok(RetrievedPodData { pod, container, job_config, job_script: String::new() })
}

fn by_name(objects: impl Iterator<Item = Object>) -> HashMap<String, Object> {
    let mut named = HashMap::new();
    for object in objects {
        // The first of a name counts, as for the existing API server.
        named.entry(object.name().to_owned()).or_insert_with(|| object.without_managed_fields());
    }
    named
}

struct Sources<'a> {
    pod: String,
    volumes: HashMap<&'a str, &'a Volume>,
    config_maps: HashMap<String, Object>,
    secrets: HashMap<String, Object>,
    projected: HashMap<String, Object>,
    projected_came: bool,
}

impl Sources<'_> {
    fn of(&self, container: &Container) -> Result<RetrievedContainer, ArrangeError> {
        let mut found = RetrievedContainer { name: container.name.clone(), ..RetrievedContainer::default() };
        for mount in &container.volume_mounts {
            let Some(volume) = self.volumes.get(mount.name.as_str()) else {
                return Err(ArrangeError::NoVolume {
                    pod: self.pod.clone(),
                    container: container.name.clone(),
                    volume: mount.name.clone(),
                });
            };
            if let Some(source) = &volume.config_map {
                let optional = source.optional == Some(true);
                found.config_maps.extend(self.find(&self.config_maps, volume, "ConfigMap", &source.name, optional)?);
            } else if let Some(source) = &volume.secret {
                let optional = source.optional == Some(true);
                found.secrets.extend(self.find(&self.secrets, volume, "Secret", &source.secret_name, optional)?);
            } else if volume.projected.is_some() || volume.downward_api.is_some() {
                let optional = !self.projected_came || volume.projected.as_ref().is_some_and(all_optional);
                let kind = "the content of projected volume";
                found.projectedvolumemaps.extend(self.find(&self.projected, volume, kind, &volume.name, optional)?);
            }
        }
        Ok(found)
    }

    fn find(
        &self,
        objects: &HashMap<String, Object>,
        volume: &Volume,
        kind: &'static str,
        name: &str,
        optional: bool,
    ) -> Result<Option<Object>, ArrangeError> {
        match objects.get(name) {
            Some(object) => Ok(Some(object.clone())),
            None if optional => Ok(None),
            None => Err(ArrangeError::NoObject {
                pod: self.pod.clone(),
                volume: volume.name.clone(),
                kind,
                object: name.to_owned(),
            }),
        }
    }
}

/// Whether a projected volume may be empty: every source is an object that may be missing.
fn all_optional(projected: &ProjectedVolume) -> bool {
    projected.sources.iter().all(|source| {
        let optional = |object: &interlink_wire::pod::ConfigMapVolume| object.optional == Some(true);
        match (&source.config_map, &source.secret) {
            (None, None) => false,
            (config_map, secret) => config_map.as_ref().is_none_or(optional) && secret.as_ref().is_none_or(optional),
        }
    })
}

#[cfg(test)]
mod tests {
    use interlink_wire::Envelope;
    use serde_json::{Value, json};

    use super::*;

    fn object(name: &str, data: Value) -> Value {
        json!({"metadata": {"name": name, "managedFields": [{}]}, "data": data})
    }

    fn run(request: Value) -> Result<Value, String> {
        let request = PodCreateRequests::from_value(request).unwrap();
        let arranged = arrange(request, ScriptBuildConfig::default()).map_err(|e| e.to_string())?;
        Ok(serde_json::to_value(arranged).unwrap())
    }

    fn pod(volumes: Value, mounts: &[&str]) -> Value {
        let mounts: Vec<Value> = mounts.iter().map(|m| json!({"name": m, "mountPath": format!("/{m}")})).collect();
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "managedFields": [{}]},
            "spec": {"containers": [{"name": "c", "volumeMounts": mounts}], "volumes": volumes}})
    }

    #[test]
    fn init_containers_come_first_and_objects_follow_the_mounts() {
        let mount = |names: &[&str]| names.iter().map(|n| json!({"name": n, "mountPath": "/x"})).collect::<Vec<_>>();
        let arranged = run(json!({
            "pod": {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {
                "containers": [{"name": "c1", "volumeMounts": mount(&["b", "a", "b"])}, {"name": "c2"}],
                "initContainers": [{"name": "i", "volumeMounts": mount(&["s", "t", "e"])}],
                "volumes": [{"name": "a", "configMap": {"name": "cma"}}, {"name": "b", "configMap": {"name": "cmb"}},
                    {"name": "s", "secret": {"secretName": "sec"}}, {"name": "t", "projected": {"sources": []}}, {"name": "e", "emptyDir": {}}]}},
            "configmaps": [object("cma", json!({"k": "a"})), object("cmb", json!({"k": "b"})), object("unused", json!({}))],
            "secrets": [object("sec", json!({"k": "eA=="}))],
            "projectedvolumesmaps": [object("t", json!({"token": "x"}))]
        }))
        .unwrap();
        let names = |value: &Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|o| o["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        let list = arranged["container"].as_array().unwrap();
        assert_eq!(list.iter().map(|c| c["name"].as_str().unwrap()).collect::<Vec<_>>(), ["i", "c1", "c2"]);
        assert_eq!(names(&list[0]["secrets"]), ["sec"]);
        assert_eq!(names(&list[0]["projectedvolumemaps"]), ["t"]);
        assert_eq!(
            names(&list[1]["configMaps"]),
            ["cmb", "cma", "cmb"],
            "in the order of the mounts, twice where mounted twice"
        );
        assert_eq!(
            list[2],
            json!({"name": "c2", "configMaps": [], "projectedvolumemaps": [], "secrets": [], "emptyDirs": []}),
            "[] instead of null"
        );
        assert!(list[1]["configMaps"][0]["metadata"].get("managedFields").is_none());
    }

    #[test]
    fn a_missing_object_is_named_unless_it_is_optional() {
        let config_map = |optional: Value| json!([{"name": "v", "configMap": {"name": "gone", "optional": optional}}]);
        let secret = |optional: Value| json!([{"name": "v", "secret": {"secretName": "gone", "optional": optional}}]);
        let projected = json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]);
        let maybe =
            json!([{"name": "v", "projected": {"sources": [{"configMap": {"name": "gone", "optional": true}}]}}]);
        let other = json!([object("other", json!({}))]);
        let cases = [
            ("ConfigMap", config_map(json!(null)), json!([]), Some("pod n/p: volume v needs ConfigMap gone,")),
            ("optional ConfigMap", config_map(json!(true)), json!([]), None),
            ("Secret", secret(json!(false)), json!([]), Some("pod n/p: volume v needs Secret gone,")),
            ("optional Secret", secret(json!(true)), json!([]), None),
            ("projected", projected.clone(), other.clone(), Some("volume v needs the content of projected volume v,")),
            ("projected volumes switched off at the kubelet", projected, json!([]), None),
            ("optional projected", maybe, other, None),
            (
                "no such volume",
                json!(null),
                json!([]),
                Some("container c mounts volume v, which spec.volumes does not define"),
            ),
        ];
        for (case, volumes, maps, expected) in cases {
            let got = run(json!({"pod": pod(volumes, &["v"]), "projectedvolumesmaps": maps}));
            match (got, expected) {
                (Ok(arranged), None) => assert_eq!(arranged["container"].as_array().unwrap().len(), 1, "{case}"),
                (Err(sentence), Some(part)) => assert!(sentence.contains(part), "{case}: {sentence}"),
                (got, _) => panic!("{case}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_volume_that_nobody_mounts_needs_nothing() {
        assert!(run(json!({"pod": pod(json!([{"name": "v", "secret": {"secretName": "gone"}}]), &[])})).is_ok());
    }

    #[test]
    fn the_pod_passes_with_what_we_do_not_know() {
        let mut sent = pod(json!(null), &[]);
        sent["spec"]["fromTheFuture"] = json!({"Key_A": [null, 1.5]});
        sent["status"] = json!({});
        let arranged = run(json!({"pod": sent})).unwrap();
        assert_eq!(arranged["pod"]["spec"]["fromTheFuture"], json!({"Key_A": [null, 1.5]}));
        assert_eq!(arranged["pod"]["status"], json!({}));
        assert!(arranged["pod"]["metadata"].get("managedFields").is_none());
        assert!(arranged.get("jobScript").is_none());
        assert_eq!(arranged["jobConfig"]["SingularityHubProxy"]["master_token"], json!(""));
    }

    #[test]
    fn a_pod_without_uid_or_of_the_wrong_type_is_refused() {
        assert!(run(json!({"pod": {"metadata": {"name": "p"}}})).unwrap_err().contains("pod.metadata.uid is missing"));
        let wrong = json!({"pod": {"metadata": {"uid": "u"}, "spec": {"volumes": "none"}}});
        assert!(run(wrong).unwrap_err().starts_with("pod is not valid: "));
    }
}
