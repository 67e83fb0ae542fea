//! The answer to an empty status request: alive, what the node may offer, what we can do. From memory, so always fast.

use std::sync::Arc;
use std::time::Duration;

use interlink_wire::ping::{PingAccelerator, PingResources, PingTaint};
use interlink_wire::{Envelope, PingResponse, capability};
use tokio::sync::watch;

use crate::lifecycle::Plugin;
use crate::scheduler::{Capacity, command};

/// How often the scheduler is asked what there is.
const REFRESH: Duration = Duration::from_secs(60);
/// How soon again after it did not answer.
const RETRY: Duration = Duration::from_secs(10);
/// Time limit of the site's resource script.
const SCRIPT: Duration = Duration::from_secs(30);

/// What the node may offer, as far as it is known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Offer {
    resources: Option<PingResources>,
    taints: Option<Vec<PingTaint>>,
}

/// Keeps the offer current until the program stops.
pub async fn refresh(plugin: Arc<Plugin>, offer: watch::Sender<Offer>) {
    loop {
        let found = ask(&plugin).await;
        let pause = if found.is_some() { REFRESH } else { RETRY };
        if let Some(found) = found {
            offer.send_replace(found);
        }
        tokio::select! {
            () = plugin.shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn ask(plugin: &Plugin) -> Option<Offer> {
    if let Some(words) = &plugin.config.resource_script {
        match command::run(words, &[], None, None, SCRIPT).await {
            Ok(said) if said.went_well() => match PingResponse::decode(said.stdout.as_bytes()) {
                Ok(answer) => return Some(Offer { resources: answer.resources, taints: answer.taints }),
                Err(error) => tracing::warn!(err = %error, "what ResourceScriptPath prints can't be used"),
            },
            Ok(said) => tracing::warn!(code = said.code, "ResourceScriptPath failed: {}", said.stderr),
            Err(error) => tracing::warn!(err = %error, "ResourceScriptPath failed"),
        }
    }
    let answer = plugin.scheduler.capacity().await;
    match &answer {
        Ok(_) => plugin.heard(&answer),
        Err(why) => {
            tracing::warn!(err = %why, "what the scheduler has can't be told");
            // Only jobs count for its health.
            plugin.heard(&plugin.scheduler.observe(&[]).await);
        }
    }
    answer.ok().map(|capacity| Offer { resources: Some(resources(capacity)), taints: None })
}

fn resources(capacity: Capacity) -> PingResources {
    let gpus = (capacity.gpus > 0)
        .then(|| PingAccelerator { resource_type: "nvidia.com/gpu".to_owned(), available: capacity.gpus.to_string() });
    PingResources {
        cpu: Some(capacity.cpus.to_string()),
        memory: Some(format!("{}Mi", capacity.memory_mib)),
        pods: None,
        accelerators: gpus.into_iter().collect(),
    }
}

/// The ping answer.
#[must_use]
pub fn answer(plugin: &Plugin, offer: &Offer) -> PingResponse {
    let configured = Some(&plugin.config.taints).filter(|taints| !taints.is_empty());
    PingResponse {
        status: "ok".to_owned(),
        resources: offer.resources.clone(),
        taints: configured.cloned().or_else(|| offer.taints.clone()),
        capabilities: vec![capability::IDEMPOTENT_CREATE.to_owned(), capability::POD_LIST.to_owned()],
        hops: vec![plugin.health.borrow().clone()],
        ..PingResponse::default()
    }
}
