//! What to do next with a pod. Pure: everything that is known in, one action out.
//!
//! ```text
//!            Create             accepted            all containers ended
//!   Unsent ─────────▶ Sending ─────────▶ Accepted ──────────────────────▶ (finished)
//!     ▲ nothing sent │   │ no answer        │ gone without a word
//!     └──────────────┘   ▼                  ▼
//!                     Unknown ─LookUp─▶   Lost          Refused ◀─ final no, from wherever
//!
//!   to be deleted: DeleteRemote ─▶ Asked ─▶ Confirmed ─▶ WriteStatus ─▶ Remove ─▶ Forget
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::status::PROVIDER_FAILED;
use crate::interlink::Capabilities;
use crate::pod_table::{Ending, KnownPod, Submission};

/// How long after a delete was accepted it is sent again, while the remote side still has the pod.
pub(super) const DELETE_AGAIN: Duration = Duration::from_secs(30);
/// How long beyond the grace period a peer without a pod list may go on to report a deleted pod.
const PATIENCE: Duration = Duration::from_secs(300);

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until something changes or this time has come.
    Wait(Option<Instant>),
    /// Send it.
    Create,
    /// Find out whether the remote side has it.
    LookUp,
    /// Ask the remote side to end it.
    DeleteRemote,
    /// Write its status to the source.
    WriteStatus,
    /// Write its job id to the source.
    RecordJob,
    /// Remove it from the source.
    Remove,
    /// Drop it from the table; the work is done.
    Forget,
}

/// What is known around a pod.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Now.
    pub now: Instant,
    /// Whether the remote side answers.
    pub reachable: bool,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Whether the status is not what the source has.
    pub unwritten: bool,
    /// Whether the job id is not yet with the source.
    pub unrecorded: bool,
    /// No call to the remote side before this.
    pub next_remote: Instant,
    /// No call to the source before this.
    pub next_store: Instant,
}

/// The next action for `pod`.
#[must_use]
pub fn decide(pod: &KnownPod, facts: &Facts) -> Action {
    let never_sent = match &pod.submission {
        Submission::Unsent => true,
        // A peer that would submit twice may have failed after it had submitted; only a promise makes a refusal certain.
        Submission::Refused { reason, .. } => facts.capabilities.idempotent_create || *reason != PROVIDER_FAILED,
        _ => false,
    };
    let mut choice = Choice::new(facts);
    if !pod.present {
        let done = never_sent || pod.submission == Submission::Lost || pod.ending != Ending::NotAsked;
        return if done { Action::Forget } else { choice.remote(true, Action::DeleteRemote).done() };
    }
    if pod.is_terminating() {
        let over = match pod.ending {
            Ending::Confirmed => true,
            Ending::NotAsked => never_sent || pod.submission == Submission::Lost,
            Ending::Asked(since) => {
                let patience = since + Duration::from_secs(pod.grace_seconds()) + PATIENCE;
                // It is the answers that are too many: silence says nothing.
                let reported = pod.asked_at.is_some_and(|asked| asked >= patience);
                pod.is_finished() || (!facts.capabilities.pod_list && reported)
            }
        };
        if over {
            // A pod that never ran needs no last word.
            let last_word = facts.unwritten && pod.submission != Submission::Unsent;
            return choice.store(last_word, Action::WriteStatus).store(!last_word, Action::Remove).done();
        }
        choice.store(facts.unwritten, Action::WriteStatus);
        return match pod.ending {
            // The worker paces what comes after the first repetition.
            Ending::Asked(since) => choice.from(since + DELETE_AGAIN, Action::DeleteRemote).done(),
            _ => choice.remote(true, Action::DeleteRemote).done(),
        };
    }
    let unsettled = !pod.is_settled();
    match pod.submission {
        Submission::Unsent => choice.remote(unsettled, Action::Create),
        Submission::Unknown | Submission::Sending if facts.capabilities.idempotent_create => {
            choice.remote(unsettled, Action::Create)
        }
        Submission::Unknown | Submission::Sending => choice.remote(unsettled, Action::LookUp),
        Submission::Accepted => choice.store(facts.unrecorded, Action::RecordJob),
        Submission::Refused { .. } | Submission::Lost => &mut choice,
    };
    choice.store(facts.unwritten, Action::WriteStatus).done()
}

