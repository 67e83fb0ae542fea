//! The names of a create request, checked before any of them becomes part of a path or a flag.

use std::collections::BTreeSet;

use interlink_wire::names::{is_dns_label, is_dns_subdomain};
use interlink_wire::{PodExtract, PodUid, RetrievedPodData};

use super::Refusal;

/// A create request whose names can be trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// What we read of the pod.
    pub pod: PodExtract,
    /// The request as it came, with the objects that the pod mounts.
    pub data: RetrievedPodData,
}

impl Request {
    /// Judges the names and kinds of a request.
    ///
    /// # Errors
    /// [`Refusal`] names the field.
    pub fn read(data: RetrievedPodData) -> Result<Self, Refusal> {
        let pod = PodExtract::from_object(&data.pod).map_err(|e| Refusal::invalid(e.to_string()))?;
        let uid = PodUid::parse(&pod.metadata.uid).map_err(|e| Refusal::invalid(format!("metadata.uid: {e}")))?;
        if !is_dns_label(&pod.metadata.namespace) {
            return Err(name_error("metadata.namespace", &pod.metadata.namespace, "a DNS label"));
        }
        if !is_dns_subdomain(&pod.metadata.name) {
            return Err(name_error("metadata.name", &pod.metadata.name, "a DNS subdomain"));
        }
        if pod.spec.containers.is_empty() {
            return Err(Refusal::invalid("spec.containers is empty; a pod needs at least one container"));
        }
        let mut seen = BTreeSet::new();
        for container in pod.all_containers() {
            if !is_dns_label(&container.name) {
                return Err(name_error("container name", &container.name, "a DNS label"));
            }
            if !seen.insert(container.name.as_str()) {
                return Err(Refusal::invalid(format!(
                    "two containers are named {:?}; container names must differ",
                    container.name
                )));
            }
            if container.image.contains(char::is_control) || container.image.starts_with('-') {
                return Err(Refusal::invalid(format!(
                    "image of container {:?} is not an image name; it must not begin with \"-\" or hold control characters",
                    container.name
                )));
            }
        }
        for volume in &pod.spec.volumes {
            if !is_dns_label(&volume.name) {
                return Err(name_error("volume name", &volume.name, "a DNS label"));
            }
        }
        let (namespace, name) = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        Ok(Self { uid, namespace, name, pod, data })
    }

    /// An annotation of the pod.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.pod.metadata.annotations.get(key).map(String::as_str)
    }
}

fn name_error(field: &str, value: &str, rule: &str) -> Refusal {
    let shown: String = value.chars().take(64).collect();
    Refusal::invalid(format!("{field} {shown:?} must be {rule}: lower-case letters, digits and \"-\""))
}

#[cfg(test)]
pub(crate) mod tests {
    use interlink_wire::Envelope;
    use serde_json::{Value, json};

    use super::*;

    pub(crate) const UID: &str = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";

    /// A request for a pod with this spec and these objects for its first container.
    pub(crate) fn request(spec: Value, objects: Value) -> Request {
        annotated(spec, objects, json!({}))
    }

    pub(crate) fn annotated(spec: Value, mut objects: Value, annotations: Value) -> Request {
        objects["name"] = json!("c");
        let metadata =
            json!({"name": "p", "namespace": "ns", "uid": UID, "annotations": annotations, "labels": {"app": "x"}});
        let data = json!({"pod": {"metadata": metadata, "spec": spec}, "container": [objects]});
        Request::read(RetrievedPodData::from_value(data).unwrap()).unwrap()
    }

    #[test]
    fn names_that_could_leave_their_directory_are_refused_by_field() {
        let good = json!({"metadata": {"name": "p", "namespace": "ns", "uid": UID},
            "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "emptyDir": {}}]}});
        let cases = [
            ("/metadata/uid", json!("../../etc"), "metadata.uid"),
            ("/metadata/namespace", json!("a/b"), "metadata.namespace"),
            ("/metadata/name", json!("../x"), "metadata.name"),
            ("/spec/containers/0/name", json!("a b"), "container name"),
            ("/spec/containers/0/image", json!("-x"), "image of container"),
            ("/spec/volumes/0/name", json!(".."), "volume name"),
            ("/spec/containers", json!([]), "spec.containers is empty"),
            ("/spec/containers", json!([{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]), "must differ"),
            ("/spec/containers", json!("x"), "pod is not valid"),
        ];
        let read = |pod: Value| Request::read(RetrievedPodData::from_value(json!({"pod": pod})).unwrap());
        assert!(read(good.clone()).is_ok());
        for (pointer, value, said) in cases {
            let mut pod = good.clone();
            *pod.pointer_mut(pointer).unwrap() = value;
            let refusal = read(pod).unwrap_err();
            assert!(refusal.sentence.contains(said), "{pointer}: {refusal}");
        }
    }
}
