//! What a pod asks the scheduler for: one job holds all of its containers at once.
//!
//! The sum of the containers, or the largest init container where that is more, as kube-scheduler computes it
//! (<https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers>).
//! A limit counts; where there is none, the request does.

use interlink_wire::pod::{Container, PodSpec, Resources};
use interlink_wire::{PodExtract, Quantity};

use super::Refusal;

/// GPU resource names.
const GPUS: [&str; 2] = ["nvidia.com/gpu", "amd.com/gpu"];

/// What one job needs. `None`: the pod does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// CPU cores, rounded up.
    pub cpus: Option<u64>,
    /// Memory in MiB, rounded up.
    pub memory_mib: Option<u64>,
    /// GPUs.
    pub gpus: u64,
    /// `activeDeadlineSeconds`.
    pub deadline_seconds: Option<u64>,
}

impl Demand {
    /// Adds up a pod.
    ///
    /// # Errors
    /// [`Refusal`] names the container and the resource that is no quantity.
    pub fn of(pod: &PodExtract) -> Result<Self, Refusal> {
        let gpus = GPUS
            .iter()
            .try_fold(0, |sum, name| total(&pod.spec, name).map(|q| sum + q.map_or(0, |q| unsigned(q.ceil()))))?;
        let deadline = pod.spec.active_deadline_seconds.map(unsigned).filter(|s| *s > 0);
        Ok(Self {
            cpus: total(&pod.spec, "cpu")?.map(|q| unsigned(q.ceil())).filter(|n| *n > 0),
            memory_mib: total(&pod.spec, "memory")?.map(|q| unsigned(q.ceil_in(1 << 20))).filter(|n| *n > 0),
            gpus,
            deadline_seconds: deadline,
        })
    }
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn total(spec: &PodSpec, resource: &str) -> Result<Option<Quantity>, Refusal> {
    let mut together: Option<Quantity> = None;
    let mut peak: Option<Quantity> = None;
    for container in &spec.init_containers {
        let Some(wanted) = one(container, resource)? else { continue };
        let with_sidecars = together.unwrap_or_default().plus(wanted);
        peak = peak.max(Some(with_sidecars));
        if container.restart_policy.as_deref() == Some("Always") {
            together = Some(with_sidecars);
        }
    }
    for container in &spec.containers {
        if let Some(wanted) = one(container, resource)? {
            together = Some(together.unwrap_or_default().plus(wanted));
        }
    }
    Ok(together.max(peak))
}

fn one(container: &Container, resource: &str) -> Result<Option<Quantity>, Refusal> {
    let Resources { limits, requests } = &container.resources;
    let Some(text) = Resources::text(limits, resource).or_else(|| Resources::text(requests, resource)) else {
        return Ok(None);
    };
    let wrong = |why: String| {
        Refusal::invalid(format!("container {:?} asks for an impossible amount of {resource}: {why}", container.name))
    };
    let quantity: Quantity = text.parse().map_err(|e: interlink_wire::quantity::QuantityError| wrong(e.to_string()))?;
    if quantity.is_negative() {
        return Err(wrong(format!("{text} is below zero")));
    }
    Ok(Some(quantity))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::request::tests::request;

    fn demand(spec: Value) -> Result<Demand, Refusal> {
        Demand::of(&request(spec, json!({})).pod)
    }

    fn container(name: &str, cpu: &str, memory: &str) -> Value {
        json!({"name": name, "image": "i", "resources": {"limits": {"cpu": cpu, "memory": memory}}})
    }

    #[test]
    fn containers_add_up_and_are_rounded_once() {
        let spec = json!({"containers": [container("a", "600m", "100M"), container("b", "600m", "1")]});
        let found = demand(spec).unwrap();
        assert_eq!((found.cpus, found.memory_mib), (Some(2), Some(96)));
    }

    #[test]
    fn the_largest_init_container_counts_where_it_is_more() {
        let spec = json!({"initContainers": [container("i", "4", "1Mi"), container("j", "3", "2Mi")], "containers": [container("a", "1", "10Mi")]});
        let found = demand(spec).unwrap();
        assert_eq!((found.cpus, found.memory_mib), (Some(4), Some(10)));
    }

    #[test]
    fn a_sidecar_counts_beside_all_that_follow() {
        let mut sidecar = container("s", "1", "1Mi");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({"initContainers": [sidecar, container("i", "3", "1Mi")], "containers": [container("a", "1", "1Mi")]});
        assert_eq!(demand(spec).unwrap().cpus, Some(4));
    }

    #[test]
    fn what_is_not_said_is_left_to_the_scheduler() {
        let found = demand(json!({"containers": [{"name": "a", "image": "i"}]})).unwrap();
        assert_eq!(found, Demand::default());
    }

    #[test]
    fn gpus_of_both_makers_and_requests_count() {
        let spec = json!({"activeDeadlineSeconds": 90, "containers": [
            {"name": "a", "image": "i", "resources": {"limits": {"nvidia.com/gpu": 1}, "requests": {"cpu": "2"}}},
            {"name": "b", "image": "i", "resources": {"limits": {"amd.com/gpu": "2"}}}]});
        let found = demand(spec).unwrap();
        assert_eq!((found.gpus, found.cpus, found.deadline_seconds), (3, Some(2), Some(90)));
    }

    #[test]
    fn a_wrong_amount_is_named() {
        let spec = json!({"containers": [container("a", "many", "1")]});
        let refusal = demand(spec).unwrap_err();
        assert!(refusal.sentence.contains("container \"a\"") && refusal.sentence.contains("cpu"), "{refusal}");
        assert!(demand(json!({"containers": [container("a", "-1", "1")]})).is_err());
    }
}
