//! `interlinkctl run`: drives the interLink API with one pod as a virtual kubelet would, without Kubernetes.
//!
//! ```text
//!   manifest ─▶ resolve ─▶ submit ─▶ watch (status, 1 s) ─▶ outcome ─▶ delete ─▶ exit code
//!                                      └▶ followers ─▶ output (stdout)
//! ```
//!
//! An outage never ends the pod and never submits it twice; it is told once per hop. Ctrl-C, SIGTERM and `--timeout`
//! delete the pod.

pub mod api;
pub mod follow;
pub mod outage;
pub mod outcome;
pub mod output;
pub mod phase;
pub mod prefix;
pub mod screen;
pub mod signal;
pub mod submit;
pub mod watch;

use std::path::Path;
use std::time::Duration;

use interlink_daemon::Failure;
use interlink_kubelet::resolve::{NodeFacts, ResolveSettings, resolve};
use interlink_transport::Endpoint;
use interlink_wire::{Fault, LogOpts, LogStruct, Object, PodCreateRequests, PodExtract};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::manifest::Manifest;
use api::Api;
use screen::Screen;
use signal::Interrupts;
use submit::{Stage, Submitted, submit};

/// Exit code on `--timeout`, as timeout(1) gives it.
const TIMED_OUT: u8 = 124;

/// How long the deletion of the pod is tried while a hop is down; then a sentence says what is left.
const DELETE_PATIENCE: Duration = Duration::from_secs(30);

/// How long a create that is under way may take before the pod is deleted all the same.
const CREATE_PATIENCE: Duration = Duration::from_secs(10);

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The manifest's text.
    pub manifest: String,
    /// Where the API server listens.
    pub api: Endpoint,
    /// Namespace, over the manifest's.
    pub namespace: Option<String>,
    /// The longest time, or for ever.
    pub timeout: Option<Duration>,
    /// Leave the pod with the plugin at the end.
    pub keep: bool,
}

/// Reads a manifest file; `-` is standard input.
///
/// # Errors
/// [`Failure`] naming the file.
pub fn read_manifest(file: &Path) -> Result<String, Failure> {
    let read = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin().lock())
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|e| Failure::failed(format!("can't read the manifest {}: {e}", file.display())))
}

/// Why following a pod ended.
#[derive(Debug)]
pub enum End {
    /// With the pod: its exit code.
    Code(u8),
    /// The plugin doesn't know the pod (any more): one sentence.
    Lost(String),
    /// The pod was never accepted.
    Refused(Fault),
}

