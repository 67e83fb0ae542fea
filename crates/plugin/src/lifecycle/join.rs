//! The status of a pod from what is known of it. Pure.
//!
//! The supervisor's word counts first: it knows each container. Before its first and where its last is missing, the
//! scheduler's does. A container that ended abnormally never has exit code 0, and every container of the spec has a
//! status: the existing kubelet takes an empty list as "all ended well".

use interlink_supervisor::report::Report;
use interlink_wire::status::{ContainerState, ContainerStatus, Terminated};
use interlink_wire::{PodListEntry, PodStatus};

use super::pod::{Facts, Pod};
use crate::jobdir::record::Verdict;
use crate::scheduler::{End, JobRecord, JobState};

/// The status of a pod.
#[must_use]
pub fn status(pod: &Pod, facts: &Facts) -> PodStatus {
    let (init, main) = match &facts.report {
        Some(report) => (report.init.clone(), report.containers.clone()),
        None => (Vec::new(), Vec::new()),
    };
    let fallback = fallback(facts);
    PodStatus {
        name: pod.name.clone(),
        uid: pod.uid.to_string(),
        namespace: pod.namespace.clone(),
        jid: facts.job.as_ref().map(ToString::to_string).unwrap_or_default(),
        containers: complete(pod, &pod.containers, main, &fallback, facts),
        init_containers: complete(pod, &pod.init, init, &fallback, facts),
        node_name: node_name(facts),
        observed_at: facts.report.as_ref().map(|report| report.observed_at),
        sequence: Some(facts.sequence),
        owner: pod.owner.clone(),
        ..PodStatus::default()
    }
}

/// The pod's entry in `GET /pods`.
#[must_use]
pub fn entry(pod: &Pod, facts: &Facts) -> PodListEntry {
    let running = facts.report.as_ref().is_some_and(|report| report.started);
    let state = match facts {
        Facts { deletion: Some(_), .. } => "deleting",
        facts if facts.is_settled() => "finished",
        _ if running => "running",
        _ => "pending",
    };
    PodListEntry {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.to_string(),
        owner: pod.owner.clone().unwrap_or_default(),
        jid: facts.job.as_ref().map(ToString::to_string).unwrap_or_default(),
        state: state.to_owned(),
        created_at: Some(pod.created_at),
    }
}

fn node_name(facts: &Facts) -> Option<String> {
    let reported = facts.report.as_ref().map(|report| report.node_name.clone());
    reported.or_else(|| facts.record.as_ref().map(|record| record.nodes.clone())).filter(|name| !name.is_empty())
}

/// One status per container of the spec, in its order.
fn complete(
    pod: &Pod,
    spec: &[(String, String)],
    mut reported: Vec<ContainerStatus>,
    fallback: &ContainerState,
    facts: &Facts,
) -> Vec<ContainerStatus> {
    let over = facts.verdict.is_some() || facts.refused.is_some() || facts.report.as_ref().is_some_and(|r| r.finished);
    let statuses = spec.iter().map(|(name, image)| {
        let found = reported.iter().position(|status| status.name == *name).map(|index| reported.swap_remove(index));
        let mut status = found.unwrap_or_default();
        name.clone_into(&mut status.name);
        image.clone_into(&mut status.image);
        let ended = status.state.terminated().is_some();
        let unknown = status.state == ContainerState::Unknown;
        if (over && !ended) || unknown {
            let started = match &status.state {
                ContainerState::Running(running) => running.started_at,
                _ => None,
            };
            status.state = match fallback.clone() {
                ContainerState::Terminated(end) => {
                    ContainerState::Terminated(Terminated { started_at: started.or(end.started_at), ..end })
                }
                other => other,
            };
            status.ready = false;
            status.started = Some(false);
        }
        if let Some(note) = pod.account_notes.get(name) {
            remark(&mut status.state, note);
        }
        status
    });
    statuses.collect()
}

/// Adds a sentence to the message of a state that has one.
fn remark(state: &mut ContainerState, note: &str) {
    let message = match state {
        ContainerState::Waiting(waiting) => &mut waiting.message,
        ContainerState::Terminated(end) => &mut end.message,
        ContainerState::Running(_) | ContainerState::Unknown => return,
    };
    if !message.is_empty() {
        message.push_str("; ");
    }
    message.push_str(note);
}

/// The state of a container that the supervisor has said nothing of.
fn fallback(facts: &Facts) -> ContainerState {
    if let Some(refused) = &facts.refused {
        return ended(1, "SubmissionRefused", refused.message.clone(), Some(refused.at));
    }
    if let Some(verdict) = &facts.verdict {
        return judged(verdict, facts.report.as_ref());
    }
    if let Some(report) = facts.report.as_ref().filter(|report| report.finished) {
        let (reason, message) = match &report.ending {
            Some(ending) => (format!("{:?}", ending.reason), ending.message.clone()),
            None => ("NotStarted".to_owned(), "the pod ended before this container was started".to_owned()),
        };
        return ended(137, &reason, message, Some(report.observed_at));
    }
    if facts.report.is_some() {
        return ContainerState::waiting("PodInitializing", "");
    }
    waiting(facts)
}

