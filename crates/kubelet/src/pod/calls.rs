//! A pod's calls to the remote side, and what each answer means for it.

use std::time::Duration;

use tokio::time::Instant;

use super::decide::DELETE_AGAIN;
use super::status::PROVIDER_FAILED;
use super::worker::{Worker, named};
use crate::interlink::{Capabilities, InterlinkError};
use crate::pod_table::{Ending, KnownPod, Submission};
use crate::resolve;
use crate::source::Note;

/// What a failed create means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failed {
    /// It may be sent again.
    Again {
        /// One CamelCase word.
        reason: &'static str,
        /// Why, in one sentence.
        sentence: String,
        /// Whether the remote side may have it all the same.
        maybe_sent: bool,
    },
    /// It must not be sent again; the remote side may have it.
    Unknown(String),
    /// It will never be accepted.
    Final(String),
}

/// Judges a failed create. To a peer that would submit twice, a create goes out again only if nothing of the first one
/// can have been carried out.
pub(super) fn judge(error: &InterlinkError, idempotent: bool) -> Failed {
    let delayed = |sentence, maybe_sent| Failed::Again { reason: "SubmissionDelayed", sentence, maybe_sent };
    match error {
        InterlinkError::Refused(fault) if fault.code == SUBMISSION_UNKNOWN => Failed::Unknown(fault.to_string()),
        InterlinkError::Refused(fault) if !fault.retry => Failed::Final(fault.to_string()),
        InterlinkError::Refused(fault) if idempotent || is_not_now(&fault.code) => {
            delayed(format!("not accepted yet, it is tried again: {fault}"), !is_not_now(&fault.code))
        }
        InterlinkError::Unreachable(why) => Failed::Again {
            reason: "RemoteUnreachable",
            sentence: format!("it is tried again: {why}"),
            maybe_sent: false,
        },
        InterlinkError::Unknown(why) if idempotent => delayed(format!("no answer yet, it is tried again: {why}"), true),
        InterlinkError::Unknown(why) => Failed::Unknown(why.clone()),
        InterlinkError::Refused(fault) => Failed::Unknown(fault.to_string()),
    }
}

/// The code by which our API server says that it lost the answer of a plugin that would submit twice: not to be sent
/// again, and not refused either.
const SUBMISSION_UNKNOWN: &str = "submission-unknown";

/// Answers by which a server says that it has not even begun.
fn is_not_now(code: &str) -> bool {
    matches!(code, "http-401" | "http-403" | "http-407" | "http-425" | "http-429")
}