/// Runs a pod to its end; the exit code.
///
/// # Errors
/// [`Failure`] where the pod can't be run at all: a wrong manifest, a refused create.
pub async fn run(options: Options) -> Result<u8, Failure> {
    let mut interrupts = Interrupts::install().map_err(|e| Failure::failed(format!("can't handle signals: {e}")))?;
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    let uid = uuid::Uuid::new_v4().to_string();
    let manifest = Manifest::read(&options.manifest, options.namespace.as_deref(), &uid, Timestamp::now())
        .map_err(Failure::failed)?;
    let settings = ResolveSettings {
        node: NodeFacts { name: "interlinkctl".into(), addresses: vec!["127.0.0.1".into()], ..NodeFacts::default() },
        ..ResolveSettings::default()
    };
    let request = resolve(&manifest.pod, &settings, &manifest).await.map_err(Failure::failed)?.request;
    let pod = Pod::new(request).map_err(Failure::failed)?;
    let owner = format!("local/{}", nix::unistd::geteuid());
    let api = Api::new(options.api, owner, format!("Run#{}", &uid[..8]));
    let screen = Screen::new(pod.request.pod.name());
    let (stage, mut staged) = tokio::sync::watch::channel(Stage::NotSent);

    let mut driving = std::pin::pin!(drive(&api, &pod, &screen, &stage));
    let ended = tokio::select! {
        end = &mut driving => Ok(end),
        () = at(deadline) => {
            screen.say(&format!("not finished within {} s", options.timeout.unwrap_or_default().as_secs()));
            Err(TIMED_OUT)
        }
        code = interrupts.next() => Err(code),
    };
    if ended.is_err() {
        tokio::select! {
            _ = &mut driving => {}
            _ = staged.wait_for(|stage| *stage != Stage::Creating) => {}
            () = tokio::time::sleep(CREATE_PATIENCE) => {}
        }
    }
    let result = match &ended {
        Ok(End::Code(code)) | Err(code) => Ok(*code),
        Ok(End::Lost(sentence)) => Err(Failure::failed(sentence)),
        Ok(End::Refused(fault)) => Err(Failure::failed(format!("the pod was refused by {fault}"))),
    };
    if options.keep && ended.is_ok() && result.is_ok() {
        screen.say(&format!("kept as {uid}"));
    } else if *staged.borrow() != Stage::NotSent {
        tokio::select! {
            () = delete(&api, &pod.request.pod, &screen) => {}
            _ = interrupts.next() => screen.say("interrupted again; the plugin may still have the pod"),
        }
    }
    result
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A resolved pod.
#[derive(Debug)]
struct Pod {
    request: PodCreateRequests,
    /// Names of its containers, init containers first.
    containers: Vec<String>,
}

impl Pod {
    fn new(request: PodCreateRequests) -> Result<Self, interlink_wire::DecodeError> {
        let extract = PodExtract::from_object(&request.pod)?;
        Ok(Self { containers: extract.all_containers().map(|c| c.name.clone()).collect(), request })
    }

    fn log_request(&self, container: &str) -> LogStruct {
        let pod = &self.request.pod;
        LogStruct {
            namespace: pod.namespace().to_owned(),
            pod_uid: pod.uid().to_owned(),
            pod_name: pod.name().to_owned(),
            container_name: container.to_owned(),
            opts: LogOpts::default(),
        }
    }
}

/// Submits the pod, follows it, and returns when it has ended and all its output is shown.
async fn drive(api: &Api, pod: &Pod, screen: &Screen, stage: &tokio::sync::watch::Sender<Stage>) -> End {
    let certain = match submit(api, &pod.request, screen, stage).await {
        Submitted::Accepted => true,
        Submitted::Refused(fault) => return End::Refused(fault),
        Submitted::Unknown(fault) => {
            screen.say(&format!("submission unknown ({fault}); waiting for a status that knows the pod"));
            false
        }
    };
    let (status, watched) = tokio::sync::watch::channel(None);
    let (out, writing) = output::start(&pod.containers, tokio::io::stdout());
    let followers = pod.containers.iter().enumerate().map(|(container, name)| {
        let request = pod.log_request(name);
        follow::Follower { api, screen, request, status: watched.clone(), out: out.clone(), container }.follow()
    });
    let followers = futures_util::future::join_all(followers);
    drop(out);
    let watching = async {
        let end = watch::watch(api, &pod.request.pod, screen, &status, certain).await;
        // Followers of containers that never started learn that there is nothing to wait for.
        drop(status);
        end
    };
    let (end, _) = tokio::join!(watching, followers);
    // Every sender is gone with its follower.
    let _ = writing.await;
    end
}

/// Deletes the pod, as Kubernetes does with its grace period; tries for a while when a hop is down.
async fn delete(api: &Api, pod: &Object, screen: &Screen) {
    let deleting = deleted(pod, Timestamp::now());
    let give_up = Instant::now() + DELETE_PATIENCE;
    loop {
        match api.delete(&deleting).await {
            Ok(()) => return screen.up(),
            Err(fault) if !fault.retry || Instant::now() >= give_up => {
                let uid = pod.uid();
                return screen.say(&format!("could not be deleted: {fault}; the plugin may still have it as {uid}"));
            }
            Err(fault) => screen.down(&fault, &[]),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The pod as Kubernetes hands it to a kubelet for deletion.
pub(crate) fn deleted(pod: &Object, now: Timestamp) -> Object {
    let mut pod = pod.clone();
    // Kubernetes' default for pods that say nothing.
    let grace = pod.fields().get("spec").and_then(|s| s.get("terminationGracePeriodSeconds")).cloned();
    if let Some(serde_json::Value::Object(metadata)) = pod.fields_mut().get_mut("metadata") {
        metadata.insert("deletionTimestamp".into(), format!("{now:.0}").into());
        metadata.insert("deletionGracePeriodSeconds".into(), grace.unwrap_or(json!(30)));
    }
    pod
}
