//! Which answer belongs to which pod, and what it takes for the answer to be safe for every kubelet. No I/O.

use std::collections::HashMap;

use interlink_wire::{ContainerState, ContainerStatus, Object, PodStatus};
use serde_json::Value;

/// The annotation in which kubelets keep the job id.
const JOB_ID_ANNOTATION: &str = "JobID";

/// Sorts a plugin's answers to the pods that were asked for: by UID, never by position, because plugins leave pods
/// out, reorder them and add others. An answer without a UID is taken by namespace and name.
///
/// The result is parallel to `asked`; `None` is a pod that the plugin does not know.
#[must_use]
pub fn assign(asked: &[Object], answered: Vec<PodStatus>) -> Vec<Option<PodStatus>> {
    let mut by_uid = HashMap::new();
    let mut by_name = HashMap::new();
    for status in answered {
        if status.uid.is_empty() {
            by_name.insert((status.namespace.clone(), status.name.clone()), status);
        } else {
            by_uid.insert(status.uid.clone(), status);
        }
    }
    let find = |pod: &Object| {
        let named = || by_name.remove(&(pod.namespace().to_owned(), pod.name().to_owned()));
        by_uid.remove(pod.uid()).or_else(named)
    };
    asked.iter().map(find).collect()
}

/// Fills what the plugin left out and a kubelet needs: identity, the job id, and one entry per container where there
/// is none, because the existing kubelet takes an empty list as "all containers ended well".
#[must_use]
pub fn complete(mut status: PodStatus, pod: &Object, known_jid: Option<&str>) -> PodStatus {
    pod.uid().clone_into(&mut status.uid);
    pod.name().clone_into(&mut status.name);
    pod.namespace().clone_into(&mut status.namespace);
    if status.jid.is_empty() {
        let jid = known_jid.filter(|jid| !jid.is_empty()).or_else(|| pod.annotation(JOB_ID_ANNOTATION));
        jid.unwrap_or("").clone_into(&mut status.jid);
    }
    if status.containers.is_empty() {
        status.containers = spec_containers(pod).map(waiting).collect();
    }
    status
}

/// Whether nothing more can happen to the pod: it has containers and all have ended.
#[must_use]
pub fn is_final(status: &PodStatus) -> bool {
    !status.containers.is_empty() && status.containers.iter().all(|c| c.state.terminated().is_some())
}

/// Whether the asking kubelet has already closed the pod, so a final status need not be asked for again.
#[must_use]
pub fn is_closed(pod: &Object) -> bool {
    matches!(pod.phase(), "Succeeded" | "Failed")
}

fn spec_containers(pod: &Object) -> impl Iterator<Item = &Value> {
    pod.fields().get("spec").and_then(|s| s.get("containers")).and_then(Value::as_array).into_iter().flatten()
}

fn waiting(container: &Value) -> ContainerStatus {
    let text = |key| container.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    ContainerStatus {
        name: text("name"),
        image: text("image"),
        state: ContainerState::waiting("ContainerCreating", "the plugin knows the pod but reports no container yet"),
        ..ContainerStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use interlink_wire::Envelope;
    use serde_json::json;

    use super::*;

    fn pod(uid: &str) -> Object {
        Object::from_value(json!({"metadata": {"name": format!("pod-{uid}"), "namespace": "n", "uid": uid},
            "spec": {"containers": [{"name": "a", "image": "busybox"}, {"name": "b"}]}}))
        .unwrap()
    }

    fn answers(value: Value) -> Vec<PodStatus> {
        PodStatus::decode_list(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn answers_are_matched_by_uid() {
        let asked = [pod("1"), pod("2"), pod("3")];
        let cases = [
            ("all, in another order", json!([{"UID": "3"}, {"UID": "1"}, {"UID": "2"}]), [true, true, true]),
            ("8: null", json!(null), [false, false, false]),
            ("9: fewer", json!([{"UID": "2"}]), [false, true, false]),
            ("10: others' pods", json!([{"UID": "9", "name": "pod-1", "namespace": "n"}]), [false, false, false]),
            ("without a UID, by name", json!([{"name": "pod-3", "namespace": "n"}]), [false, false, true]),
            ("without a UID, other namespace", json!([{"name": "pod-3", "namespace": "m"}]), [false, false, false]),
            (
                "twice: the last counts once",
                json!([{"UID": "1", "JID": "a"}, {"UID": "1", "JID": "b"}]),
                [true, false, false],
            ),
        ];
        for (case, answered, expected) in cases {
            let got = assign(&asked, answers(answered));
            assert_eq!(got.iter().map(Option::is_some).collect::<Vec<_>>(), expected, "{case}");
        }
    }

    #[test]
    fn no_status_goes_out_with_an_empty_container_list() {
        for sent in
            [json!({"UID": "1", "containers": null}), json!({"UID": "1", "containers": []}), json!({"UID": "1"})]
        {
            let status = complete(answers(json!([sent])).remove(0), &pod("1"), None);
            let names: Vec<_> = status.containers.iter().map(|c| (c.name.as_str(), c.image.as_str())).collect();
            assert_eq!(names, [("a", "busybox"), ("b", "")]);
            assert!(status.containers.iter().all(|c| matches!(c.state, ContainerState::Waiting(_))));
            assert!(!is_final(&status));
            assert_eq!((status.name.as_str(), status.namespace.as_str(), status.uid.as_str()), ("pod-1", "n", "1"));
        }
    }

    #[test]
    fn the_job_id_comes_from_the_plugin_then_the_create_then_the_annotation() {
        let mut annotated = pod("1");
        annotated.fields_mut()["metadata"]["annotations"] = json!({"JobID": "annotated"});
        for (plugin, known, expected) in [
            (json!("said"), Some("created"), "said"),
            (json!(null), Some("created"), "created"),
            (json!(""), Some(""), "annotated"),
            (json!(null), None, "annotated"),
        ] {
            let status = answers(json!([{"UID": "1", "JID": plugin}])).remove(0);
            assert_eq!(complete(status, &annotated, known).jid, expected);
        }
    }

    #[test]
    fn a_status_is_final_when_every_container_has_ended() {
        let ended = json!({"name": "a", "state": {"terminated": {"exitCode": 0}}});
        let runs = json!({"name": "b", "state": {"running": {}}});
        let not_known = json!({"name": "b", "state": {}});
        for (containers, expected) in [
            (json!([ended]), true),
            (json!([ended, ended]), true),
            (json!([ended, runs]), false),
            (json!([ended, not_known]), false),
            (json!([]), false),
        ] {
            assert_eq!(
                is_final(&answers(json!([{"UID": "1", "containers": containers}]))[0]),
                expected,
                "{containers}"
            );
        }
        for (phase, closed) in
            [("Succeeded", true), ("Failed", true), ("Running", false), ("Pending", false), ("", false)]
        {
            let pod = Object::from_value(json!({"status": {"phase": phase}})).unwrap();
            assert_eq!(is_closed(&pod), closed, "{phase}");
        }
    }
}
