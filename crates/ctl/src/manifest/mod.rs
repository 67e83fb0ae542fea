//! A manifest file: one Pod, with the ConfigMaps and Secrets that it names.
//!
//! What the Kubernetes API server would add is added here: a UID, a namespace, the time, `stringData` as `data`.

mod documents;
mod objects;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use interlink_wire::{Object, PodExtract, names};
use jiff::Timestamp;
use serde_json::{Value, json};

pub use documents::{ManifestError, documents};

/// What a manifest holds, ready to be resolved.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The pod, with a UID of its own.
    pub pod: Object,
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Object>,
    /// Secrets by name; `data` only.
    pub secrets: BTreeMap<String, Object>,
}

impl Manifest {
    /// Takes a manifest's `text` (YAML or JSON). `namespace` wins over what it says; without both it is `default`.
    ///
    /// # Errors
    /// [`ManifestError`], one sentence: the document, what is wrong and what would be right.
    pub fn read(text: &str, namespace: Option<&str>, uid: &str, now: Timestamp) -> Result<Self, ManifestError> {
        let mut pods = Vec::new();
        let mut config_maps = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        for object in documents(text)? {
            let name = object.name().to_owned();
            match kind(&object) {
                "Pod" => pods.push(object),
                "ConfigMap" => drop(config_maps.insert(name, object)),
                "Secret" => drop(secrets.insert(name.clone(), encoded(&name, object)?)),
                other => return Err(ManifestError::Kind(other.to_owned())),
            }
        }
        let count = pods.len();
        let Some(pod) = pods.pop().filter(|_| count == 1) else { return Err(ManifestError::Pods(count)) };
        let pod = admitted(pod, namespace, uid, now)?;
        Ok(Self { pod, config_maps, secrets })
    }
}

fn kind(object: &Object) -> &str {
    object.fields().get("kind").and_then(Value::as_str).unwrap_or("")
}

/// The pod as the API server would store it.
fn admitted(mut pod: Object, namespace: Option<&str>, uid: &str, now: Timestamp) -> Result<Object, ManifestError> {
    let stated = if pod.namespace().is_empty() { "default" } else { pod.namespace() };
    let namespace = namespace.unwrap_or(stated).to_owned();
    if !names::is_dns_subdomain(pod.name()) {
        return Err(ManifestError::Name { field: "metadata.name", value: pod.name().to_owned() });
    }
    if !names::is_dns_label(&namespace) {
        return Err(ManifestError::Name { field: "metadata.namespace", value: namespace });
    }
    let fields = pod.fields_mut();
    // A status or identity that came along belongs to the pod that this manifest was copied from.
    fields.insert("status".into(), json!({"phase": "Pending"}));
    if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
        for foreign in ["managedFields", "resourceVersion", "ownerReferences", "deletionTimestamp", "generateName"] {
            metadata.remove(foreign);
        }
        metadata.insert("namespace".into(), namespace.into());
        metadata.insert("uid".into(), uid.into());
        metadata.insert("creationTimestamp".into(), format!("{now:.0}").into());
    }
    let extract = PodExtract::from_object(&pod).map_err(|e| ManifestError::Pod(e.to_string()))?;
    if extract.spec.containers.is_empty() {
        return Err(ManifestError::Pod("spec.containers is empty; a pod has at least one container".into()));
    }
    let mut seen = std::collections::BTreeSet::new();
    for container in extract.all_containers() {
        if !names::is_dns_label(&container.name) {
            return Err(ManifestError::Name { field: "a container's name", value: container.name.clone() });
        }
        if !seen.insert(&container.name) {
            return Err(ManifestError::Pod(format!("two containers are named {:?}", container.name)));
        }
    }
    Ok(pod)
}

