//! One status per container of the spec.

use interlink_wire::status::{Running, Terminated};
use interlink_wire::{ContainerState, ContainerStatus, Object, PodStatus};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{ForcedEnd, seconds};

/// Waiting reason while a create is under way. To a peer that would submit twice, it is written before anything is sent.
pub const SUBMITTING: &str = "Submitting";

/// Waiting reason and status of a container that is not part of what is sent.
const NOT_OFFLOADED: &str = "NotOffloaded";

/// Why a container waits of which nothing is known.
pub(super) struct Waiting {
    pub(super) reason: String,
    pub(super) message: String,
}

/// A container's status, and what of its spec matters for the pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown {
    pub(super) status: ContainerStatus,
    /// A restartable init container.
    pub(super) sidecar: bool,
    /// Kept back from the remote side, so nothing depends on it.
    pub(super) kept_back: bool,
}

/// The statuses alone.
pub(super) fn list(shown: Vec<Shown>) -> Value {
    shown.into_iter().filter_map(|s| serde_json::to_value(s.status).ok()).collect()
}

/// What of a pod's spec its status is made of.
pub(super) struct Names<'a> {
    object: &'a Object,
}

impl<'a> Names<'a> {
    pub(super) fn of(object: &'a Object) -> Self {
        Self { object }
    }

    fn spec(&self, key: &str) -> Option<&'a Value> {
        self.object.fields().get("spec")?.get(key)
    }

    pub(super) fn restart_policy(&self) -> &'a str {
        self.spec("restartPolicy").and_then(Value::as_str).unwrap_or("Always")
    }

    pub(super) fn readiness_gates(&self) -> Vec<&'a str> {
        let gates = self.spec("readinessGates").and_then(Value::as_array);
        gates.into_iter().flatten().filter_map(|g| g.get("conditionType")?.as_str()).collect()
    }

    pub(super) fn main(
        &self,
        previous: &Value,
        remote: Option<&PodStatus>,
        waiting: &Waiting,
        end: Option<&ForcedEnd>,
        now: Timestamp,
    ) -> Vec<Shown> {
        let told = remote.map_or(&[][..], |r| &r.containers);
        self.each(
            "containers",
            "containerStatuses",
            "interlink.eu/disable-offload-containers",
            previous,
            remote,
            told,
            waiting,
            end,
            now,
        )
    }

    pub(super) fn init(
        &self,
        previous: &Value,
        remote: Option<&PodStatus>,
        waiting: &Waiting,
        end: Option<&ForcedEnd>,
        now: Timestamp,
    ) -> Vec<Shown> {
        let told = remote.map_or(&[][..], |r| &r.init_containers);
        let kept_back = "interlink.eu/disable-offload-init-containers";
        self.each("initContainers", "initContainerStatuses", kept_back, previous, remote, told, waiting, end, now)
    }

    #[allow(clippy::too_many_arguments)]
    fn each(
        &self,
        list: &str,
        statuses: &str,
        kept_back: &str,
        previous: &Value,
        remote: Option<&PodStatus>,
        told: &[ContainerStatus],
        waiting: &Waiting,
        end: Option<&ForcedEnd>,
        now: Timestamp,
    ) -> Vec<Shown> {
        let before: Vec<ContainerStatus> =
            previous.get(statuses).and_then(|s| Vec::deserialize(s).ok()).unwrap_or_default();
        let kept_back: Vec<&str> = self.object.annotation(kept_back).unwrap_or("").split(',').map(str::trim).collect();
        // Peers that don't count their reports don't judge readiness either: what runs is ready to them.
        let judges_readiness = remote.is_some_and(|r| r.sequence.is_some());
        let containers = self.spec(list).and_then(Value::as_array).into_iter().flatten();
        containers
            .map(|container| {
                let text = |key: &str| container.get(key).and_then(Value::as_str).unwrap_or("");
                let name = text("name");
                let sidecar = text("restartPolicy") == "Always";
                let kept_back = kept_back.contains(&name);
                let before = before.iter().find(|s| s.name == name);
                let told = told.iter().find(|s| s.name == name);
                let mut status = if kept_back {
                    let message = "kept out of the remote pod by annotation";
                    ContainerStatus {
                        state: ContainerState::waiting(NOT_OFFLOADED, message),
                        ..ContainerStatus::default()
                    }
                } else {
                    merged(before, told, waiting, self.restart_policy(), judges_readiness)
                };
                if let Some(end) = end
                    && status.state.terminated().is_none()
                    && !kept_back
                {
                    close(&mut status, end, now);
                }
                name.clone_into(&mut status.name);
                if status.image.is_empty() {
                    text("image").clone_into(&mut status.image);
                }
                Shown { status, sidecar, kept_back }
            })
            .collect()
    }
}

