//! The typed extract of a Pod: what our programs read of it. It is never sent on; the raw [`Object`] is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::decode::{DecodeError, typed};
use crate::object::Object;

/// A core/v1 Pod, as far as we read it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct PodExtract {
    pub metadata: Metadata,
    pub spec: PodSpec,
}

impl PodExtract {
    /// Reads the extract.
    ///
    /// # Errors
    /// [`DecodeError`] names the field whose type is wrong.
    pub fn from_object(object: &Object) -> Result<Self, DecodeError> {
        let value = without_nulls(Value::Object(object.fields().clone()));
        typed("pod", value)
    }

    /// Init containers, then containers, in the order of the spec.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.spec.init_containers.iter().chain(&self.spec.containers)
    }
}

/// Go writes unset lists and times as `null`; for us that is the same as absent.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// The fields below are core/v1's; see the Kubernetes API reference for their meaning.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub deletion_timestamp: Option<String>,
    pub deletion_grace_period_seconds: Option<i64>,
}

/// core/v1 PodSpec.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct PodSpec {
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    pub restart_policy: Option<String>,
    pub termination_grace_period_seconds: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    pub service_account_name: Option<String>,
    pub node_name: Option<String>,
    pub enable_service_links: Option<bool>,
    pub security_context: Option<SecurityContext>,
    pub tolerations: Vec<Toleration>,
    pub node_selector: BTreeMap<String, String>,
}

/// core/v1 Toleration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Toleration {
    pub key: String,
    pub operator: String,
    pub value: String,
    pub effect: String,
}

/// core/v1 PodSecurityContext and SecurityContext, as far as we read them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct SecurityContext {
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub fs_group: Option<i64>,
    pub privileged: Option<bool>,
}

/// core/v1 Container.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub working_dir: Option<String>,
    pub env: Vec<EnvVar>,
    pub env_from: Vec<EnvFrom>,
    pub resources: Resources,
    pub volume_mounts: Vec<VolumeMount>,
    pub restart_policy: Option<String>,
    pub security_context: Option<SecurityContext>,
}

/// core/v1 EnvVar.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct EnvVar {
    pub name: String,
    pub value: Option<String>,
    pub value_from: Option<EnvVarSource>,
}

/// core/v1 EnvVarSource.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct EnvVarSource {
    pub field_ref: Option<FieldRef>,
    pub resource_field_ref: Option<ResourceFieldRef>,
    pub config_map_key_ref: Option<KeyRef>,
    pub secret_key_ref: Option<KeyRef>,
}

/// core/v1 ObjectFieldSelector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct FieldRef {
    pub api_version: Option<String>,
    pub field_path: String,
}

/// core/v1 ResourceFieldSelector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ResourceFieldRef {
    pub container_name: Option<String>,
    pub resource: String,
    pub divisor: Option<String>,
}

/// core/v1 ConfigMapKeySelector and SecretKeySelector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct KeyRef {
    pub name: String,
    pub key: String,
    pub optional: Option<bool>,
}

/// core/v1 EnvFromSource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct EnvFrom {
    pub prefix: String,
    pub config_map_ref: Option<ObjectRef>,
    pub secret_ref: Option<ObjectRef>,
}

/// A reference by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct ObjectRef {
    pub name: String,
    pub optional: Option<bool>,
}

/// core/v1 ResourceRequirements; values are [`crate::Quantity`] texts, or numbers in hand-made manifests.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Resources {
    pub limits: BTreeMap<String, Value>,
    pub requests: BTreeMap<String, Value>,
}

impl Resources {
    /// A limit or request as text.
    #[must_use]
    pub fn text(of: &BTreeMap<String, Value>, resource: &str) -> Option<String> {
        match of.get(resource)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

/// core/v1 VolumeMount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct VolumeMount {
    pub name: String,
    pub mount_path: String,
    pub read_only: Option<bool>,
    pub sub_path: Option<String>,
    pub sub_path_expr: Option<String>,
}

/// core/v1 Volume: the kinds that we know, and the names of all others in `other`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Volume {
    pub name: String,
    pub config_map: Option<ConfigMapVolume>,
    pub secret: Option<SecretVolume>,
    pub projected: Option<ProjectedVolume>,
    #[serde(rename = "downwardAPI")]
    pub downward_api: Option<DownwardApiVolume>,
    pub empty_dir: Option<EmptyDirVolume>,
    pub host_path: Option<HostPathVolume>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// core/v1 ConfigMapVolumeSource and ConfigMapProjection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ConfigMapVolume {
    pub name: String,
    pub items: Vec<KeyToPath>,
    pub default_mode: Option<i32>,
    pub optional: Option<bool>,
}