fn waiting(facts: &Facts) -> ContainerState {
    let Some(record) = &facts.record else {
        let message = facts.obstacle.clone().unwrap_or_default();
        return match facts.job {
            None => ContainerState::waiting("Submitting", message),
            Some(_) => ContainerState::waiting("Queued", message),
        };
    };
    let reason = match record.state {
        JobState::Queued => "Queued",
        JobState::Configuring => "NodeConfiguring",
        JobState::Suspended => "JobSuspended",
        JobState::Running | JobState::Completing | JobState::Ended(_) => "Starting",
    };
    ContainerState::waiting(reason, record.words.clone())
}

fn ended(code: i32, reason: &str, message: String, at: Option<jiff::Timestamp>) -> ContainerState {
    ContainerState::Terminated(Terminated {
        exit_code: code,
        reason: reason.to_owned(),
        message,
        finished_at: at,
        ..Terminated::default()
    })
}

/// Exit code and reason of a container whose job ended without the supervisor's last word.
fn judged(verdict: &Verdict, report: Option<&Report>) -> ContainerState {
    let (code, reason) = end_of(&verdict.record);
    let mut message =
        format!("the job ended without a word of its supervisor; the scheduler says: {}", verdict.record.words);
    if let Some(ending) = report.and_then(|report| report.ending.as_ref()) {
        message.push_str("; before, ");
        message.push_str(&ending.message);
    }
    if !verdict.last_words.is_empty() {
        message.push_str("; its last words: ");
        message.push_str(&verdict.last_words);
    }
    ended(code, reason, message, Some(verdict.at))
}

/// Never 0: a job that says "completed" without its supervisor's last word has not run the pod to its end.
fn end_of(record: &JobRecord) -> (i32, &'static str) {
    let own = match (record.signal, record.exit_code) {
        (signal, _) if signal > 0 => 128 + (signal & 127),
        (_, code) if code > 0 => code,
        _ => 0,
    };
    let or = |code: i32| if own == 0 { code } else { own };
    match record.end().unwrap_or(End::Other) {
        End::Completed => (255, "SupervisorLost"),
        End::Failed => (or(1), "JobFailed"),
        End::TimedOut => (143, "SlurmJobTimeout"),
        End::OutOfMemory => (137, "OOMKilled"),
        End::NodeFailed => (or(255), "NodeFailure"),
        End::LaunchFailed => (or(128), "JobLaunchFailure"),
        End::Cancelled => (143, "Cancelled"),
        End::Preempted => (143, "Preempted"),
        End::Deadline => (143, "DeadlineExceeded"),
        End::Other | End::Forgotten => (or(255), "JobLost"),
    }
}

#[cfg(test)]
mod tests {
    use interlink_supervisor::deletion::Deletion;
    use interlink_wire::status::Running;
    use interlink_wire::{JobId, PodExtract, PodUid, RetrievedPodData};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::jobdir::JobDir;
    use crate::jobdir::intent::Intent;
    use crate::jobdir::record::Refused;

    fn pod() -> Pod {
        let uid = PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap();
        let intent =
            Intent { request: RetrievedPodData::default(), owner: Some("o".into()), created_at: Timestamp::UNIX_EPOCH };
        let object = interlink_wire::Object::from_value(json!({"metadata": {"name": "p", "namespace": "ns"},
            "spec": {"initContainers": [{"name": "i", "image": "x"}], "containers": [{"name": "a", "image": "y"}, {"name": "b", "image": "z"}]}}));
        let extract = PodExtract::from_object(&object.unwrap()).unwrap();
        Pod::new(uid.clone(), &intent, &extract, JobDir::of("/d".as_ref(), "ns", &uid), Facts::default())
    }

    fn report(finished: bool, states: [ContainerState; 3]) -> Report {
        let [i, a, b] = states.map(|state| ContainerStatus { state, ..ContainerStatus::default() });
        let named = |status, name: &str| ContainerStatus { name: name.into(), ..status };
        Report {
            sequence: 1,
            job_id: JobId::parse("7").unwrap(),
            node_name: "n1".into(),
            observed_at: Timestamp::UNIX_EPOCH,
            started: true,
            finished,
            ending: None,
            init: vec![named(i, "i")],
            containers: vec![named(a, "a"), named(b, "b")],
        }
    }

    fn exited(code: i32) -> ContainerState {
        ContainerState::Terminated(Terminated { exit_code: code, ..Terminated::default() })
    }

    fn running() -> ContainerState {
        ContainerState::Running(Running::default())
    }

    /// `i: state, a: state, b: state` in short.
    fn told(facts: &Facts) -> Vec<String> {
        let status = status(&pod(), facts);
        let list = status.init_containers.iter().chain(&status.containers);
        list.map(|c| match &c.state {
            ContainerState::Unknown => "unknown".to_owned(),
            ContainerState::Waiting(w) => w.reason.clone(),
            ContainerState::Running(_) => "running".to_owned(),
            ContainerState::Terminated(t) => {
                format!("{}{}", t.exit_code, if t.reason.is_empty() { String::new() } else { format!(" {}", t.reason) })
            }
        })
        .collect()
    }

