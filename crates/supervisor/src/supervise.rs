//! The supervisor's main loop: claims the directory, runs the pod, ends it when told to, and says what became of it.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use interlink_wire::JobId;
use jiff::Timestamp;
use nix::sys::prctl;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::ballast::Ballast;
use crate::children::{self, Children};
use crate::claim::{Claim, Held, claim};
use crate::deletion::Deletion;
use crate::launch::Launch;
use crate::layout::Kind;
use crate::pod::container::{self, Stop};
use crate::pod::{ContainerId, Happening, Lifecycle};
use crate::publish::{Place, Publisher};
use crate::report::{EndReason, Ending, Report};
use crate::stopping::{Asked, Signals, deleted, ending};
use crate::{exit, layout, processes};

/// How long the first report may take to become durable; nothing is started before.
const FIRST_WRITE: Duration = Duration::from_secs(60);
/// How long the last report may take: the job would be over otherwise, and nobody would know how.
const LAST_WRITE: Duration = Duration::from_secs(300);
/// What is left to the runtime's threads at the end: a file system that hangs must not keep the job.
const THREADS: Duration = Duration::from_secs(2);
/// Rounds of killing and reaping what containers left behind.
const SWEEPS: usize = 20;
const SWEEP_PAUSE: Duration = Duration::from_millis(50);

/// Runs the pod of `pod_dir` as job `job_id` to its end. Returns the exit code for the process: the highest of the
/// containers' exit codes, or one of those of [`exit`] when nothing was run.
///
/// SIGTERM, SIGINT and SIGUSR1 end the pod; SIGUSR2 says that the job's time limit is near. Must be called from a
/// process that has no other children and needs no other signal handling, in a thread that lives as long as it: the
/// kernel ends the containers with that thread.
#[must_use]
pub fn supervise(pod_dir: &Path, job_id: &JobId) -> u8 {
    let started = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match started {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(err = %error, "the supervisor cannot start on this node");
            return exit::CANNOT_WRITE;
        }
    };
    let code = LocalSet::new().block_on(&runtime, run(pod_dir, job_id));
    runtime.shutdown_timeout(THREADS);
    code
}

async fn run(pod_dir: &Path, job_id: &JobId) -> u8 {
    match prepare(pod_dir, job_id) {
        Ok(Start::Leave(code)) => code,
        Ok(Start::Run(supervisor)) => supervisor.run().await,
        Err(error) => {
            tracing::error!(err = %error, "cannot work in pod directory {}: it must be there and writable on the compute node", pod_dir.display());
            exit::CANNOT_WRITE
        }
    }
}

enum Start {
    Leave(u8),
    Run(Box<Supervisor>),
}

struct Supervisor {
    pod_dir: PathBuf,
    job_id: JobId,
    /// Held to the end.
    _claim: Held,
    launch: Result<Launch, String>,
    before: Option<Report>,
    signals: Signals,
    deaths: Signal,
}

fn prepare(pod_dir: &Path, job_id: &JobId) -> io::Result<Start> {
    // before the claim: whoever sees it may signal us
    let signals = Signals::install()?;
    let deaths = children::deaths()?;
    prctl::set_child_subreaper(true)?;
    let pod_dir = pod_dir.canonicalize()?;
    let claim = match claim(&pod_dir, job_id)? {
        Claim::Ours(held) => held,
        Claim::Foreign(owner) => {
            tracing::info!("pod directory {} is claimed by {owner}: nothing to do for job {job_id}", pod_dir.display());
            return Ok(Start::Leave(exit::CLAIMED_BY_ANOTHER_JOB));
        }
    };
    let before = Report::load(&pod_dir)?;
    let launch = Launch::load(&pod_dir).map_err(|error| error.to_string());
    Ok(Start::Run(Box::new(Supervisor {
        pod_dir,
        job_id: job_id.clone(),
        _claim: claim,
        launch,
        before,
        signals,
        deaths,
    })))
}

impl Supervisor {
    async fn run(self: Box<Self>) -> u8 {
        let node_name = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        let sequence = self.before.as_ref().map_or(1, |before| before.sequence + 1);
        let place = Place {
            pod_dir: self.pod_dir.clone(),
            spool: self.launch.as_ref().ok().map(|launch| (launch.spool.clone(), launch.uid.clone())),
        };
        let publisher = Publisher::start(place, sequence);
        let now = Timestamp::now();

        let launch = match &self.launch {
            Ok(launch) => launch.clone(),
            Err(why) => {
                tracing::error!("{why}");
                publisher.publish(self.unusable(&node_name, why, now));
                publisher.settled(LAST_WRITE).await;
                return exit::BAD_LAUNCH;
            }
        };
        let mut lifecycle = Lifecycle::new(&launch, self.job_id.clone(), node_name);
        if let Some(before) = &self.before {
            if before.finished {
                // only the event may have been lost
                publisher.publish(Report { observed_at: now, ..before.clone() });
                publisher.settled(LAST_WRITE).await;
                return code(before);
            }
            if before.started {
                let message = format!(
                    "job {} was started again on {} after its first supervisor was lost on {}: a pod runs once",
                    self.job_id,
                    lifecycle.report(now).node_name,
                    before.node_name
                );
                lifecycle.give_up_lost(before, Ending { reason: EndReason::SupervisorLost, message }, now);
                return last_word(&self.pod_dir, &publisher, &lifecycle).await;
            }
        }
        if Deletion::load(&self.pod_dir).is_some() {
            lifecycle.stop(deleted(), now);
            last_word(&self.pod_dir, &publisher, &lifecycle).await;
            return exit::DELETED_BEFORE_START;
        }
        let first = lifecycle.begin();
        publisher.publish(lifecycle.report(now));
        if !publisher.settled(FIRST_WRITE).await {
            tracing::error!("state.json cannot be written in {}: nothing is started", self.pod_dir.display());
            return exit::CANNOT_WRITE;
        }
        if let Err(error) = std::fs::create_dir_all(self.pod_dir.join(layout::STAGE)) {
            tracing::warn!(err = %error, "cannot make {} in {}", layout::STAGE, self.pod_dir.display());
        }
        self.conduct(launch, lifecycle, publisher, first).await
    }