/// A Secret with its `stringData` folded into `data`, as the API server does.
fn encoded(name: &str, mut secret: Object) -> Result<Object, ManifestError> {
    let Some(plain) = secret.fields_mut().remove("stringData") else { return Ok(secret) };
    let wrong = || ManifestError::Secret(name.to_owned());
    let plain: BTreeMap<String, String> = serde_json::from_value(plain).map_err(|_| wrong())?;
    let data = secret.fields_mut().entry("data").or_insert_with(|| json!({}));
    if data.is_null() {
        *data = json!({});
    }
    let data = data.as_object_mut().ok_or_else(wrong)?;
    data.extend(plain.into_iter().map(|(key, value)| (key, Value::String(STANDARD.encode(value)))));
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";

    fn read(text: &str, namespace: Option<&str>) -> Result<Manifest, ManifestError> {
        Manifest::read(text, namespace, UID, Timestamp::from_second(1_800_000_000).unwrap())
    }

    const POD: &str = "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}\n";

    #[test]
    fn a_pod_gets_what_the_api_server_would_give_it() {
        let pod = read(POD, None).unwrap().pod;
        assert_eq!((pod.name(), pod.namespace(), pod.uid(), pod.phase()), ("p", "default", UID, "Pending"));
        assert_eq!(pod.fields()["metadata"]["creationTimestamp"], "2027-01-15T08:00:00Z");
        assert_eq!(read(POD, Some("lab")).unwrap().pod.namespace(), "lab");
    }

    #[test]
    fn a_copied_pod_loses_its_old_identity() {
        let text = r#"{"kind": "Pod", "metadata": {"name": "p", "namespace": "old", "uid": "x", "managedFields": []},
            "spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Failed"}}"#;
        let pod = read(text, None).unwrap().pod;
        assert_eq!((pod.namespace(), pod.uid(), pod.phase()), ("old", UID, "Pending"));
        assert!(pod.fields()["metadata"].get("managedFields").is_none());
    }

    #[test]
    fn objects_come_along_and_plain_secrets_are_encoded() {
        let text = format!(
            "{POD}---\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{a: b}}\n---\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{k: v}}\ndata: {{j: eA==}}\n"
        );
        let manifest = read(&text, None).unwrap();
        assert_eq!(manifest.config_maps["m"].fields()["data"]["a"], "b");
        assert_eq!(manifest.secrets["s"].fields()["data"], json!({"k": "dg==", "j": "eA=="}));
        assert!(manifest.secrets["s"].fields().get("stringData").is_none());
    }

    #[test]
    fn file_modes_are_octal_as_in_kubernetes() {
        let text = format!("{POD}---\nkind: ConfigMap\nmetadata: {{name: m, mode: 0440}}\n");
        assert_eq!(read(&text, None).unwrap().config_maps["m"].fields()["metadata"]["mode"], 0o440);
    }

    #[test]
    fn bad_manifests_are_told_in_one_sentence() {
        let cases = [
            ("", "the manifest has no Pod"),
            (&format!("{POD}---\n{POD}"), "the manifest has 2 Pods"),
            ("kind: Deployment\nmetadata: {name: d}\n", "kind \"Deployment\""),
            ("metadata: {name: d}\n", "has no kind"),
            ("kind: Pod\nmetadata: {name: Bad_Name}\nspec: {}\n", "metadata.name \"Bad_Name\""),
            ("kind: Pod\nmetadata: {name: p}\nspec: {}\n", "spec.containers is empty"),
            ("kind: Pod\nmetadata: {name: p}\nspec: {containers: 3}\n", "pod is not valid"),
            ("kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: ../x}]}\n", "a container's name \"../x\""),
            (
                "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}, {name: c}]}\n",
                "two containers are named",
            ),
            (&format!("{POD}---\nkind: Secret\nmetadata: {{name: s}}\nstringData: 3\n"), "Secret \"s\""),
            ("- 1\n- 2\n", "is not an object"),
            ("kind: [\n", "is not YAML"),
        ];
        for (text, part) in cases {
            let error = read(text, None).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{text:?}: {error}");
        }
        assert!(read(POD, Some("Bad")).unwrap_err().to_string().contains("metadata.namespace \"Bad\""));
    }
}
