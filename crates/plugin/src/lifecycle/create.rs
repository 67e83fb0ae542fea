//! `POST /create`: judged, recorded, handed to a driver. A second create of a pod is answered like the first.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use interlink_wire::{CreateStruct, Fault, RetrievedPodData};
use jiff::Timestamp;

use super::Plugin;
use super::pod::{Facts, Pod};
use crate::http::answer::Wrong;
use crate::jobdir::JobDir;
use crate::jobdir::intent::Intent;
use crate::pod::launch::{self, Places, Plan};
use crate::pod::request::Request;
use crate::pod::{Refusal, resources::Demand};

/// How long an answer waits for the job id: the existing kubelet shows it only if it comes with the answer.
const JOB_ID_WAIT: Duration = Duration::from_secs(2);

impl Plugin {
    /// Accepts a pod. When this returns well the pod will be submitted, whatever happens to this process.
    ///
    /// # Errors
    /// [`Wrong`]: the pod can't be run here, was deleted, belongs to another, or can't be recorded.
    pub async fn create(self: Arc<Self>, data: RetrievedPodData, owner: Option<String>) -> Result<CreateStruct, Wrong> {
        let request = Request::read(data)?;
        let turn = self.table.turn(&request.uid).await;
        let pod = match self.table.get(&request.uid) {
            Some(pod) => known(pod, owner.as_deref())?,
            None => self.accept(request, owner).await?,
        };
        drop(turn);
        let mut changes = pod.changes();
        let answered = changes.wait_for(|_| {
            let facts = pod.facts();
            facts.job.is_some() || facts.refused.is_some() || facts.deletion.is_some()
        });
        let _ = tokio::time::timeout(JOB_ID_WAIT, answered).await;
        let job = pod.facts().job.clone();
        Ok(CreateStruct { pod_uid: pod.uid.to_string(), pod_jid: job.map(|job| job.to_string()).unwrap_or_default() })
    }

    async fn accept(self: &Arc<Self>, request: Request, owner: Option<String>) -> Result<Arc<Pod>, Wrong> {
        if self.table.was_deleted(&request.uid) {
            return Err(deleted(&request.uid));
        }
        let dir = self.root.pod(&request.namespace, &request.uid);
        self.plan(&request, &dir)?;
        let Request { uid, pod: extract, data, .. } = request;
        let intent = Intent { request: data, owner, created_at: Timestamp::now() };
        let (intent, dir, stored) = blocking(move || {
            let stored = intent.store(&dir);
            if stored.is_err() {
                // Never half a pod: without create.json the directory is nothing.
                let _ = std::fs::remove_dir(dir.path());
            }
            (intent, dir, stored)
        })
        .await;
        stored.map_err(|e| {
            let sentence = format!(
                "the pod can't be recorded in {}: {e}; make room or mend the file system",
                dir.path().display()
            );
            Wrong::new(StatusCode::INSUFFICIENT_STORAGE, Fault::passing("plugin", "storage", sentence))
        })?;
        let facts = Facts { sequence: self.root.first_sequence(), ..Facts::default() };
        let pod = Arc::new(Pod::new(uid, &intent, &extract, dir, facts));
        tracing::info!(uid = %pod.uid, pod = %format!("{}/{}", pod.namespace, pod.name), "create accepted");
        for (container, note) in &pod.account_notes {
            tracing::warn!(uid = %pod.uid, "container {container}: {note}");
        }
        self.table.insert(Arc::clone(&pod));
        self.drive(&pod);
        Ok(pod)
    }

    /// What a pod becomes here: its volumes, its launch description, its job script.
    ///
    /// # Errors
    /// [`Refusal`] where it can't be run here.
    pub fn plan(&self, request: &Request, dir: &JobDir) -> Result<(Plan, Option<String>), Refusal> {
        let (volumes, spool, images) = (dir.volumes(), self.root.spool(), self.root.images());
        let places = Places { volumes: &volumes, spool: &spool, image_cache: &images };
        let plan = launch::plan(request, &self.config.runtime, &self.config.policy, places)?;
        // Amounts must be readable whatever the scheduler makes of them.
        Demand::of(&request.pod)?;
        let script = self.scheduler.script(request, dir)?;
        Ok((plan, script))
    }
}

fn known(pod: Arc<Pod>, owner: Option<&str>) -> Result<Arc<Pod>, Wrong> {
    if !pod.belongs_to(owner) {
        let sentence = format!("pod {} belongs to another owner; give the second cluster a plugin of its own", pod.uid);
        return Err(Wrong::new(StatusCode::FORBIDDEN, Fault::lasting("plugin", "owner", sentence)));
    }
    if pod.facts().deletion.is_some() {
        return Err(deleted(&pod.uid));
    }
    Ok(pod)
}

/// A request that was on its way while the pod was deleted must not bring it back; who still wants it tries again.
fn deleted(uid: &interlink_wire::PodUid) -> Wrong {
    let sentence = format!("pod {uid} was deleted a moment ago; create it again in a minute if it is wanted");
    Wrong::new(StatusCode::SERVICE_UNAVAILABLE, Fault::passing("plugin", "deleted", sentence))
}

/// File work off the reactor. A panic in it is passed on.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