/// core/v1 SecretVolumeSource (`secretName`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct SecretVolume {
    pub secret_name: String,
    pub items: Vec<KeyToPath>,
    pub default_mode: Option<i32>,
    pub optional: Option<bool>,
}

/// core/v1 KeyToPath.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct KeyToPath {
    pub key: String,
    pub path: String,
    pub mode: Option<i32>,
}

/// core/v1 ProjectedVolumeSource.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ProjectedVolume {
    pub sources: Vec<ProjectedSource>,
    pub default_mode: Option<i32>,
}

/// core/v1 VolumeProjection.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ProjectedSource {
    pub config_map: Option<ConfigMapVolume>,
    /// A SecretProjection, whose key is `name`, as a ConfigMap's is.
    pub secret: Option<ConfigMapVolume>,
    #[serde(rename = "downwardAPI")]
    pub downward_api: Option<DownwardApiVolume>,
    pub service_account_token: Option<ServiceAccountToken>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// core/v1 ServiceAccountTokenProjection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ServiceAccountToken {
    pub audience: String,
    pub expiration_seconds: Option<i64>,
    pub path: String,
}

/// core/v1 DownwardAPIVolumeSource.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct DownwardApiVolume {
    pub items: Vec<DownwardApiItem>,
    pub default_mode: Option<i32>,
}

/// core/v1 DownwardAPIVolumeFile.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct DownwardApiItem {
    pub path: String,
    pub field_ref: Option<FieldRef>,
    pub resource_field_ref: Option<ResourceFieldRef>,
    pub mode: Option<i32>,
}

/// core/v1 EmptyDirVolumeSource.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct EmptyDirVolume {
    pub medium: String,
    pub size_limit: Option<Value>,
}

/// core/v1 HostPathVolumeSource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct HostPathVolume {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_as_go_writes_it_is_read() {
        let pod = json!({"metadata": {"name": "p", "creationTimestamp": null, "labels": null}, "status": {},
            "spec": {"initContainers": null, "volumes": [{"name": "v", "configMap": {"name": "c", "defaultMode": 420}}, {"name": "claim", "persistentVolumeClaim": {"claimName": "x"}}],
                "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "3600"], "resources": {"limits": {"cpu": 2, "memory": "1Gi"}},
                    "volumeMounts": [{"name": "v", "mountPath": "/etc/v", "readOnly": true}]}]}});
        let extract = PodExtract::from_object(&Object::from_value(pod).unwrap()).unwrap();
        let container = &extract.spec.containers[0];
        assert_eq!(container.command, ["sleep", "3600"]);
        assert_eq!(Resources::text(&container.resources.limits, "cpu").as_deref(), Some("2"));
        assert_eq!(extract.spec.volumes[0].config_map.as_ref().unwrap().name, "c");
        assert!(extract.spec.volumes[1].other.contains_key("persistentVolumeClaim"));
        assert_eq!(extract.all_containers().count(), 1);
    }

    #[test]
    fn a_wrong_type_is_named() {
        let pod = json!({"spec": {"containers": "none"}});
        let error = PodExtract::from_object(&Object::from_value(pod).unwrap()).unwrap_err().to_string();
        assert_eq!(error, "pod is not valid: spec.containers: invalid type: string, expected a sequence");
        let pod = json!({"spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": {"k": "secret"}}]}]}});
        let error = PodExtract::from_object(&Object::from_value(pod).unwrap()).unwrap_err().to_string();
        assert_eq!(error, "pod is not valid: spec.containers[0].env[0].value: invalid type: map, expected a string");
    }
}