/// The last look-ups that must agree before a pod counts as not submitted.
const ABSENT: u32 = 2;
/// Between two look-ups that are to agree.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl Worker {
    pub(super) async fn create(&mut self, pod: &KnownPod, capabilities: Capabilities) {
        let settings = self.context.settings.borrow().clone();
        let resolved = match resolve::resolve(&pod.object, &settings, &*self.context.objects).await {
            Ok(resolved) => resolved,
            Err(unresolved) if unresolved.retry => {
                self.remote.failed();
                self.trouble(pod, unresolved.reason, unresolved.message);
                return;
            }
            Err(unresolved) => return self.refuse(pod, unresolved.reason, unresolved.message),
        };
        let before = match &pod.submission {
            Submission::Unsent => Submission::Unsent,
            _ => Submission::Unknown,
        };
        self.context.table.update(&self.uid, |p| {
            p.trouble = None;
            p.submission = Submission::Sending;
        });
        // Whoever comes after a crash must be able to see that the pod may have been sent.
        if !capabilities.idempotent_create && !self.write_now().await {
            self.remote.failed();
            self.context.table.update(&self.uid, |p| p.submission = before);
            return;
        }
        let answer = {
            let Ok(_slot) = self.context.remote_slots.acquire().await else { return };
            self.context.client.create(&resolved.request).await
        };
        match answer {
            Ok(answer) => {
                if !answer.pod_uid.is_empty() && answer.pod_uid != self.uid.as_str() {
                    tracing::warn!(pod = %named(pod), uid = %self.uid, answered = %answer.pod_uid, "the create was answered for another pod UID");
                }
                self.accepted(pod, answer.pod_jid);
            }
            Err(error) => match judge(&error, capabilities.idempotent_create) {
                Failed::Final(sentence) => self.refuse(pod, PROVIDER_FAILED, sentence),
                Failed::Again { reason, sentence, maybe_sent } => {
                    self.remote.failed();
                    // What may be there must be asked for, or ended, before the pod goes; an earlier try counts too.
                    let submission = if maybe_sent { Submission::Unknown } else { before };
                    self.context.table.update(&self.uid, |p| p.submission = submission);
                    self.trouble(pod, reason, sentence);
                }
                Failed::Unknown(why) => {
                    self.remote.failed();
                    self.absent = 0;
                    self.context.table.update(&self.uid, |p| p.submission = Submission::Unknown);
                    self.trouble(pod, "SubmissionUnknown", unknown_sentence(&why));
                }
            },
        }
    }

    fn accepted(&mut self, pod: &KnownPod, job: String) {
        self.remote.succeeded();
        let told = if job.is_empty() {
            "the remote side has accepted the pod".into()
        } else {
            format!("submitted as job {job}")
        };
        tracing::info!(pod = %named(pod), uid = %self.uid, jid = %job, "submitted");
        self.context.table.update(&self.uid, |p| {
            p.submission = Submission::Accepted;
            p.trouble = None;
            p.missed = 0;
            p.unlisted = 0;
            p.changed_at = Instant::now();
            if !job.is_empty() {
                p.job = job;
            }
        });
        self.context.store.event(&pod.object, Note::normal("Submitted", told));
    }

    fn refuse(&mut self, pod: &KnownPod, reason: &'static str, sentence: String) {
        tracing::warn!(pod = %named(pod), uid = %self.uid, reason, "refused: {sentence}");
        self.context.table.update(&self.uid, |p| {
            p.trouble = None;
            p.submission = Submission::Refused { reason, sentence };
        });
    }

    /// Finds out whether the remote side has a pod that may have been sent.
    pub(super) async fn look_up(&mut self, pod: &KnownPod, capabilities: Capabilities) {
        let found = {
            let Ok(_slot) = self.context.remote_slots.acquire().await else { return };
            self.find(pod, capabilities).await
        };
        match found {
            Ok(Some(job)) => self.accepted(pod, job),
            // Only a list of all pods can say for certain that there is none.
            Ok(None) if capabilities.pod_list => {
                self.absent += 1;
                if self.absent >= ABSENT {
                    self.absent = 0;
                    self.remote.succeeded();
                    self.context.table.update(&self.uid, |p| p.submission = Submission::Unsent);
                } else {
                    self.remote.not_before(Instant::now() + LOOK_AGAIN);
                }
            }
            Ok(None) => {
                self.remote.failed();
                self.trouble(pod, "SubmissionUnknown", unknown_sentence("the remote side does not report it so far"));
            }
            Err(error) => {
                self.remote.failed();
                tracing::debug!(pod = %named(pod), uid = %self.uid, err = %error, "the look-up failed");
            }
        }
    }

    async fn find(&self, pod: &KnownPod, capabilities: Capabilities) -> Result<Option<String>, InterlinkError> {
        if capabilities.pod_list {
            let listed = self.context.client.pods().await?;
            return Ok(listed.into_iter().find(|entry| entry.uid == self.uid.as_str()).map(|entry| entry.jid));
        }
        let told = self.context.client.status(std::slice::from_ref(&pod.object)).await?;
        Ok(told.into_iter().find(|status| status.uid == self.uid.as_str()).map(|status| status.jid))
    }

    /// Asks the remote side to end the pod, until it has heard.
    pub(super) async fn delete_remote(&mut self, pod: &KnownPod) {
        let answer = {
            let Ok(_slot) = self.context.remote_slots.acquire().await else { return };
            self.context.client.delete(&pod.object).await
        };
        let ending = match answer {
            Ok(()) => asked(pod.ending, Instant::now()),
            Err(error) if error.is_not_found() => Ending::Confirmed,
            // A remote side that never ran the pod, or has let go of it, may say so in many ways.
            Err(error) if !error.may_pass() && pod.is_finished() => {
                tracing::warn!(pod = %named(pod), uid = %self.uid, err = %error, "the remote side refuses to delete an ended pod; it counts as deleted");
                Ending::Confirmed
            }
            Err(error) => {
                self.remote.failed();
                tracing::warn!(pod = %named(pod), uid = %self.uid, err = %error, "the delete failed; it is tried again");
                let note = Note::warning(
                    "FailedKillPod",
                    format!("the remote side could not be told to end the pod, it is tried again: {error}"),
                );
                self.context.store.event(&pod.object, note);
                return;
            }
        };
        self.remote.succeeded();
        if pod.ending != Ending::NotAsked {
            self.remote.not_before(Instant::now() + DELETE_AGAIN);
        } else {
            tracing::info!(pod = %named(pod), uid = %self.uid, jid = %pod.job, "told the remote side to end it");
            if !pod.is_finished() {
                self.context
                    .store
                    .event(&pod.object, Note::normal("Killing", "the remote side has been told to end the pod"));
            }
        }
        self.context.table.update(&self.uid, |p| {
            p.ending = ending;
            p.missed = 0;
            p.changed_at = Instant::now();
        });
    }
}