/// What is shown after `told`, where `before` was shown.
fn merged(
    before: Option<&ContainerStatus>,
    told: Option<&ContainerStatus>,
    waiting: &Waiting,
    policy: &str,
    judges_readiness: bool,
) -> ContainerStatus {
    let Some(told) = told.filter(|t| t.state != ContainerState::Unknown) else {
        return match before {
            // Our own word about the way to the remote side gives way to the newest one.
            Some(before) if !matches!(before.state, ContainerState::Waiting(_)) => before.clone(),
            _ => ContainerStatus {
                state: ContainerState::waiting(&waiting.reason, &waiting.message),
                ..ContainerStatus::default()
            },
        };
    };
    if let Some(before) = before
        && let Some(ended) = before.state.terminated()
        && told.state.terminated().is_none()
    {
        // Kubernetes refuses to take these back; and without a restart nothing that ended can run again.
        let is_final = policy == "Never" || (policy == "OnFailure" && ended.exit_code == 0);
        if is_final || told.restart_count <= before.restart_count {
            return before.clone();
        }
    }
    let mut status = told.clone();
    status.extra.clear();
    status.state = tidy(status.state);
    status.last_state = tidy(status.last_state);
    status.restart_count = status.restart_count.max(before.map_or(0, |b| b.restart_count)).max(0);
    let running = status.state.is_running();
    status.ready = running && (status.ready || !judges_readiness);
    status.started = Some(running && status.started.unwrap_or(true));
    if let ContainerState::Waiting(waiting) = &mut status.state
        && waiting.reason.is_empty()
    {
        waiting.reason = "ContainerCreating".into();
    }
    status
}

/// Times as Kubernetes keeps them, and a reason for every end.
fn tidy(state: ContainerState) -> ContainerState {
    match state {
        ContainerState::Running(running) => {
            ContainerState::Running(Running { started_at: running.started_at.map(seconds) })
        }
        ContainerState::Terminated(mut ended) => {
            ended.started_at = ended.started_at.map(seconds);
            ended.finished_at = ended.finished_at.map(seconds);
            if ended.reason.is_empty() {
                ended.reason = if ended.exit_code == 0 { "Completed" } else { "Error" }.into();
            }
            ContainerState::Terminated(ended)
        }
        other => other,
    }
}

fn close(status: &mut ContainerStatus, end: &ForcedEnd, now: Timestamp) {
    let started_at = match &status.state {
        ContainerState::Running(running) => running.started_at,
        _ => None,
    };
    status.state = ContainerState::Terminated(Terminated {
        exit_code: end.exit_code,
        signal: None,
        reason: end.reason.to_owned(),
        message: end.message.clone(),
        started_at,
        finished_at: Some(seconds(now)),
        container_id: status.container_id.clone(),
    });
    status.ready = false;
    status.started = Some(false);
}

fn states(object: &Object) -> impl Iterator<Item = &Value> {
    let status = object.fields().get("status");
    ["containerStatuses", "initContainerStatuses"]
        .into_iter()
        .filter_map(move |list| status?.get(list)?.as_array())
        .flatten()
        .filter_map(|container| container.get("state"))
}

pub(super) fn any_waiting(object: &Object, reasons: &[&str]) -> bool {
    states(object)
        .any(|s| s.get("waiting").and_then(|w| w.get("reason")?.as_str()).is_some_and(|r| reasons.contains(&r)))
}

pub(super) fn any_started(object: &Object) -> bool {
    states(object).any(|s| s.get("running").is_some() || s.get("terminated").is_some())
}

pub(super) fn any(object: &Object) -> bool {
    states(object).next().is_some()
}
