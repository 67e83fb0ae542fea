//! The test pod as a virtual kubelet hands it over: for a chain without a cluster.

use std::time::Instant;

use interlink_kubelet::resolve::{NodeFacts, ResolveSettings, resolve};
use interlink_transport::Endpoint;
use interlink_wire::{LogOpts, LogStruct, Object, PodStatus};
use jiff::Timestamp;

use super::{End, GLANCE, REMOVAL, Trial, with_remains};
use crate::check::step::Fault;
use crate::manifest::Manifest;
use crate::run::api::Api;
use crate::run::outcome::exit_code;
use crate::run::phase::Teller;
use crate::run::signal::Interrupts;

pub(super) async fn run(server: &Endpoint, trial: &Trial, interrupts: &mut Interrupts) -> End {
    let uid = uuid::Uuid::new_v4().to_string();
    let made = Manifest::read(&trial.manifest().to_string(), None, &uid, Timestamp::now());
    let manifest = match made {
        Ok(manifest) => manifest,
        Err(error) => return End::Closed(error.to_string()),
    };
    let settings = ResolveSettings {
        node: NodeFacts { name: trial.node.clone(), addresses: vec!["127.0.0.1".into()], ..NodeFacts::default() },
        ..ResolveSettings::default()
    };
    let request = match resolve(&manifest.pod, &settings, &manifest).await {
        Ok(resolved) => resolved.request,
        Err(error) => return End::Closed(error.to_string()),
    };
    let owner = format!("local/{}", nix::unistd::geteuid());
    let api = Api::new(server.clone(), owner, format!("Check#{}", &uid[..8]));
    let end = tokio::select! {
        end = follow(&api, &request, trial) => end,
        code = interrupts.next() => End::Interrupted(code),
    };
    // Also where the create had no answer, or was broken off: it may have come about.
    let remains = remove(&api, &request.pod, trial).await;
    with_remains(end, remains, format!("delete the pod {uid} with its job"))
}

async fn follow(api: &Api, request: &interlink_wire::PodCreateRequests, trial: &Trial) -> End {
    if let Err(refused) = api.create(request).await {
        return End::Failed(Fault::of_sentence(
            &format!("the test pod was refused: {}", refused.fault),
            "look at interlink-plugin's log",
        ));
    }
    let began = Instant::now();
    let mut state = "nothing is known of it".to_owned();
    let status = loop {
        if began.elapsed() >= trial.options.patience {
            return trial.late(&state);
        }
        match tokio::time::timeout(trial.limit, api.status(&request.pod)).await {
            Ok(Ok(Some(status))) => {
                state = in_words(&status);
                if exit_code(&status).is_some() {
                    break status;
                }
            }
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(fault)) => state = fault.to_string(),
        }
        tokio::time::sleep(GLANCE).await;
    };
    if exit_code(&status) != Some(0) {
        return trial.ended_badly(&state);
    }
    let wanted = LogStruct {
        namespace: request.pod.namespace().to_owned(),
        pod_uid: request.pod.uid().to_owned(),
        pod_name: request.pod.name().to_owned(),
        container_name: "check".to_owned(),
        opts: LogOpts::default(),
    };
    let node = status.node_name.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    let on = if status.jid.is_empty() { node } else { format!(" as job {}{node}", status.jid) };
    match tokio::time::timeout(trial.limit, api.whole_log(&wanted)).await {
        Ok(Ok(log)) => trial.verify(&String::from_utf8_lossy(&log), &on),
        Ok(Err(fault)) => End::Failed(Fault::of_sentence(
            &format!("the test pod ran{on}, but its log can't be read: {fault}"),
            "look at interlink-plugin's log",
        )),
        Err(_) => End::Failed(Fault::new(
            format!("the test pod ran{on}, but its log did not come within {} s", trial.limit.as_secs()),
            "look at interlink-plugin's log",
        )),
    }
}

fn in_words(status: &PodStatus) -> String {
    Teller::default().lines(status).join(", ")
}

/// Deletes the pod and waits until nobody knows it any more; why, where that can't be had.
async fn remove(api: &Api, pod: &Object, trial: &Trial) -> Option<String> {
    let deleting = crate::run::deleted(pod, Timestamp::now());
    let give_up = Instant::now() + REMOVAL;
    let mut asked = false;
    loop {
        let why = if asked {
            match tokio::time::timeout(trial.limit, api.status(pod)).await {
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(_))) => "it is still there".to_owned(),
                Ok(Err(fault)) => fault.to_string(),
                Err(_) => "the API server does not answer".to_owned(),
            }
        } else {
            match tokio::time::timeout(trial.limit, api.delete(&deleting)).await {
                Ok(Ok(())) => {
                    asked = true;
                    continue;
                }
                Ok(Err(fault)) => fault.to_string(),
                Err(_) => "the API server does not answer".to_owned(),
            }
        };
        if Instant::now() >= give_up {
            return Some(why);
        }
        tokio::time::sleep(GLANCE).await;
    }
}