    fn record(state: JobState) -> JobRecord {
        JobRecord::living(state, "WORDS")
    }

    #[test]
    fn before_the_first_report_the_scheduler_is_quoted() {
        let job = Some(JobId::parse("7").unwrap());
        assert_eq!(told(&Facts::default()), ["Submitting"; 3]);
        assert_eq!(told(&Facts { job: job.clone(), ..Facts::default() }), ["Queued"; 3]);
        for (state, reason) in [
            (JobState::Queued, "Queued"),
            (JobState::Configuring, "NodeConfiguring"),
            (JobState::Suspended, "JobSuspended"),
            (JobState::Running, "Starting"),
            (JobState::Ended(End::Completed), "Starting"),
        ] {
            let facts = Facts { job: job.clone(), record: Some(record(state)), ..Facts::default() };
            assert_eq!(told(&facts), [reason; 3]);
            let status = status(&pod(), &facts);
            assert_eq!(status.containers[0].state, ContainerState::waiting(reason, "WORDS"));
            assert_eq!((status.containers[1].image.as_str(), status.jid.as_str()), ("z", "7"));
        }
    }

    #[test]
    fn the_supervisors_word_counts_container_by_container() {
        let facts = Facts {
            report: Some(report(false, [exited(0), running(), exited(3)])),
            record: Some(record(JobState::Running)),
            ..Facts::default()
        };
        assert_eq!(told(&facts), ["0", "running", "3"]);
        let status = status(&pod(), &facts);
        assert_eq!((status.node_name.as_deref(), status.owner.as_deref()), (Some("n1"), Some("o")));
    }

    #[test]
    fn a_job_that_ended_silently_is_never_a_success() {
        let cases = [
            (End::Completed, 0, 0, 255, "SupervisorLost"),
            (End::Failed, 0, 0, 1, "JobFailed"),
            (End::Failed, 42, 0, 42, "JobFailed"),
            (End::Failed, 0, 9, 137, "JobFailed"),
            (End::TimedOut, 0, 15, 143, "SlurmJobTimeout"),
            (End::OutOfMemory, 0, 9, 137, "OOMKilled"),
            (End::NodeFailed, 0, 0, 255, "NodeFailure"),
            (End::LaunchFailed, 127, 0, 127, "JobLaunchFailure"),
            (End::Cancelled, 0, 0, 143, "Cancelled"),
            (End::Preempted, 0, 0, 143, "Preempted"),
            (End::Deadline, 0, 0, 143, "DeadlineExceeded"),
            (End::Other, 0, 0, 255, "JobLost"),
            (End::Forgotten, 0, 0, 255, "JobLost"),
        ];
        for (end, exit_code, signal, code, reason) in cases {
            let record = JobRecord { exit_code, signal, ..record(JobState::Ended(end)) };
            let verdict = Some(Verdict { record, last_words: "no such file".into(), at: Timestamp::UNIX_EPOCH });
            let facts =
                Facts { verdict, report: Some(report(false, [exited(0), running(), exited(3)])), ..Facts::default() };
            assert_eq!(told(&facts), ["0".to_owned(), format!("{code} {reason}"), "3".to_owned()]);
            let message = &status(&pod(), &facts).containers[0].state.terminated().unwrap().message.clone();
            assert!(message.contains("WORDS") && message.contains("no such file"), "{message}");
        }
    }

    #[test]
    fn a_refusal_is_quoted_in_every_container() {
        let refused = Some(Refused { message: "Invalid partition".into(), at: Timestamp::UNIX_EPOCH });
        let facts = Facts { refused, ..Facts::default() };
        assert_eq!(told(&facts), ["1 SubmissionRefused"; 3]);
    }

    #[test]
    fn a_supervisor_that_could_not_begin_still_gives_every_container_an_end() {
        let mut bare = report(true, [ContainerState::Unknown, ContainerState::Unknown, ContainerState::Unknown]);
        bare.init.clear();
        bare.containers.clear();
        assert_eq!(told(&Facts { report: Some(bare), ..Facts::default() }), ["137 NotStarted"; 3]);
    }

    #[test]
    fn the_list_says_where_a_pod_is() {
        let pod = pod();
        let started = Some(report(false, [exited(0), running(), running()]));
        let ended = Some(report(true, [exited(0), exited(0), exited(0)]));
        let cases = [
            (Facts::default(), "pending"),
            (Facts { report: started.clone(), ..Facts::default() }, "running"),
            (Facts { report: ended, ..Facts::default() }, "finished"),
            (Facts { report: started, deletion: Some(Deletion::default()), ..Facts::default() }, "deleting"),
        ];
        for (facts, state) in cases {
            assert_eq!(entry(&pod, &facts).state, state);
        }
    }
}