    /// Runs the containers until all have ended.
    async fn conduct(
        self: Box<Self>,
        launch: Launch,
        mut lifecycle: Lifecycle,
        publisher: Publisher,
        first: Vec<ContainerId>,
    ) -> u8 {
        let Self { pod_dir, job_id, mut signals, deaths, _claim, .. } = *self;
        let ballast = Ballast::take(&pod_dir);
        let children = Children::default();
        let reaping = tokio::task::spawn_local(children.clone().reap_always(deaths));
        let (stop, stop_wanted) = watch::channel(Stop::No);
        let (happenings, mut happened) = mpsc::channel(64);
        let launch = Rc::new(launch);
        let pod = container::Pod {
            dir: pod_dir.clone(),
            launch: Rc::clone(&launch),
            job_id,
            children: children.clone(),
            stop: stop_wanted,
            happenings,
        };
        let mut running = JoinSet::new();
        for id in first {
            running.spawn_local(container::run(pod.clone(), id));
        }
        let begun = Instant::now();
        let deadline =
            launch.active_deadline_seconds.and_then(|seconds| begun.checked_add(Duration::from_secs(seconds)));
        let mut kill_at: Option<Instant> = None;
        while !lifecycle.finished() {
            let asked = tokio::select! {
                Some((id, happening)) = happened.recv() => {
                    log(&launch, id, &happening);
                    for next in lifecycle.happened(id, happening) {
                        running.spawn_local(container::run(pod.clone(), next));
                    }
                    None
                }
                asked = signals.next() => Some(asked),
                () = at(deadline), if *stop.borrow() == Stop::No => Some(Asked::ActiveDeadline),
                () = at(kill_at), if *stop.borrow() == Stop::Ask => {
                    stop.send_replace(Stop::Force);
                    None
                }
            };
            if let Some(asked) = asked {
                let deletion = Deletion::load(&pod_dir);
                let grace = deletion.and_then(|d| d.grace_seconds).unwrap_or(launch.grace_seconds);
                // so long that no clock shows it: never
                let until = Instant::now().checked_add(Duration::from_secs(grace));
                // a later delete may be in more of a hurry, never in less
                kill_at = kill_at.into_iter().chain(until).min();
                let ending = ending(asked, deletion, &launch);
                tracing::info!("ending the pod: {}", ending.message);
                lifecycle.stop(ending, Timestamp::now());
                stop.send_if_modified(|level| std::mem::replace(level, Stop::Ask.max(*level)) == Stop::No);
            }
            publisher.publish(lifecycle.report(Timestamp::now()));
        }
        while running.join_next().await.is_some() {}
        sweep(&children).await;
        reaping.abort();
        drop(ballast);
        last_word(&pod_dir, &publisher, &lifecycle).await
    }

    fn unusable(&self, node_name: &str, why: &str, at: Timestamp) -> Report {
        Report {
            sequence: 0,
            job_id: self.job_id.clone(),
            node_name: node_name.to_owned(),
            observed_at: at,
            started: false,
            finished: true,
            ending: Some(Ending { reason: EndReason::SupervisorFailed, message: why.to_owned() }),
            init: Vec::new(),
            containers: Vec::new(),
        }
    }
}

/// Writes the final report and whatever exit code is not yet on record.
async fn last_word(pod_dir: &Path, publisher: &Publisher, lifecycle: &Lifecycle) -> u8 {
    let report = lifecycle.report(Timestamp::now());
    let code = code(&report);
    let (dir, ended) = (pod_dir.to_owned(), report.clone());
    // whoever reads "finished" finds the codes
    let codes = tokio::task::spawn_blocking(move || store_missing_codes(&dir, &ended));
    let _ = timeout(LAST_WRITE, codes).await;
    publisher.publish(report);
    if publisher.settled(LAST_WRITE).await { code } else { code.max(exit::CANNOT_WRITE) }
}

/// Containers that never ran have a code, too: readers of the files take a missing one for "not yet".
fn store_missing_codes(pod_dir: &Path, report: &Report) {
    for (kind, list) in [(Kind::Init, &report.init), (Kind::Main, &report.containers)] {
        for status in list {
            let Some(ended) = status.state.terminated() else { continue };
            if exit::load(pod_dir, kind, &status.name).is_none()
                && let Err(error) = exit::store(pod_dir, kind, &status.name, ended.exit_code)
            {
                tracing::warn!(err = %error, "cannot write the exit code of container {}", status.name);
            }
        }
    }
}

fn code(report: &Report) -> u8 {
    u8::try_from(report.highest_exit_code()).unwrap_or(u8::MAX)
}

/// Ends what containers left behind: processes that made sessions of their own.
async fn sweep(children: &Children) {
    for _ in 0..SWEEPS {
        children.reap();
        if processes::kill_all() == 0 {
            break;
        }
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
    children.reap();
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

fn log(launch: &Launch, id: ContainerId, happening: &Happening) {
    let list = if id.kind == Kind::Init { &launch.init_containers } else { &launch.containers };
    let name = list.get(id.index).map_or("", |container| &container.name);
    match happening {
        Happening::Preparing(message) => tracing::info!("container {name}: {message}"),
        Happening::Started(_) => tracing::info!("container {name} started"),
        Happening::Ended(end) => tracing::info!("container {name} ended: {:?}", end.how),
    }
}
