//! One task per pod, so that everything about a pod happens one after another: look, [`decide`], act, wait.
//!
//! The slots of [`Context`] bound how many pods act at a time. A task holds nothing that is not in the table or at one of
//! the two ends; after a crash it is made again from there.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use interlink_wire::{HopState, Object, PodUid};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::decide::{Action, Facts, decide};
use super::status;
use crate::health::Health;
use crate::interlink::{Capabilities, Client};
use crate::pod_table::{KnownPod, PodTable, Submission};
use crate::resolve::{Objects, ResolveSettings};
use crate::source::{Note, Store, StoreError};

/// Calls to the API server at a time. Each may be an `sbatch` on a login node that others use too.
const REMOTE_SLOTS: usize = 16;
/// The pod is written again, where others have changed what we wrote, at most so often; the real kubelet's pace.
const RECONCILE: Duration = Duration::from_secs(10);
/// Writes to the source at a time.
const STORE_SLOTS: usize = 16;

/// What all pods share.
pub struct Context {
    /// The pods.
    pub table: Arc<PodTable>,
    /// The next hop.
    pub client: Client,
    /// Where status goes.
    pub store: Arc<dyn Store>,
    /// Where ConfigMaps, Secrets and tokens come from.
    pub objects: Arc<dyn Objects>,
    /// How pods are resolved; changes with a reload.
    pub settings: watch::Receiver<Arc<ResolveSettings>>,
    /// Whether the chain works.
    pub health: watch::Receiver<Health>,
    /// The node's own address.
    pub host: Option<IpAddr>,
    pub(super) remote_slots: Semaphore,
    pub(super) store_slots: Semaphore,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Context {
    /// The context of one node.
    pub fn new(
        table: Arc<PodTable>,
        client: Client,
        store: Arc<dyn Store>,
        objects: Arc<dyn Objects>,
        settings: watch::Receiver<Arc<ResolveSettings>>,
        health: watch::Receiver<Health>,
        host: Option<IpAddr>,
    ) -> Self {
        let (remote_slots, store_slots) = (Semaphore::new(REMOTE_SLOTS), Semaphore::new(STORE_SLOTS));
        Self { table, client, store, objects, settings, health, host, remote_slots, store_slots }
    }
}

/// Works on one pod until it is forgotten or `shutdown`. What has been begun by then is finished.
pub(super) async fn work(context: Arc<Context>, uid: PodUid, shutdown: CancellationToken) {
    let Some(pod) = context.table.get(&uid) else { return };
    let wake = pod.wake.clone();
    let recorded = pod.object.annotation("JobID").map(str::to_owned);
    let mut health = context.health.clone();
    let mut worker = Worker {
        context,
        uid,
        remote: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
        store: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
        absent: 0,
        written: None,
        compared: None,
        recorded,
    };
    while !shutdown.is_cancelled() {
        let seen = outlook(&health.borrow_and_update());
        let Some(until) = worker.step().await else { return };
        let sleep = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = wake.notified() => {}
            () = sleep => {}
            // Most pings change words only; thousands of pods need not look up for that.
            changed = health.wait_for(|now| outlook(now) != seen) => if changed.is_err() { return },
        }
    }
}

/// What of the chain's health matters for a pod.
fn outlook(health: &Health) -> (bool, Capabilities, HopState) {
    (health.reachable, health.capabilities, health.chain.clone())
}

/// The task of one pod. Its calls are in [`super::calls`].
pub(super) struct Worker {
    pub(super) context: Arc<Context>,
    pub(super) uid: PodUid,
    pub(super) remote: Backoff,
    pub(super) store: Backoff,
    /// How many times in a row a look-up found that the remote side has no such pod.
    pub(super) absent: u32,
    /// The status that the source has from us.
    written: Option<Arc<Value>>,
    /// The pod that was last compared with it, and when we last wrote.
    compared: Option<(Arc<Object>, Instant)>,
    /// The job id that the source has.
    recorded: Option<String>,
}

