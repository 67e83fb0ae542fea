//! The test pod as a user of the cluster runs it.

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, LogParams, PostParams};
use tokio::time::timeout;

use super::{End, GLANCE, NAME, REMOVAL, Trial, with_remains};
use crate::check::step::Fault;
use crate::run::signal::Interrupts;

/// Pods of earlier checks that were killed are removed once they are that old, in seconds.
const ABANDONED: i64 = 30 * 60;

pub(super) async fn run(client: &kube::Client, trial: &Trial, interrupts: &mut Interrupts) -> End {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &trial.options.namespace);
    let pod: Pod = match serde_json::from_value(trial.manifest()) {
        Ok(pod) => pod,
        Err(error) => return End::Closed(error.to_string()),
    };
    sweep(&pods, trial).await;
    let created = timeout(trial.limit, pods.create(&PostParams::default(), &pod)).await;
    let end = match created {
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            let namespace = &trial.options.namespace;
            return End::Closed(format!("this kubeconfig may not create pods in the namespace {namespace}"));
        }
        Ok(Ok(_)) => tokio::select! {
            end = follow(&pods, trial) => end,
            code = interrupts.next() => End::Interrupted(code),
        },
        Ok(Err(error)) => End::Failed(Fault::new(
            format!("Kubernetes does not take the test pod: {error}"),
            "mend what it names; a quota or a policy of the namespace may be meant (--namespace chooses another)",
        )),
        Err(_) => End::Failed(Fault::new(
            format!("Kubernetes did not take the test pod within {} s", trial.limit.as_secs()),
            "see whether the cluster is well",
        )),
    };
    // Also where the create had no answer: it may have come about.
    let remains = remove(&pods, trial).await;
    with_remains(end, remains, format!("run kubectl delete pod {} -n {}", trial.name, trial.options.namespace))
}

async fn follow(pods: &Api<Pod>, trial: &Trial) -> End {
    let began = Instant::now();
    let mut state = "Kubernetes has not answered".to_owned();
    let (on, phase) = loop {
        if began.elapsed() >= trial.options.patience {
            return trial.late(&state);
        }
        if let Ok(Ok(Some(pod))) = timeout(trial.limit, pods.get_opt(&trial.name)).await {
            let status = pod.status.clone().unwrap_or_default();
            let phase = status.phase.clone().unwrap_or_default();
            state = in_words(&pod, &phase);
            if phase == "Succeeded" || phase == "Failed" {
                let job = pod.metadata.annotations.and_then(|all| all.get("JobID").cloned());
                break (job.map(|job| format!(" as job {job}")).unwrap_or_default(), phase);
            }
        }
        tokio::time::sleep(GLANCE).await;
    };
    if phase == "Failed" {
        return trial.ended_badly(&state);
    }
    match timeout(trial.limit, pods.logs(&trial.name, &LogParams::default())).await {
        Ok(Ok(log)) => trial.verify(&log, &on),
        // Rights to read logs are rights of their own.
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            End::Well(format!("the test pod ran{on}; this kubeconfig may not read its log"))
        }
        Ok(Err(error)) => End::Failed(Fault::new(
            format!("the test pod ran{on}, but its log can't be read: {error}"),
            "see the step \"kubelet port\": the API server must reach virtual-kubelet",
        )),
        Err(_) => End::Failed(Fault::new(
            format!("the test pod ran{on}, but its log did not come within {} s", trial.limit.as_secs()),
            "see the step \"kubelet port\": the API server must reach virtual-kubelet",
        )),
    }
}

/// The phase, with the first reason that is given for it.
fn in_words(pod: &Pod, phase: &str) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let of_container = containers.iter().filter_map(|c| c.state.as_ref()).find_map(|state| {
        let waiting = state.waiting.as_ref().map(|w| (w.reason.clone(), w.message.clone()));
        waiting.or_else(|| state.terminated.as_ref().map(|t| (t.reason.clone(), t.message.clone())))
    });
    let unscheduled =
        status.conditions.unwrap_or_default().into_iter().find(|c| c.status == "False" && c.message.is_some());
    let (reason, message) = of_container.or_else(|| unscheduled.map(|c| (c.reason, c.message))).unwrap_or_default();
    let words: Vec<String> = [reason, message, status.reason, status.message].into_iter().flatten().collect();
    let phase = if phase.is_empty() { "no phase yet" } else { phase };
    if words.is_empty() { phase.to_owned() } else { format!("{phase} ({})", words.join(": ")) }
}

/// Removes the pod, and says why where it can't.
async fn remove(pods: &Api<Pod>, trial: &Trial) -> Option<String> {
    let give_up = Instant::now() + REMOVAL;
    let mut asked = false;
    loop {
        let why = if asked {
            match timeout(trial.limit, pods.get_opt(&trial.name)).await {
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(_))) => "it is still there".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "Kubernetes does not answer".to_owned(),
            }
        } else {
            match timeout(trial.limit, pods.delete(&trial.name, &DeleteParams::default())).await {
                Ok(Ok(_)) => {
                    asked = true;
                    continue;
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => return None,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "Kubernetes does not answer".to_owned(),
            }
        };
        if Instant::now() >= give_up {
            return Some(why);
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Removes the pods of checks that were killed. What doesn't succeed, the next check tries again.
async fn sweep(pods: &Api<Pod>, trial: &Trial) {
    let list = ListParams::default().labels(&format!("app.kubernetes.io/name={NAME}"));
    let Ok(Ok(found)) = timeout(trial.limit, pods.list(&list)).await else { return };
    let now = jiff::Timestamp::now().as_second();
    for pod in found {
        let old = pod.metadata.creation_timestamp.is_some_and(|made| now - made.0.as_second() > ABANDONED);
        if let (true, Some(name)) = (old, &pod.metadata.name) {
            let _ = timeout(trial.limit, pods.delete(name, &DeleteParams::default())).await;
        }
    }
}
