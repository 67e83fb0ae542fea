//! The life of a pod: init containers one by one, then all containers together, until all have ended.
//!
//! ```text
//! slot:  Waiting ─▶ Starting ─▶ Running ─▶ Ended
//!           └─── failed init, stop ─────────▲
//! ```
//!
//! Every container runs once, whatever `restartPolicy` says: a batch job ends when its work does.

use std::collections::BTreeMap;

use interlink_wire::status::{ContainerState, Running, Terminated};
use interlink_wire::{ContainerStatus, JobId};
use jiff::Timestamp;

use super::{End, Happening, How, ending};
use crate::launch::{ContainerLaunch, Launch, RestartPolicy};
use crate::layout::Kind;
use crate::report::{Ending, Report};
use crate::runtime;

/// A container of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ContainerId {
    pub(crate) kind: Kind,
    /// Place in its list.
    pub(crate) index: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Slot {
    /// Its turn has not come.
    Waiting,
    /// Handed out to be started, once and for all; with what keeps it from running.
    Starting(String),
    Running(Timestamp),
    Ended(Terminated),
}

/// The state of one pod.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    id: String,
    job_id: JobId,
    node_name: String,
    containers: BTreeMap<ContainerId, (ContainerLaunch, Slot)>,
    restart_policy: RestartPolicy,
    started: bool,
    ending: Option<Ending>,
}

impl Lifecycle {
    pub(crate) fn new(launch: &Launch, job_id: JobId, node_name: String) -> Self {
        let list = |kind, list: &[ContainerLaunch]| -> Vec<_> {
            let slots =
                list.iter().enumerate().map(|(index, c)| (ContainerId { kind, index }, (c.clone(), Slot::Waiting)));
            slots.collect()
        };
        let containers =
            list(Kind::Init, &launch.init_containers).into_iter().chain(list(Kind::Main, &launch.containers));
        Self {
            id: launch.uid.to_string(),
            job_id,
            node_name,
            containers: containers.collect(),
            restart_policy: launch.restart_policy,
            started: false,
            ending: None,
        }
    }

    /// What to start first. From here on the pod counts as started.
    pub(crate) fn begin(&mut self) -> Vec<ContainerId> {
        self.started = true;
        self.next()
    }

    /// Takes in what a container did; answers what to start now.
    pub(crate) fn happened(&mut self, id: ContainerId, happening: Happening) -> Vec<ContainerId> {
        let Some((container, slot)) = self.containers.get_mut(&id) else { return Vec::new() };
        match happening {
            Happening::Preparing(message) => *slot = Slot::Starting(message),
            Happening::Started(at) => *slot = Slot::Running(at),
            Happening::Ended(mut end) => {
                let failed = !matches!(end.how, How::Exited { code: 0, .. });
                if failed && self.ending.is_none() && self.restart_policy != RestartPolicy::Never {
                    end.notes.push(format!(
                        "it is not restarted: a batch job runs a pod once, also with restartPolicy {:?}",
                        self.restart_policy
                    ));
                }
                let (at, name) = (end.at, container.name.clone());
                let ended = Self::conclude(slot, end, self.ending.as_ref());
                let code = ended.exit_code;
                *slot = Slot::Ended(ended);
                if id.kind == Kind::Init && code != 0 {
                    let why = format!("init container {name:?} failed with exit code {code}");
                    self.end_waiting(|_| {
                        ending::never_ran(code, "InitContainerFailed", format!("{why}; it was not started"), at)
                    });
                }
                return self.next();
            }
        }
        Vec::new()
    }

    fn conclude(slot: &Slot, end: End, why: Option<&Ending>) -> Terminated {
        let since = match slot {
            Slot::Running(at) => Some(*at),
            _ => None,
        };
        // a container that could not be started was not ended by anyone
        let why = if matches!(end.how, How::NotStarted(_)) { None } else { why };
        ending::terminated(end, since, why)
    }

    /// Ends the pod: nothing more is started; what runs is for the caller to end. The first reason stays.
    pub(crate) fn stop(&mut self, ending: Ending, at: Timestamp) {
        if self.ending.is_none() && !self.finished() {
            self.end_waiting(|_| ending::not_reached(&ending, at));
            self.ending = Some(ending);
        }
    }

