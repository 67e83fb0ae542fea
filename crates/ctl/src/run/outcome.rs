//! When a pod has ended, and with which exit code `run` ends. Pure.

use interlink_wire::{ContainerState, ContainerStatus, PodStatus};

/// Exit code for a pod that failed with a code which a process cannot have (0 is success, the rest must fit a byte).
const OUT_OF_RANGE: u8 = 255;

/// The pod's exit code once it has ended, else `None`.
///
/// It has ended when every container has, or when an init container failed and no container was started: then the
/// containers never start. The code is that of the first failing container in the order of the spec, init containers
/// first; 0 if none failed.
#[must_use]
pub fn exit_code(status: &PodStatus) -> Option<u8> {
    let ended = |list: &[ContainerStatus]| list.iter().all(|c| c.state.terminated().is_some());
    let started = status.containers.iter().any(|c| !matches!(c.state, ContainerState::Waiting(_)));
    let failed_init = first_failure(&status.init_containers);
    let done = !status.containers.is_empty() && ended(&status.containers) && ended(&status.init_containers);
    if done {
        return Some(failed_init.or_else(|| first_failure(&status.containers)).unwrap_or(0));
    }
    if started { None } else { failed_init }
}

fn first_failure(list: &[ContainerStatus]) -> Option<u8> {
    let codes = list.iter().filter_map(|c| c.state.terminated()).map(|t| t.exit_code);
    codes.filter(|code| *code != 0).map(|code| u8::try_from(code).unwrap_or(OUT_OF_RANGE)).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlink_wire::Envelope;
    use serde_json::json;

    /// `w` waiting, `r` running, `?` unknown, a number: terminated with it.
    fn pod(init: &[&str], main: &[&str]) -> PodStatus {
        let list = |states: &[&str]| {
            let entries = states.iter().enumerate().map(|(i, state)| {
                let state = match *state {
                    "w" => json!({"waiting": {}}),
                    "r" => json!({"running": {}}),
                    "?" => json!({}),
                    code => json!({"terminated": {"exitCode": code.parse::<i32>().unwrap()}}),
                };
                json!({"name": format!("c{i}"), "state": state})
            });
            entries.collect::<Vec<_>>()
        };
        PodStatus::from_value(json!({"name": "p", "containers": list(main), "initContainers": list(init)})).unwrap()
    }

    #[test]
    fn the_first_failing_container_in_spec_order_decides() {
        let cases: [(&[&str], &[&str], Option<u8>); 16] = [
            (&[], &["0"], Some(0)),
            (&[], &["3"], Some(3)),
            (&[], &["0", "7", "9"], Some(7)),
            (&["5"], &["9"], Some(5)),
            (&["0"], &["0", "0"], Some(0)),
            (&[], &["0", "r"], None),
            (&[], &["3", "w"], None),
            (&[], &["w"], None),
            (&[], &["?"], None),
            (&["r"], &["w"], None),
            (&["0", "w"], &["w"], None),
            (&["4", "w"], &["w", "w"], Some(4)),
            (&["4"], &["r"], None),
            (&[], &["137"], Some(137)),
            (&[], &["-1"], Some(255)),
            (&[], &["512"], Some(255)),
        ];
        for (init, main, code) in cases {
            assert_eq!(exit_code(&pod(init, main)), code, "{init:?} {main:?}");
        }
    }

    #[test]
    fn a_status_without_containers_says_nothing() {
        assert_eq!(exit_code(&pod(&[], &[])), None);
    }
}
