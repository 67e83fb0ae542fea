//! What `run` and `demo` say about a pod as it changes: one line per change. Pure.

use interlink_wire::{ContainerState, ContainerStatus, PodStatus};

/// What was said last, so that nothing is said twice.
#[derive(Debug, Default)]
pub struct Teller {
    job: String,
    node: String,
    containers: Vec<(String, String)>,
}

impl Teller {
    /// The lines that `status` adds to what has been said, without the pod's name.
    ///
    /// Where all containers are in the same state, one line speaks of the pod.
    pub fn lines(&mut self, status: &PodStatus) -> Vec<String> {
        let mut lines = Vec::new();
        if !status.jid.is_empty() && status.jid != self.job {
            lines.push(format!("is job {}", status.jid));
            self.job.clone_from(&status.jid);
        }
        if let Some(node) = status.node_name.as_ref().filter(|node| !node.is_empty() && **node != self.node) {
            lines.push(format!("is on node {node}"));
            self.node.clone_from(node);
        }
        let now: Vec<(String, String)> =
            [("init container", &status.init_containers), ("container", &status.containers)]
                .into_iter()
                .flat_map(|(kind, list)| list.iter().map(move |c| (format!("{kind} {}", c.name), describe(c))))
                .collect();
        let changed: Vec<_> = now.iter().filter(|entry| !self.containers.contains(entry)).collect();
        match (changed.first(), now.first()) {
            (None, _) | (_, None) => {}
            (Some(_), Some((_, state))) if now.iter().all(|(_, other)| other == state) => lines.push(state.clone()),
            _ => lines.extend(changed.iter().map(|(name, state)| format!("{name}: {state}"))),
        }
        self.containers = now;
        lines
    }
}

/// The state of a container in the words of `kubectl get pod`, with what the plugin says about it.
fn describe(container: &ContainerStatus) -> String {
    let reasons = |reason: &str, message: &str| match (reason.trim(), message.trim()) {
        ("", "") => String::new(),
        ("", said) | (said, "") => format!(" ({said})"),
        (reason, message) => format!(" ({reason}: {message})"),
    };
    match &container.state {
        ContainerState::Unknown => "Unknown".to_owned(),
        ContainerState::Waiting(w) => format!("Pending{}", reasons(&w.reason, &w.message)),
        ContainerState::Running(_) => "Running".to_owned(),
        ContainerState::Terminated(t) if t.exit_code == 0 => "Succeeded".to_owned(),
        ContainerState::Terminated(t) => {
            let ending = t.signal.map_or_else(|| format!("exit code {}", t.exit_code), |s| format!("signal {s}"));
            // "Error" says no more than "Failed" does.
            let reason = if t.reason == "Error" { "" } else { t.reason.as_str() };
            format!("Failed ({ending}){}", reasons(reason, &t.message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlink_wire::Envelope;
    use serde_json::{Value, json};

    fn status(jid: &str, init: &[Value], main: &[Value]) -> PodStatus {
        let list = |prefix: &str, states: &[Value]| {
            let entries = states.iter().enumerate().map(|(i, s)| json!({"name": format!("{prefix}{i}"), "state": s}));
            entries.collect::<Vec<_>>()
        };
        let value = json!({"name": "p", "JID": jid, "containers": list("c", main), "initContainers": list("i", init)});
        PodStatus::from_value(value).unwrap()
    }

    #[test]
    fn each_change_is_told_once() {
        let queued = json!({"waiting": {"reason": "Queued", "message": "Priority"}});
        let running = json!({"running": {}});
        let done = json!({"terminated": {"exitCode": 0}});
        let failed = json!({"terminated": {"exitCode": 3, "reason": "Error"}});
        let mut teller = Teller::default();
        assert_eq!(teller.lines(&status("", &[], std::slice::from_ref(&queued))), ["Pending (Queued: Priority)"]);
        assert_eq!(teller.lines(&status("42", &[], std::slice::from_ref(&queued))), ["is job 42"]);
        assert!(teller.lines(&status("42", &[], &[queued])).is_empty());
        assert_eq!(teller.lines(&status("42", &[], &[running])), ["Running"]);
        assert_eq!(teller.lines(&status("42", &[], std::slice::from_ref(&failed))), ["Failed (exit code 3)"]);
        assert!(teller.lines(&status("42", &[], &[failed])).is_empty());
        assert_eq!(teller.lines(&status("42", &[], &[done])), ["Succeeded"]);
    }

    #[test]
    fn several_containers_are_named_unless_they_agree() {
        let waiting = json!({"waiting": {"reason": "PodInitializing"}});
        let running = json!({"running": {}});
        let done = json!({"terminated": {"exitCode": 0}});
        let killed = json!({"terminated": {"exitCode": 137, "signal": 9, "reason": "OOMKilled", "message": "4 GiB"}});
        let mut teller = Teller::default();
        let first = status("", std::slice::from_ref(&waiting), &[waiting.clone(), waiting.clone()]);
        assert_eq!(teller.lines(&first), ["Pending (PodInitializing)"]);
        let second = status("", std::slice::from_ref(&running), &[waiting.clone(), waiting]);
        assert_eq!(teller.lines(&second), ["init container i0: Running"]);
        let third = status("", std::slice::from_ref(&done), &[running.clone(), running]);
        assert_eq!(
            teller.lines(&third),
            ["init container i0: Succeeded", "container c0: Running", "container c1: Running"]
        );
        let fourth = status("", std::slice::from_ref(&done), &[done.clone(), killed]);
        assert_eq!(
            teller.lines(&fourth),
            ["container c0: Succeeded", "container c1: Failed (signal 9) (OOMKilled: 4 GiB)"]
        );
    }

    #[test]
    fn a_status_without_containers_is_silent() {
        assert!(Teller::default().lines(&status("", &[], &[])).is_empty());
    }
}