/// What a delete that was accepted now means: what counts is since when the pod is to end.
fn asked(before: Ending, now: Instant) -> Ending {
    match before {
        Ending::Asked(since) => Ending::Asked(since),
        _ => Ending::Asked(now),
    }
}

fn unknown_sentence(why: &str) -> String {
    format!(
        "whether the pod was submitted is not known, and the remote side would submit it twice; it goes on when the remote side reports it, else delete it: {why}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlink_wire::Fault;

    #[test]
    fn repeated_deletes_do_not_prolong_the_end() {
        let first = Instant::now();
        let later = first + DELETE_AGAIN;
        assert_eq!(asked(Ending::NotAsked, first), Ending::Asked(first));
        assert_eq!(asked(Ending::Asked(first), later), Ending::Asked(first));
    }

    #[test]
    fn a_create_is_never_sent_twice_to_a_peer_that_would_run_it_twice() {
        let refused = |status: u16| InterlinkError::Refused(Fault::read("plugin", status, None, b"words"));
        let (unknown, unreachable) =
            (InterlinkError::Unknown("late".into()), InterlinkError::Unreachable("away".into()));
        let lost = Fault::lasting("plugin", "submission-unknown", "its answer got lost");
        let kind = |failed: Failed| match failed {
            Failed::Again { maybe_sent: false, .. } => "again",
            Failed::Again { maybe_sent: true, .. } => "again, it may be there",
            Failed::Unknown(_) => "unknown",
            Failed::Final(_) => "final",
        };
        // (error, with idempotentCreate, without)
        let cases = [
            (refused(400), "final", "final"),
            (refused(422), "final", "final"),
            (InterlinkError::Refused(lost), "unknown", "unknown"),
            (refused(408), "again, it may be there", "unknown"),
            (refused(429), "again", "again"),
            (refused(500), "again, it may be there", "unknown"),
            (refused(503), "again, it may be there", "unknown"),
            (unknown, "again, it may be there", "unknown"),
            (unreachable, "again", "again"),
        ];
        for (error, idempotent, plain) in cases {
            assert_eq!(kind(judge(&error, true)), idempotent, "{error:?}");
            assert_eq!(kind(judge(&error, false)), plain, "{error:?}");
        }
    }
}