impl Worker {
    /// Acts until there is nothing to do. Gives the time to look again (now, if it just acted); `None` when all is done.
    async fn step(&mut self) -> Option<Option<Instant>> {
        let pod = self.context.table.get(&self.uid)?;
        let health = self.context.health.borrow().clone();
        self.tell_outage(&pod, &health);
        let pod = self.context.table.get(&self.uid)?;
        let wanted = self.refresh(&pod);
        let pod = self.context.table.get(&self.uid)?;
        let unrecorded = !pod.job.is_empty() && self.recorded.as_deref() != Some(&pod.job);
        let now = Instant::now();
        let facts = Facts {
            now,
            reachable: health.reachable,
            capabilities: health.capabilities,
            unwritten: self.is_unwritten(&pod, &wanted),
            unrecorded,
            next_remote: self.remote.next(),
            next_store: self.store.next(),
        };
        let action = decide(&pod, &facts);
        if !matches!(action, Action::Wait(_)) {
            tracing::debug!(pod = %named(&pod), uid = %self.uid, ?action);
        }
        match action {
            Action::Wait(until) => {
                let compare = self.next_comparison(&pod).filter(|time| *time > now);
                return Some(until.into_iter().chain(compare).min());
            }
            Action::Create => self.create(&pod, health.capabilities).await,
            Action::LookUp => self.look_up(&pod, health.capabilities).await,
            Action::DeleteRemote => self.delete_remote(&pod).await,
            Action::WriteStatus => drop(self.write(&pod, &wanted).await),
            Action::RecordJob => self.record(&pod).await,
            Action::Remove => self.remove(&pod).await,
            Action::Forget => {
                tracing::info!(pod = %named(&pod), uid = %self.uid, "gone");
                self.context.table.forget(&self.uid);
                return None;
            }
        }
        Some(Some(now))
    }

    /// Says on a pod that cannot go out which hop is in its way.
    fn tell_outage(&self, pod: &KnownPod, health: &Health) {
        let waits = matches!(pod.submission, Submission::Unsent) && !pod.is_terminating();
        let starting = health.chain.state == interlink_wire::HopStatus::Starting;
        if waits && !health.reachable && !starting {
            self.trouble(pod, "RemoteUnreachable", format!("the pod waits to be submitted: {}", health.sentence()));
        }
    }

    /// Makes the status anew and keeps it in the table.
    fn refresh(&self, pod: &KnownPod) -> Arc<Value> {
        // What has been settled before our time is not ours to touch.
        if pod.status.is_none() && pod.is_settled() {
            return Arc::new(pod.object.fields().get("status").cloned().unwrap_or_default());
        }
        let made = status::make(pod, self.context.host, Timestamp::now());
        if pod.status.as_deref() == Some(&made)
            && let Some(same) = &pod.status
        {
            return same.clone();
        }
        let made = Arc::new(made);
        self.context.table.update(&self.uid, |p| p.status = Some(made.clone()));
        made
    }

    fn is_unwritten(&mut self, pod: &KnownPod, wanted: &Value) -> bool {
        let current = pod.object.fields().get("status").unwrap_or(&Value::Null);
        match &self.written {
            Some(written) if **written != *wanted => true,
            Some(_) if self.next_comparison(pod).is_some_and(|time| time <= Instant::now()) => {
                self.compared = Some((pod.object.clone(), Instant::now()));
                let shown = status::shows(current, wanted);
                if !shown {
                    self.written = None;
                }
                !shown
            }
            Some(_) => false,
            None => !status::shows(current, wanted),
        }
    }

    /// When to see whether the source still shows what we wrote: the API server's own controllers call the pods of a node
    /// unready that was not heard of. Not at once, because what the source tells may be older than our last write; and
    /// not where it shows an end, which cannot be taken back.
    fn next_comparison(&self, pod: &KnownPod) -> Option<Instant> {
        let (object, when) = self.compared.as_ref()?;
        (!Arc::ptr_eq(object, &pod.object) && !pod.is_settled()).then(|| *when + RECONCILE)
    }

    /// Writes the status; whether the source has it now.
    pub(super) async fn write(&mut self, pod: &KnownPod, wanted: &Arc<Value>) -> bool {
        let result = {
            let Ok(_slot) = self.context.store_slots.acquire().await else { return false };
            self.context.store.write_status(&pod.object, wanted).await
        };
        let done = self.judge(pod, "the status could not be written", &result);
        if done {
            let before = self.written.as_deref().and_then(phase).unwrap_or_else(|| pod.object.phase()).to_owned();
            if result.is_ok() {
                self.announce(pod, &before, wanted);
            }
            // What was refused for good is not tried again until it is another status.
            self.written = Some(wanted.clone());
            self.compared = Some((pod.object.clone(), Instant::now()));
        }
        result.is_ok()
    }

