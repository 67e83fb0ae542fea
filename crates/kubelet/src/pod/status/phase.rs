//! The phase of a pod.

use interlink_wire::ContainerState;

use super::containers::Shown;

/// Whether nothing can follow.
pub(super) fn is_final(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// The phase, where it was `before`.
///
/// As the kubelet's, but for one thing: a batch job is not started again by us, and the supervisor that obeys the restart
/// policy reports a container as ended only when it stays so. So a pod whose containers have all ended has ended, under
/// any restart policy.
pub(super) fn of(before: &str, inits: &[Shown], containers: &[Shown], restart_policy: &str) -> &'static str {
    match before {
        "Succeeded" => return "Succeeded",
        "Failed" => return "Failed",
        _ => {}
    }
    let sent: Vec<&ContainerState> = containers.iter().filter(|c| !c.kept_back).map(|c| &c.status.state).collect();
    let ends: Vec<i32> = sent.iter().filter_map(|s| s.terminated()).map(|t| t.exit_code).collect();
    let init_failed = inits.iter().any(|i| !i.sidecar && i.status.state.terminated().is_some_and(|t| t.exit_code != 0));
    if !sent.is_empty() && ends.len() == sent.len() {
        return if init_failed || ends.iter().any(|code| *code != 0) { "Failed" } else { "Succeeded" };
    }
    if init_failed && restart_policy == "Never" {
        return "Failed";
    }
    let initialised = inits.iter().all(is_initialised);
    let begun = |c: &&Shown| {
        c.status.state.is_running()
            || c.status.state.terminated().is_some()
            || c.status.last_state.terminated().is_some()
    };
    let any_begun = containers.iter().filter(|c| !c.kept_back).any(|c| begun(&c));
    let all_begun = containers.iter().filter(|c| !c.kept_back).all(|c| begun(&c));
    let running = any_begun && (all_begun && initialised || before == "Running");
    if running { "Running" } else { "Pending" }
}

/// Whether an init container no longer keeps the others waiting.
pub(super) fn is_initialised(init: &Shown) -> bool {
    match &init.status.state {
        ContainerState::Terminated(end) => init.sidecar || end.exit_code == 0,
        ContainerState::Running(_) => init.sidecar,
        _ => init.kept_back,
    }
}