    /// Ends a pod whose earlier supervisor is gone: what that one knew to have ended stays as it was.
    pub(crate) fn give_up_lost(&mut self, known: &Report, ending: Ending, at: Timestamp) {
        self.started = true;
        for (id, (_, slot)) in &mut self.containers {
            let list = if id.kind == Kind::Init { &known.init } else { &known.containers };
            *slot = Slot::Ended(match list.get(id.index).map(|status| &status.state) {
                Some(ContainerState::Terminated(ended)) => ended.clone(),
                Some(ContainerState::Running(running)) => ending::lost(running.started_at, &ending.message, at),
                _ => ending::lost(None, &ending.message, at),
            });
        }
        self.ending = Some(ending);
    }

    fn end_waiting(&mut self, state: impl Fn(ContainerId) -> Terminated) {
        for (id, (_, slot)) in &mut self.containers {
            if *slot == Slot::Waiting {
                *slot = Slot::Ended(state(*id));
            }
        }
    }

    /// Hands out the containers whose turn it is: the first init container that has not ended, or all of the others.
    fn next(&mut self) -> Vec<ContainerId> {
        let left = |kind| {
            self.containers.iter().filter(move |(id, (_, slot))| id.kind == kind && !matches!(slot, Slot::Ended(_)))
        };
        let due: Vec<ContainerId> = match left(Kind::Init).next() {
            Some((first, _)) => vec![*first],
            None => left(Kind::Main).map(|(id, _)| *id).collect(),
        };
        let mut starting = Vec::new();
        for id in due {
            if let Some((_, slot @ Slot::Waiting)) = self.containers.get_mut(&id) {
                *slot = Slot::Starting(String::new());
                starting.push(id);
            }
        }
        starting
    }

    /// Whether every container has ended.
    pub(crate) fn finished(&self) -> bool {
        self.containers.values().all(|(_, slot)| matches!(slot, Slot::Ended(_)))
    }

    /// What to say now. The sequence is for the writer to give.
    pub(crate) fn report(&self, at: Timestamp) -> Report {
        let list = |kind| {
            let of_kind = self.containers.iter().filter(|(id, _)| id.kind == kind);
            of_kind.map(|(id, (container, slot))| self.status(*id, container, slot)).collect()
        };
        Report {
            sequence: 0,
            job_id: self.job_id.clone(),
            node_name: self.node_name.clone(),
            observed_at: at,
            started: self.started,
            finished: self.finished(),
            ending: self.ending.clone(),
            init: list(Kind::Init),
            containers: list(Kind::Main),
        }
    }