/// The first action whose time has come, or the earliest time at which one's will have.
struct Choice<'a> {
    facts: &'a Facts,
    chosen: Option<Action>,
    until: Option<Instant>,
}

impl<'a> Choice<'a> {
    fn new(facts: &'a Facts) -> Self {
        Self { facts, chosen: None, until: None }
    }

    fn remote(&mut self, wanted: bool, action: Action) -> &mut Self {
        self.offer(wanted && self.facts.reachable, self.facts.next_remote, action)
    }

    fn from(&mut self, start: Instant, action: Action) -> &mut Self {
        self.offer(self.facts.reachable, self.facts.next_remote.max(start), action)
    }

    fn store(&mut self, wanted: bool, action: Action) -> &mut Self {
        self.offer(wanted, self.facts.next_store, action)
    }

    fn offer(&mut self, wanted: bool, from: Instant, action: Action) -> &mut Self {
        if wanted && from <= self.facts.now {
            self.chosen.get_or_insert(action);
        } else if wanted {
            self.until = Some(self.until.map_or(from, |until| until.min(from)));
        }
        self
    }

    fn done(&self) -> Action {
        self.chosen.unwrap_or(Action::Wait(self.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_table::PodTable;
    use interlink_wire::{Object, PodUid};
    use serde_json::json;

    fn pod(phase: &str, submission: Submission) -> KnownPod {
        let uid = PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap();
        let table = PodTable::new();
        let value = json!({"metadata": {"name": "p", "uid": uid.as_str()}, "spec": {"terminationGracePeriodSeconds": 10}, "status": {"phase": phase}});
        table.apply(&uid, Object::from_value(value).unwrap());
        table.update(&uid, |p| p.submission = submission);
        (*table.get(&uid).unwrap()).clone()
    }

    fn ending(mut pod: KnownPod, ending: Ending) -> KnownPod {
        let mut object = (*pod.object).clone();
        object.fields_mut()["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        pod.object = object.into();
        pod.ending = ending;
        pod
    }

    fn refused() -> Submission {
        Submission::Refused { reason: "ProviderFailed", sentence: "no".into() }
    }

    fn facts(now: Instant) -> Facts {
        Facts {
            now,
            reachable: true,
            capabilities: Capabilities::default(),
            unwritten: false,
            unrecorded: false,
            next_remote: now,
            next_store: now,
        }
    }

    #[test]
    fn a_pod_that_is_wanted() {
        use Submission::{Accepted, Lost, Sending, Unknown, Unsent};
        let idle = Action::Wait(None);
        // (phase, submission, reachable, idempotent, unwritten, unrecorded) → action
        let cases = [
            ("Pending", Unsent, true, false, false, false, Action::Create),
            ("", Unsent, true, false, true, false, Action::Create),
            ("Pending", Unsent, false, true, false, false, idle),
            ("Pending", Unsent, false, true, true, false, Action::WriteStatus),
            ("Pending", Unknown, true, false, false, false, Action::LookUp),
            ("Pending", Unknown, true, true, false, false, Action::Create),
            ("Pending", Sending, true, false, false, false, Action::LookUp),
            ("Pending", Accepted, true, true, false, false, idle),
            ("Pending", Accepted, false, true, true, true, Action::RecordJob),
            ("Running", Accepted, true, true, true, false, Action::WriteStatus),
            ("Pending", refused(), true, true, true, false, Action::WriteStatus),
            ("Failed", refused(), true, true, false, false, idle),
            ("Failed", Lost, true, true, false, false, idle),
            ("Failed", Unsent, true, true, false, false, idle),
            ("Succeeded", Accepted, true, true, false, false, idle),
        ];
        let now = Instant::now();
        for (phase, submission, reachable, idempotent_create, unwritten, unrecorded, action) in cases {
            let capabilities = Capabilities { idempotent_create, ..Capabilities::default() };
            let facts = Facts { reachable, capabilities, unwritten, unrecorded, ..facts(now) };
            let pod = pod(phase, submission);
            assert_eq!(decide(&pod, &facts), action, "{phase} {:?} {facts:?}", pod.submission);
        }
    }

    #[test]
    fn a_pod_that_is_to_go() {
        use Submission::{Accepted, Lost, Unknown, Unsent};
        let now = Instant::now();
        let asked = Ending::Asked(now);
        let long_ago = Ending::Asked(now - Duration::from_secs(1000));
        let later = now + DELETE_AGAIN;
        // (phase, submission, ending, reachable, pod list, unwritten) → action
        let cases = [
            ("Pending", Unsent, Ending::NotAsked, false, true, true, Action::Remove),
            ("Running", Accepted, Ending::NotAsked, true, true, false, Action::DeleteRemote),
            ("Running", Accepted, Ending::NotAsked, false, true, false, Action::Wait(None)),
            ("Running", Unknown, Ending::NotAsked, true, true, false, Action::DeleteRemote),
            ("Running", Accepted, asked, true, true, false, Action::Wait(Some(later))),
            ("Running", Accepted, asked, true, true, true, Action::WriteStatus),
            ("Running", Accepted, asked, false, true, false, Action::Wait(None)),
            ("Running", Accepted, long_ago, true, true, false, Action::DeleteRemote),
            ("Running", Accepted, long_ago, true, false, false, Action::Remove),
            ("Succeeded", Accepted, Ending::NotAsked, true, true, false, Action::DeleteRemote),
            ("Succeeded", Accepted, asked, true, true, false, Action::Remove),
            ("Running", Accepted, Ending::Confirmed, false, true, true, Action::WriteStatus),
            ("Failed", Accepted, Ending::Confirmed, false, true, false, Action::Remove),
            ("Failed", Lost, Ending::NotAsked, false, true, false, Action::Remove),
        ];
        for (phase, submission, end, reachable, pod_list, unwritten, action) in cases {
            let capabilities = Capabilities { pod_list, ..Capabilities::default() };
            let facts = Facts { reachable, capabilities, unwritten, ..facts(now) };
            let mut pod = ending(pod(phase, submission), end);
            pod.asked_at = Some(now);
            assert_eq!(decide(&pod, &facts), action, "{phase} {:?} {:?} {facts:?}", pod.submission, pod.ending);
        }
        let silent = ending(pod("Running", Accepted), long_ago);
        assert_eq!(decide(&silent, &facts(now)), Action::DeleteRemote, "nobody has said that it still runs");
    }

    #[test]
    fn only_a_refusal_that_may_hide_a_job_is_followed_by_a_delete() {
        let now = Instant::now();
        let by_us = Submission::Refused { reason: "UnsupportedVolume", sentence: "no".into() };
        for (submission, idempotent_create, action) in [
            (refused(), true, Action::Remove),
            (refused(), false, Action::DeleteRemote),
            (by_us.clone(), true, Action::Remove),
            (by_us, false, Action::Remove),
        ] {
            let capabilities = Capabilities { idempotent_create, ..Capabilities::default() };
            let pod = ending(pod("Failed", submission), Ending::NotAsked);
            assert_eq!(decide(&pod, &Facts { capabilities, ..facts(now) }), action, "{:?}", pod.submission);
        }
    }

    #[test]
    fn a_pod_that_has_vanished_is_ended_remotely_and_forgotten() {
        let now = Instant::now();
        let cases = [
            (Submission::Unsent, Ending::NotAsked, true, Action::Forget),
            (Submission::Accepted, Ending::NotAsked, true, Action::DeleteRemote),
            (Submission::Unknown, Ending::NotAsked, true, Action::DeleteRemote),
            (Submission::Accepted, Ending::NotAsked, false, Action::Wait(None)),
            (Submission::Accepted, Ending::Asked(now), true, Action::Forget),
            (Submission::Accepted, Ending::Confirmed, false, Action::Forget),
        ];
        for (submission, end, reachable, action) in cases {
            let mut pod = pod("Running", submission);
            pod.present = false;
            pod.ending = end;
            assert_eq!(decide(&pod, &Facts { reachable, ..facts(now) }), action, "{pod:?}");
        }
    }

    #[test]
    fn nothing_is_tried_before_its_time() {
        let now = Instant::now();
        let (soon, later) = (now + Duration::from_secs(1), now + Duration::from_secs(9));
        let pod = pod("Pending", Submission::Unsent);
        let both = Facts { unwritten: true, next_remote: later, next_store: soon, ..facts(now) };
        assert_eq!(decide(&pod, &both), Action::Wait(Some(soon)));
        assert_eq!(decide(&pod, &Facts { next_store: now, ..both }), Action::WriteStatus);
        assert_eq!(decide(&pod, &Facts { next_remote: now, ..both }), Action::Create);
    }
}
