//! Pods that ask for this node by name or label but do not tolerate its taints stay Pending for ever, and the scheduler
//! only says "had untolerated taint". An Event on such a pod names the toleration that is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use interlink_wire::Object;
use interlink_wire::pod::PodExtract;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::api::Kube;
use super::events::Events;
use crate::node::Taint;
use crate::source::Note;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(15);
/// At most so many waiting pods are looked at; more wait for other reasons than ours.
const LIMIT: usize = 500;

/// What a pod has to match and to tolerate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Offer {
    /// Name of the node.
    pub node: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints that keep pods out.
    pub taints: Vec<Taint>,
}

/// Looks at waiting pods until `shutdown`.
pub async fn run(kube: Kube, events: Events, offer: watch::Receiver<Offer>, shutdown: CancellationToken) {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D,status.phase%3DPending&limit={LIMIT}");
    let mut complained = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        let offer = offer.borrow().clone();
        match kube.get(&path).await {
            Ok(list) => {
                complained = false;
                for pod in list.get("items").and_then(Value::as_array).into_iter().flatten() {
                    let Some(pod) = Object::from_value(pod.clone()) else { continue };
                    if let Some(sentence) = missing(&pod, &offer) {
                        events.tell(&pod, Note::warning("MissingToleration", sentence));
                    }
                }
            }
            Err(error) if !complained => {
                complained = true;
                tracing::warn!(err = %error, "waiting pods can't be listed, so nobody tells them of a missing toleration");
            }
            Err(_) => {}
        }
    }
}

/// What keeps a pod off the node that it asks for; `None` if it does not ask for it, or nothing does.
#[must_use]
pub fn missing(pod: &Object, offer: &Offer) -> Option<String> {
    let extract = PodExtract::from_object(pod).ok()?;
    if !asks_for(pod, &extract, offer) {
        return None;
    }
    let lacking: Vec<&Taint> =
        offer.taints.iter().filter(|t| t.keeps_out() && !t.is_tolerated(&extract.spec.tolerations)).collect();
    let (first, more) = lacking.split_first()?;
    let taints = std::iter::once(first).chain(more).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let yaml = lacking.iter().map(|t| format!("{{key: {}, operator: Exists}}", t.key)).collect::<Vec<_>>().join(", ");
    Some(format!(
        "node {} is asked for, but its taint {taints} is not tolerated; add to the pod's spec: tolerations: [{yaml}]",
        offer.node
    ))
}

fn asks_for(pod: &Object, extract: &PodExtract, offer: &Offer) -> bool {
    let selector = &extract.spec.node_selector;
    let fits = selector.iter().all(|(key, value)| offer.labels.get(key) == Some(value));
    fits && (!selector.is_empty() || named_by_affinity(pod, &offer.node))
}

/// Whether the required node affinity names the node, as a field or by its host name.
fn named_by_affinity(pod: &Object, node: &str) -> bool {
    let required = pod.fields().get("spec").and_then(|spec| {
        spec.get("affinity")?
            .get("nodeAffinity")?
            .get("requiredDuringSchedulingIgnoredDuringExecution")?
            .get("nodeSelectorTerms")
    });
    let terms = required.and_then(Value::as_array).into_iter().flatten();
    let expressions = terms.flat_map(|term| {
        ["matchFields", "matchExpressions"].into_iter().filter_map(|list| term.get(list)?.as_array()).flatten()
    });
    expressions.into_iter().any(|e| {
        let text = |key: &str| e.get(key).and_then(Value::as_str).unwrap_or("");
        let values = e.get("values").and_then(Value::as_array).into_iter().flatten();
        matches!(text("key"), "metadata.name" | "kubernetes.io/hostname")
            && text("operator") == "In"
            && values.into_iter().any(|v| v.as_str() == Some(node))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_pods_that_ask_for_the_node_are_told_what_is_missing() {
        let offer = Offer {
            node: "n1".into(),
            labels: [("kubernetes.io/hostname", "n1"), ("type", "batch")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            taints: vec![Taint::fixed(), Taint::read("soft", "", "PreferNoSchedule").0],
        };
        let tolerations = json!([{"key": "virtual-node.interlink/no-schedule", "operator": "Exists"}]);
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]}}});
        let cases = [
            (json!({"nodeSelector": {"kubernetes.io/hostname": "n1"}}), true),
            (json!({"nodeSelector": {"type": "batch"}}), true),
            (json!({"nodeSelector": {"type": "batch", "zone": "a"}}), false),
            (json!({"nodeSelector": {"kubernetes.io/hostname": "n2"}}), false),
            (json!({"affinity": affinity}), true),
            (json!({"affinity": affinity, "nodeSelector": {"zone": "a"}}), false),
            (json!({}), false),
            (json!({"nodeSelector": {"type": "batch"}, "tolerations": tolerations}), false),
        ];
        for (spec, told) in cases {
            let pod = Object::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
            assert_eq!(missing(&pod, &offer).is_some(), told, "{spec}");
        }
        let pod = Object::from_value(json!({"spec": {"nodeSelector": {"type": "batch"}}})).unwrap();
        assert_eq!(
            missing(&pod, &offer).unwrap(),
            "node n1 is asked for, but its taint virtual-node.interlink/no-schedule=true:NoSchedule is not tolerated; \
             add to the pod's spec: tolerations: [{key: virtual-node.interlink/no-schedule, operator: Exists}]"
        );
    }
}