    /// Writes the status that the table has now.
    pub(super) async fn write_now(&mut self) -> bool {
        let Some(pod) = self.context.table.get(&self.uid) else { return false };
        let wanted = self.refresh(&pod);
        self.write(&pod, &wanted).await
    }

    fn announce(&self, pod: &KnownPod, before: &str, wanted: &Value) {
        let after = phase(wanted).unwrap_or("");
        if before == after {
            return;
        }
        tracing::info!(pod = %named(pod), uid = %self.uid, jid = %pod.job, phase = after);
        let job = if pod.job.is_empty() { String::new() } else { format!(" as job {}", pod.job) };
        let place =
            pod.remote.as_ref().and_then(|r| r.node_name.as_deref()).map(|n| format!(" on {n}")).unwrap_or_default();
        match after {
            "Running" => self.context.store.event(&pod.object, Note::normal("Started", format!("runs{job}{place}"))),
            "Succeeded" => self
                .context
                .store
                .event(&pod.object, Note::normal("Completed", format!("all containers ended well{place}"))),
            "Failed" => {
                let said = wanted
                    .get("message")
                    .and_then(Value::as_str)
                    .map_or_else(|| status::failure(wanted), str::to_owned);
                self.context.store.event(&pod.object, Note::warning("Failed", said));
            }
            _ => {}
        }
    }

    async fn record(&mut self, pod: &KnownPod) {
        let result = {
            let Ok(_slot) = self.context.store_slots.acquire().await else { return };
            self.context.store.record_job(&pod.object, &pod.job).await
        };
        if self.judge(pod, "the job id could not be recorded", &result) {
            self.recorded = Some(pod.job.clone());
        }
    }

    async fn remove(&mut self, pod: &KnownPod) {
        let result = {
            let Ok(_slot) = self.context.store_slots.acquire().await else { return };
            self.context.store.remove(&pod.object).await
        };
        match result {
            Ok(()) | Err(StoreError::Gone) => {
                // Nothing is left to be done remotely, and the source will say that it is gone; both are noted here.
                self.context.table.update(&self.uid, |p| {
                    p.present = false;
                    p.ending = crate::pod_table::Ending::Confirmed;
                });
            }
            Err(error) => {
                self.store.failed();
                tracing::warn!(pod = %named(pod), uid = %self.uid, err = %error, "the ended pod could not be removed");
            }
        }
    }

    /// Whether a write to the source needs no repetition.
    fn judge(&mut self, pod: &KnownPod, what: &str, result: &Result<(), StoreError>) -> bool {
        match result {
            Ok(()) => self.store.succeeded(),
            // The source will say so itself.
            Err(StoreError::Gone) => {}
            Err(StoreError::Rejected(why)) => {
                tracing::warn!(pod = %named(pod), uid = %self.uid, err = %why, "{what}");
            }
            Err(StoreError::Unavailable(why)) => {
                self.store.failed();
                tracing::warn!(pod = %named(pod), uid = %self.uid, err = %why, "{what}; it is tried again");
                return false;
            }
        }
        true
    }

    /// Notes why the pod does not go on; an event says so when it is news.
    pub(super) fn trouble(&self, pod: &KnownPod, reason: &'static str, message: String) {
        let news = self.context.table.update(&self.uid, |p| {
            let news = p.trouble.as_ref().is_none_or(|(r, m)| *r != reason || *m != message);
            p.trouble = Some((reason, message.clone()));
            news
        });
        if news == Some(true) {
            tracing::warn!(pod = %named(pod), uid = %self.uid, reason, "{message}");
        }
        self.context.store.event(&pod.object, Note::warning(reason, message));
    }
}

fn phase(status: &Value) -> Option<&str> {
    status.get("phase").and_then(Value::as_str)
}

/// `namespace/name`, for log lines.
pub(super) fn named(pod: &KnownPod) -> String {
    format!("{}/{}", pod.namespace(), pod.name())
}
