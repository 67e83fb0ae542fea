//! What the API server fills in, as far as anyone behind us reads it.
//!
//! Source: the defaults in <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>.

use interlink_wire::Object;
use serde_json::{Map, Value, json};

/// Namespace `default`.
pub(super) fn metadata(object: &mut Object) {
    if object.namespace().is_empty() {
        let metadata = object.fields_mut().entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("namespace".to_owned(), json!("default"));
        }
    }
}

/// The defaults of a Pod.
pub(super) fn pod(object: &mut Object) {
    let Some(spec) = object.fields_mut().get_mut("spec").and_then(Value::as_object_mut) else { return };
    fill(spec, "restartPolicy", || json!("Always"));
    fill(spec, "terminationGracePeriodSeconds", || json!(30));
    fill(spec, "dnsPolicy", || json!("ClusterFirst"));
    fill(spec, "schedulerName", || json!("default-scheduler"));
    fill(spec, "securityContext", || json!({}));
    fill(spec, "enableServiceLinks", || json!(true));
    for list in ["initContainers", "containers"] {
        each(spec.get_mut(list), container);
    }
    each(spec.get_mut("volumes"), volume);
}

fn container(container: &mut Map<String, Value>) {
    let latest = is_latest(container.get("image").and_then(Value::as_str).unwrap_or(""));
    fill(container, "imagePullPolicy", || json!(if latest { "Always" } else { "IfNotPresent" }));
    fill(container, "terminationMessagePath", || json!("/dev/termination-log"));
    fill(container, "terminationMessagePolicy", || json!("File"));
    fill(container, "resources", || json!({}));
    if let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) {
        let limits = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
        if !limits.is_empty() {
            fill(resources, "requests", || json!({}));
        }
        if let Some(requests) = resources.get_mut("requests").and_then(Value::as_object_mut) {
            for (resource, limit) in limits {
                fill(requests, &resource, || limit);
            }
        }
    }
    each(container.get_mut("ports"), |port| fill(port, "protocol", || json!("TCP")));
    each(container.get_mut("env"), |var| field_ref(var.get_mut("valueFrom")));
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name).and_then(Value::as_object_mut) {
            for (key, number) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                fill(probe, key, || json!(number));
            }
            if let Some(http) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
                fill(http, "path", || json!("/"));
                fill(http, "scheme", || json!("HTTP"));
            }
        }
    }
}

fn volume(volume: &mut Map<String, Value>) {
    let has_source = volume.iter().any(|(key, value)| key != "name" && !value.is_null());
    if !has_source {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for kind in ["configMap", "secret", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(kind).and_then(Value::as_object_mut) {
            fill(source, "defaultMode", || json!(420));
        }
    }
    if let Some(source) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        fill(source, "type", || json!(""));
    }
    let items = |source: Option<&mut Value>| {
        each(source.and_then(|s| s.get_mut("items")), field_ref_in);
    };
    items(volume.get_mut("downwardAPI"));
    each(volume.get_mut("projected").and_then(|p| p.get_mut("sources")), |source| {
        items(source.get_mut("downwardAPI"));
        if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
            fill(token, "expirationSeconds", || json!(3600));
        }
    });
}

fn field_ref(holder: Option<&mut Value>) {
    if let Some(holder) = holder.and_then(Value::as_object_mut) {
        field_ref_in(holder);
    }
}

fn field_ref_in(holder: &mut Map<String, Value>) {
    if let Some(reference) = holder.get_mut("fieldRef").and_then(Value::as_object_mut) {
        fill(reference, "apiVersion", || json!("v1"));
    }
    if let Some(reference) = holder.get_mut("resourceFieldRef").and_then(Value::as_object_mut) {
        fill(reference, "divisor", || json!("0"));
    }
}

/// No tag, or `latest`; a digest is never the latest.
fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn fill(map: &mut Map<String, Value>, key: &str, value: impl FnOnce() -> Value) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value());
    }
}

fn each(list: Option<&mut Value>, change: impl Fn(&mut Map<String, Value>)) {
    for item in list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        change(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_the_defaults_of_the_api_server() {
        let mut object = Object::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{
                "name": "c", "image": "busybox", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "500m"}},
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 3}}],
            "volumes": [
                {"name": "empty"}, {"name": "config", "configMap": {"name": "c"}}, {"name": "secret", "secret": {"secretName": "s", "defaultMode": 256}},
                {"name": "host", "hostPath": {"path": "/x"}},
                {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}]}}))
        .unwrap();
        metadata(&mut object);
        pod(&mut object);
        let expected = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "securityContext": {}, "enableServiceLinks": true,
            "containers": [{
                "name": "c", "image": "busybox", "imagePullPolicy": "Always", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "periodSeconds": 3, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3}}],
            "volumes": [
                {"name": "empty", "emptyDir": {}}, {"name": "config", "configMap": {"name": "c", "defaultMode": 420}}, {"name": "secret", "secret": {"secretName": "s", "defaultMode": 256}},
                {"name": "host", "hostPath": {"path": "/x", "type": ""}},
                {"name": "all", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}, {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}]}}]}}]}});
        assert_eq!(object.into_value(), expected);
    }

    #[test]
    fn only_the_latest_image_is_always_pulled() {
        let cases = [
            ("busybox", true),
            ("busybox:latest", true),
            ("busybox:1.36", false),
            ("registry:5000/busybox", true),
            ("registry:5000/a/busybox:1", false),
            ("busybox@sha256:abc", false),
            ("docker://busybox", true),
            ("/images/x.sif", true),
        ];
        for (image, latest) in cases {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
