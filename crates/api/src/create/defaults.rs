//! Defaults that kube-apiserver fills in and hand-made requests lack, and that existing plugins rely on without checking:
//! a missing one ends the existing Slurm plugin with a nil dereference, or the Python SDK's model with a 422.

use interlink_wire::Object;
use serde_json::{Value, json};

/// 0644, core/v1's default for files of ConfigMap, Secret, projected and downward-API volumes.
const DEFAULT_MODE: i32 = 420;

/// Volume sources that have a `defaultMode`.
const WITH_MODE: [&str; 4] = ["configMap", "secret", "projected", "downwardAPI"];

/// Fills `defaultMode` and `hostPath.type` of the pod's volumes. Everything else stays as it is.
#[must_use]
pub fn fill(mut pod: Object) -> Object {
    let volumes = pod.fields_mut().get_mut("spec").and_then(|spec| spec.get_mut("volumes"));
    for volume in volumes.and_then(Value::as_array_mut).into_iter().flatten() {
        for source in WITH_MODE {
            default(volume.get_mut(source), "defaultMode", json!(DEFAULT_MODE));
        }
        default(volume.get_mut("hostPath"), "type", json!(""));
    }
    pod
}

/// Gives a ConfigMap that has only `binaryData` an empty `data`.
#[must_use]
pub fn with_data(mut config_map: Object) -> Object {
    let data = config_map.fields_mut().entry("data").or_insert(Value::Null);
    if data.is_null() {
        *data = json!({});
    }
    config_map
}

fn default(source: Option<&mut Value>, key: &str, value: Value) {
    if let Some(Value::Object(source)) = source {
        let field = source.entry(key).or_insert(Value::Null);
        if field.is_null() {
            *field = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_defaults_are_filled_and_given_values_stay() {
        let cases = [
            (json!({"configMap": {"name": "c"}}), json!({"configMap": {"name": "c", "defaultMode": 420}})),
            (json!({"configMap": {"defaultMode": 256}}), json!({"configMap": {"defaultMode": 256}})),
            (json!({"secret": {"defaultMode": null}}), json!({"secret": {"defaultMode": 420}})),
            (json!({"projected": {}}), json!({"projected": {"defaultMode": 420}})),
            (json!({"downwardAPI": {}}), json!({"downwardAPI": {"defaultMode": 420}})),
            (json!({"hostPath": {"path": "/x"}}), json!({"hostPath": {"path": "/x", "type": ""}})),
            (json!({"hostPath": {"type": "Socket"}}), json!({"hostPath": {"type": "Socket"}})),
            (json!({"emptyDir": {}}), json!({"emptyDir": {}})),
            (json!({"configMap": null}), json!({"configMap": null})),
            (json!("odd"), json!("odd")),
        ];
        for (given, expected) in cases {
            let pod = Object::from_value(json!({"spec": {"volumes": [given.clone()]}})).unwrap();
            assert_eq!(fill(pod).into_value(), json!({"spec": {"volumes": [expected]}}), "{given}");
        }
        for untouched in [json!({}), json!({"spec": null}), json!({"spec": {"volumes": null}})] {
            let pod = Object::from_value(untouched.clone()).unwrap();
            assert_eq!(fill(pod).into_value(), untouched);
        }
    }

    #[test]
    fn a_config_map_always_has_data() {
        for (given, expected) in [
            (json!({"binaryData": {"k": "eA=="}}), json!({"binaryData": {"k": "eA=="}, "data": {}})),
            (json!({"data": null}), json!({"data": {}})),
            (json!({"data": {"k": "v"}}), json!({"data": {"k": "v"}})),
        ] {
            assert_eq!(with_data(Object::from_value(given).unwrap()).into_value(), expected);
        }
    }
}
