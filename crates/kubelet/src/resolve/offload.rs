//! Containers that stay in the cluster: they are taken out of the pod that is sent.

use std::collections::BTreeSet;

use interlink_wire::Object;
use serde_json::Value;

/// Annotation: containers that are not sent, comma separated.
const CONTAINERS: &str = "interlink.eu/disable-offload-containers";
/// Annotation: init containers that are not sent, comma separated.
const INIT_CONTAINERS: &str = "interlink.eu/disable-offload-init-containers";

/// The pod without the containers that its annotations keep back, and without volumes that only those mount.
pub(super) fn offloaded(mut pod: Object) -> Object {
    let kept_back = [("containers", CONTAINERS), ("initContainers", INIT_CONTAINERS)]
        .map(|(list, annotation)| (list, names(pod.annotation(annotation).unwrap_or(""))));
    let Some(spec) = pod.fields_mut().get_mut("spec").and_then(Value::as_object_mut) else { return pod };
    let mut removed = Vec::new();
    for (list, names) in &kept_back {
        if let Some(Value::Array(containers)) = spec.get_mut(*list) {
            removed.extend(containers.extract_if(.., |c| c["name"].as_str().is_some_and(|n| names.contains(n))));
        }
    }
    let mounted = |containers: &mut dyn Iterator<Item = &Value>| -> BTreeSet<String> {
        containers
            .filter_map(|c| c.get("volumeMounts")?.as_array())
            .flatten()
            .filter_map(|m| m.get("name")?.as_str())
            .map(str::to_owned)
            .collect()
    };
    let sent = mounted(&mut ["containers", "initContainers"].iter().filter_map(|l| spec.get(*l)?.as_array()).flatten());
    let unsent = mounted(&mut removed.iter());
    if let Some(Value::Array(volumes)) = spec.get_mut("volumes") {
        volumes.retain(|v| v["name"].as_str().is_none_or(|n| sent.contains(n) || !unsent.contains(n)));
    }
    pod
}

fn names(list: &str) -> BTreeSet<String> {
    list.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_that_are_kept_back_go_with_their_volumes() {
        let pod = json!({
            "metadata": {"annotations": {CONTAINERS: " proxy , ghost", INIT_CONTAINERS: "prepare"}},
            "spec": {
                "initContainers": [{"name": "prepare"}, {"name": "proxy"}],
                "containers": [
                    {"name": "app", "volumeMounts": [{"name": "both"}]},
                    {"name": "proxy", "volumeMounts": [{"name": "both"}, {"name": "claim"}]}],
                "volumes": [{"name": "both"}, {"name": "claim"}, {"name": "unmounted"}]}});
        let sent = offloaded(Object::from_value(pod).unwrap()).into_value();
        assert_eq!(sent["spec"]["initContainers"], json!([{"name": "proxy"}]));
        assert_eq!(sent["spec"]["containers"].as_array().unwrap().len(), 1);
        assert_eq!(sent["spec"]["volumes"], json!([{"name": "both"}, {"name": "unmounted"}]));
    }

    #[test]
    fn a_pod_without_the_annotations_stays_as_it_is() {
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "app"}], "volumes": null}});
        let pod = Object::from_value(pod).unwrap();
        assert_eq!(offloaded(pod.clone()), pod);
    }
}