    /// Kubernetes' word depends on whether the pod has init containers.
    fn waiting_reason(&self) -> &'static str {
        let initializing = self.containers.keys().any(|id| id.kind == Kind::Init);
        if initializing { "PodInitializing" } else { "ContainerCreating" }
    }

    fn status(&self, id: ContainerId, container: &ContainerLaunch, slot: &Slot) -> ContainerStatus {
        let running = matches!(slot, Slot::Running(_));
        let ran = running || matches!(slot, Slot::Ended(Terminated { started_at: Some(_), .. }));
        let container_id =
            ran.then(|| runtime::container_id(&container.runtime, &format!("{}-{}", self.id, container.name)));
        let state = match slot {
            Slot::Waiting => ContainerState::waiting(self.waiting_reason(), ""),
            Slot::Starting(message) => ContainerState::waiting(self.waiting_reason(), message.clone()),
            Slot::Running(at) => ContainerState::Running(Running { started_at: Some(*at) }),
            Slot::Ended(terminated) => {
                ContainerState::Terminated(Terminated { container_id: container_id.clone(), ..terminated.clone() })
            }
        };
        let succeeded = matches!(slot, Slot::Ended(Terminated { exit_code: 0, .. }));
        ContainerStatus {
            name: container.name.clone(),
            state,
            ready: if id.kind == Kind::Init { succeeded } else { running },
            image: container.image.clone(),
            container_id,
            started: Some(running),
            ..ContainerStatus::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Runtime;
    use crate::report::EndReason;

    const POD: &str = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";

    fn lifecycle(init: &[&str], main: &[&str]) -> Lifecycle {
        let container = |name: &&str| ContainerLaunch {
            name: (*name).into(),
            image: "image".into(),
            runtime: Runtime::Host,
            command: vec![],
            args: vec![],
            env: vec![],
            working_dir: None,
            mounts: vec![],
        };
        let launch = Launch {
            uid: interlink_wire::PodUid::parse(POD).unwrap(),
            namespace: "ns".into(),
            name: "p".into(),
            restart_policy: RestartPolicy::Never,
            grace_seconds: 30,
            active_deadline_seconds: None,
            init_containers: init.iter().map(container).collect(),
            containers: main.iter().map(container).collect(),
            spool: "/s".into(),
            image_cache: "/i".into(),
        };
        Lifecycle::new(&launch, JobId::parse("7").unwrap(), "n1".into())
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn init(index: usize) -> ContainerId {
        ContainerId { kind: Kind::Init, index }
    }

    fn main(index: usize) -> ContainerId {
        ContainerId { kind: Kind::Main, index }
    }

    fn exit(code: i32) -> Happening {
        Happening::Ended(End { how: How::Exited { code, signal: None }, at: now(), notes: vec![] })
    }

    /// Each container as `name:waiting reason`, `name:running` or `name:exit code reason`.
    fn shown(pod: &Lifecycle) -> String {
        let report = pod.report(now());
        let one = |status: &ContainerStatus| match &status.state {
            ContainerState::Waiting(w) => format!("{}:{}", status.name, w.reason),
            ContainerState::Running(_) => format!("{}:running", status.name),
            ContainerState::Terminated(t) => format!("{}:{} {}", status.name, t.exit_code, t.reason),
            ContainerState::Unknown => format!("{}:?", status.name),
        };
        report.init.iter().chain(&report.containers).map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn init_containers_run_one_by_one_and_then_all_others_together() {
        let mut pod = lifecycle(&["i", "j"], &["a", "b"]);
        assert_eq!(shown(&pod), "i:PodInitializing, j:PodInitializing, a:PodInitializing, b:PodInitializing");
        assert_eq!(pod.begin(), [init(0)]);
        assert_eq!(pod.happened(init(0), Happening::Started(now())), []);
        assert_eq!(shown(&pod), "i:running, j:PodInitializing, a:PodInitializing, b:PodInitializing");
        assert_eq!(pod.happened(init(0), exit(0)), [init(1)]);
        assert_eq!(pod.happened(init(1), Happening::Started(now())), []);
        assert_eq!(pod.happened(init(1), exit(0)), [main(0), main(1)]);
        assert_eq!(pod.happened(main(0), Happening::Started(now())), []);
        assert_eq!(pod.happened(main(1), Happening::Started(now())), []);
        assert_eq!(pod.happened(main(1), exit(3)), []);
        assert_eq!(shown(&pod), "i:0 Completed, j:0 Completed, a:running, b:3 Error");
        assert!(!pod.finished());
        assert_eq!(pod.happened(main(0), exit(0)), []);
        assert!(pod.finished() && pod.report(now()).finished);
        assert_eq!(pod.report(now()).highest_exit_code(), 3);
    }

    #[test]
    fn a_failed_init_container_ends_the_pod_with_every_container_terminated() {
        let mut pod = lifecycle(&["i", "j"], &["a"]);
        pod.begin();
        assert_eq!(pod.happened(init(0), exit(4)), []);
        assert_eq!(shown(&pod), "i:4 Error, j:4 InitContainerFailed, a:4 InitContainerFailed");
        assert!(pod.finished());
        let message = pod.report(now()).containers[0].state.terminated().unwrap().message.clone();
        assert!(message.contains("\"i\"") && message.contains("exit code 4"), "{message}");
    }

    #[test]
    fn a_failure_that_kubernetes_would_restart_says_that_it_is_final() {
        for (policy, code, said) in [
            (RestartPolicy::Never, 1, false),
            (RestartPolicy::OnFailure, 1, true),
            (RestartPolicy::Always, 1, true),
            (RestartPolicy::Always, 0, false),
        ] {
            let mut pod = lifecycle(&[], &["a"]);
            pod.restart_policy = policy;
            pod.begin();
            pod.happened(main(0), exit(code));
            assert!(pod.finished());
            let message = pod.report(now()).containers[0].state.terminated().unwrap().message.clone();
            assert_eq!(message.contains("not restarted"), said, "{policy:?} {code}: {message}");
        }
    }

    #[test]
    fn nothing_is_handed_out_twice() {
        let mut pod = lifecycle(&[], &["a", "b", "c"]);
        assert_eq!(pod.begin(), [main(0), main(1), main(2)]);
        // the others have not said yet that they run
        assert_eq!(pod.happened(main(0), exit(127)), []);
        assert_eq!(pod.happened(main(1), Happening::Preparing("pulling".into())), []);
        assert_eq!(pod.happened(main(2), exit(0)), []);
        assert!(!pod.finished());
    }

    #[test]
    fn what_is_starting_when_the_pod_is_stopped_ends_by_its_own_word() {
        let mut pod = lifecycle(&[], &["a"]);
        pod.begin();
        pod.stop(Ending { reason: EndReason::Deleted, message: "WHY".into() }, now());
        assert!(!pod.finished());
        pod.happened(main(0), Happening::Ended(End { how: How::GivenUp, at: now(), notes: vec![] }));
        assert_eq!(shown(&pod), "a:143 Terminated");
    }

    #[test]
    fn a_pod_without_init_containers_is_creating_until_it_runs() {
        let mut pod = lifecycle(&[], &["a"]);
        assert_eq!(shown(&pod), "a:ContainerCreating");
        assert!(!pod.report(now()).started);
        assert_eq!(pod.begin(), [main(0)]);
        assert!(pod.report(now()).started);
        pod.happened(main(0), Happening::Preparing("pulling".into()));
        assert_eq!(shown(&pod), "a:ContainerCreating");
        let status = &pod.report(now()).containers[0];
        assert!(!status.ready && status.container_id.is_none());
        pod.happened(main(0), Happening::Started(now()));
        let status = &pod.report(now()).containers[0];
        assert!(status.ready && status.container_id.as_deref() == Some(&format!("host://{POD}-a")));
    }

    #[test]
    fn a_stopped_pod_starts_nothing_more() {
        let ending = Ending { reason: EndReason::Deleted, message: "the pod was deleted".into() };
        let mut pod = lifecycle(&["i"], &["a"]);
        pod.begin();
        pod.happened(init(0), Happening::Started(now()));
        pod.stop(ending.clone(), now());
        assert_eq!(shown(&pod), "i:running, a:143 Terminated");
        assert_eq!(pod.happened(init(0), exit(0)), []);
        assert_eq!(shown(&pod), "i:0 Completed, a:143 Terminated");
        assert!(pod.finished());

        let mut early = lifecycle(&["i"], &["a"]);
        early.stop(ending, now());
        assert!(early.finished() && early.begin().is_empty());
        assert_eq!(shown(&early), "i:143 Terminated, a:143 Terminated");
    }

    #[test]
    fn the_first_reason_to_stop_stays() {
        let mut pod = lifecycle(&[], &["a"]);
        pod.begin();
        for reason in [EndReason::DeadlineExceeded, EndReason::Deleted] {
            pod.stop(Ending { reason, message: String::new() }, now());
        }
        assert_eq!(pod.report(now()).ending.unwrap().reason, EndReason::DeadlineExceeded);
    }

    #[test]
    fn what_a_lost_supervisor_knew_is_kept_and_the_rest_is_not_a_success() {
        let mut before = lifecycle(&["i"], &["a", "b"]);
        before.begin();
        before.happened(init(0), exit(0));
        before.happened(main(0), Happening::Started(now()));
        before.happened(main(1), exit(0));
        let mut after = lifecycle(&["i"], &["a", "b"]);
        let lost = Ending { reason: EndReason::SupervisorLost, message: "lost".into() };
        after.give_up_lost(&before.report(now()), lost, now());
        assert_eq!(shown(&after), "i:0 Completed, a:255 SupervisorLost, b:0 Completed");
        assert!(after.finished());
    }
}
