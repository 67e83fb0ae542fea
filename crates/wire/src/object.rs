//! Kubernetes objects as raw JSON: what a newer Kubernetes adds passes through unchanged.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A Kubernetes object (Pod, ConfigMap, Secret) as it came.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(Map<String, Value>);

impl Object {
    /// Takes a JSON value that is an object.
    #[must_use]
    pub fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self(map)),
            _ => None,
        }
    }

    /// The fields.
    #[must_use]
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The fields, to change them.
    pub fn fields_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.0
    }

    /// The object as a JSON value.
    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// `metadata.name`, or `""`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata("name")
    }

    /// `metadata.namespace`, or `""`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata("namespace")
    }

    /// `metadata.uid`, or `""`.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.metadata("uid")
    }

    /// `metadata.annotations[key]`.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.0.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    /// `status.phase`, or `""`.
    #[must_use]
    pub fn phase(&self) -> &str {
        self.0.get("status").and_then(|s| s.get("phase")).and_then(Value::as_str).unwrap_or("")
    }

    /// Without `metadata.managedFields`, which no hop needs and which is often half of the object.
    #[must_use]
    pub fn without_managed_fields(mut self) -> Self {
        if let Some(Value::Object(metadata)) = self.0.get_mut("metadata") {
            metadata.remove("managedFields");
        }
        self
    }

    fn metadata(&self, key: &str) -> &str {
        self.0.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or("")
    }
}

impl crate::decode::Envelope for Object {
    const WHAT: &'static str = "Kubernetes object";
    const SHAPE: crate::decode::Shape = crate::decode::Shape::Raw;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_survive_and_managed_fields_go() {
        let text = json!({"metadata": {"name": "p", "uid": "u", "namespace": "n", "managedFields": [{"manager": "x"}], "annotations": {"k": "v"}},
            "spec": {"fromTheFuture": {"a": [1, 2.5, null]}}, "status": {"phase": "Running"}});
        let object = Object::from_value(text).unwrap().without_managed_fields();
        assert_eq!((object.name(), object.namespace(), object.uid(), object.phase()), ("p", "n", "u", "Running"));
        assert_eq!(object.annotation("k"), Some("v"));
        assert_eq!(object.annotation("none"), None);
        let back = object.into_value();
        assert_eq!(back["spec"], json!({"fromTheFuture": {"a": [1, 2.5, null]}}));
        assert!(back["metadata"].get("managedFields").is_none());
    }

    #[test]
    fn only_an_object_is_an_object() {
        assert!(Object::from_value(json!([])).is_none());
        assert!(Object::from_value(json!(null)).is_none());
    }
}
