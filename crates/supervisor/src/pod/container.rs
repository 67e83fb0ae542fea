//! One container, from its preparation to its end.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use interlink_wire::JobId;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::ending::KILLED;
use super::{ContainerId, End, Happening, How};
use crate::children::{Children, Contained, Process};
use crate::contain::{Spec, StartFailure};
use crate::exit;
use crate::launch::{ContainerLaunch, Launch};
use crate::layout::Kind;
use crate::oom;
use crate::output::{Sink, pump};
use crate::runtime::{self, Surroundings};

/// How long output may still come from processes that left the container's session.
const DRAIN: Duration = Duration::from_secs(3);
/// A start failure is one sentence; more is not read.
const STATUS_LIMIT: u64 = 64 * 1024;

/// How the pod's containers are to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// Not at all.
    No,
    /// TERM.
    Ask,
    /// KILL.
    Force,
}

/// What all containers of a pod share.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) dir: PathBuf,
    pub(crate) launch: Rc<Launch>,
    pub(crate) job_id: JobId,
    pub(crate) children: Children,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) happenings: mpsc::Sender<(ContainerId, Happening)>,
}

/// Runs a container to its end and tells what happens to it.
pub(crate) async fn run(mut pod: Pod, id: ContainerId) {
    let launch = Rc::clone(&pod.launch);
    let list = if id.kind == Kind::Init { &launch.init_containers } else { &launch.containers };
    let Some(container) = list.get(id.index) else { return };
    let (how, at, mut notes) = live(&mut pod, id, container).await;
    if let Some(code) = match &how {
        How::Exited { code, .. } => Some(*code),
        How::OutOfMemory { .. } => Some(KILLED),
        How::NotStarted(failure) => Some(failure.exit_code),
        How::GivenUp => None,
    } {
        notes.extend(runtime::doubt(&container.runtime, code).map(str::to_owned));
        let (dir, name) = (pod.dir.clone(), container.name.clone());
        let stored = tokio::task::spawn_blocking(move || exit::store(&dir, id.kind, &name, code)).await;
        if let Ok(Err(error)) = stored {
            tracing::warn!(err = %error, "cannot write the exit code of container {}", container.name);
        }
    }
    pod.tell(id, Happening::Ended(End { how, at, notes })).await;
}

async fn live(pod: &mut Pod, id: ContainerId, container: &ContainerLaunch) -> (How, Timestamp, Vec<String>) {
    let over = |how| (how, Timestamp::now(), Vec::new());
    if let Some(message) = runtime::preparing(container) {
        pod.tell(id, Happening::Preparing(message)).await;
    }
    let children = pod.children.clone();
    let around = Surroundings {
        pod_dir: &pod.dir,
        image_cache: &pod.launch.image_cache,
        job_id: &pod.job_id,
        kind: id.kind,
        children: &children,
    };
    let mut stop = pod.stop.clone();
    let prepared = tokio::select! {
        prepared = runtime::prepare(container, &around) => prepared,
        () = stopped(&mut stop, Stop::No) => return over(How::GivenUp),
    };
    let spec = match prepared {
        Ok(spec) => spec,
        Err(failure) => return over(How::NotStarted(failure)),
    };
    let Contained { mut process, spec: spec_pipe, output, status } = match pod.children.spawn_contained() {
        Ok(contained) => contained,
        Err(error) => {
            let message = format!("the node cannot start another process: {error}");
            return over(How::NotStarted(StartFailure::setup(message)));
        }
    };
    let (dir, name) = (pod.dir.clone(), container.name.clone());
    let sink = tokio::task::spawn_blocking(move || Sink::open(&dir, id.kind, &name)).await;
    let (give_up, given_up) = oneshot::channel();
    let mut pumping = sink.ok().map(|sink| spawn_local(pump(output, sink, given_up)));

    let starting = spawn_local(hand_over(spec, spec_pipe, status));
    let kills_before = oom::kills();
    let group = runtime::signals_group(&container.runtime);
    let mut ended = lives(pod, id, &mut process, group, starting).await;
    // a shell that outlives its killed child reports the same code without the signal
    if let How::Exited { code: KILLED, signal } = ended
        && *pod.stop.borrow() != Stop::Force
        && oom::kills() > kills_before
    {
        ended = How::OutOfMemory { signal };
    }

    let at = Timestamp::now();
    let mut notes = Vec::new();
    if let Some(pumping) = &mut pumping {
        let loss = match timeout(DRAIN, &mut *pumping).await {
            Ok(loss) => loss,
            Err(_) => {
                let _ = give_up.send(());
                pumping.await
            }
        };
        notes.extend(loss.ok().and_then(|loss| loss.sentence()));
    }
    (ended, at, notes)
}

/// Gives the shim its spec and learns whether the program runs: `None`, or why not.
async fn hand_over(
    spec: Spec,
    mut spec_pipe: tokio::net::unix::pipe::Sender,
    status: tokio::net::unix::pipe::Receiver,
) -> Option<StartFailure> {
    let text = serde_json::to_vec(&spec).unwrap_or_default();
    // a shim that died early says so by its end
    let _ = spec_pipe.write_all(&text).await;
    drop(spec_pipe);
    let mut answer = Vec::new();
    let _ = status.take(STATUS_LIMIT).read_to_end(&mut answer).await;
    if answer.is_empty() {
        return None;
    }
    Some(serde_json::from_slice(&answer).unwrap_or_else(|_| {
        StartFailure::setup(format!("the start of the program failed: {}", String::from_utf8_lossy(&answer).trim()))
    }))
}

/// Follows a process from its start to its end, passing on the wish that it stop: to its `group` or to itself.
async fn lives(
    pod: &mut Pod,
    id: ContainerId,
    process: &mut Process,
    group: bool,
    mut starting: tokio::task::JoinHandle<Option<StartFailure>>,
) -> How {
    let mut done = Stop::No;
    let mut known = false;
    loop {
        tokio::select! {
            biased;
            failure = &mut starting, if !known => {
                known = true;
                if let Ok(Some(failure)) = failure {
                    process.ended().await;
                    return How::NotStarted(failure);
                }
                pod.tell(id, Happening::Started(Timestamp::now())).await;
            }
            status = process.ended(), if known => return exited(status),
            () = stopped(&mut pod.stop, done) => {
                done = *pod.stop.borrow();
                match done {
                    Stop::Force => {
                        process.signal(Signal::SIGKILL);
                        crate::processes::kill_session(process.pid());
                    }
                    _ if group => process.signal(Signal::SIGTERM),
                    _ => process.signal_alone(Signal::SIGTERM),
                }
            }
        }
    }
}

/// Returns when more than `done` is wanted.
async fn stopped(stop: &mut watch::Receiver<Stop>, done: Stop) {
    if stop.wait_for(|wanted| *wanted > done).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Shells and Kubernetes both report a signal as 128 + its number.
fn exited(status: ExitStatus) -> How {
    match (status.code(), status.signal()) {
        (Some(code), _) => How::Exited { code, signal: None },
        (None, Some(signal)) => How::Exited { code: 128 + signal, signal: Some(signal) },
        (None, None) => How::Exited { code: 255, signal: None },
    }
}

impl Pod {
    async fn tell(&self, id: ContainerId, happening: Happening) {
        // the receiver goes only together with the whole supervisor
        let _ = self.happenings.send((id, happening)).await;
    }
}
