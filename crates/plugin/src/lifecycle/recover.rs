//! After a start: the pods of the job directories, where their last plugin left them.

use std::sync::Arc;

use interlink_supervisor::deletion::Deletion;
use interlink_supervisor::report::Report;

use super::Plugin;
use super::create::blocking;
use super::pod::{Facts, Pod};
use crate::jobdir::JobDir;
use crate::jobdir::intent::Intent;
use crate::jobdir::record::{self, Refused, Verdict};
use crate::pod::request::Request;

impl Plugin {
    /// Reads every job directory and goes on with what was under way.
    ///
    /// # Errors
    /// When the root can't be read.
    pub async fn recover(self: &Arc<Self>) -> std::io::Result<()> {
        let plugin = Arc::clone(self);
        let pods = blocking(move || plugin.read_all()).await?;
        let count = pods.len();
        for pod in pods {
            self.table.insert(Arc::clone(&pod));
            let (deleting, unsubmitted) = {
                let facts = pod.facts();
                (facts.deletion.is_some(), facts.job.is_none() && facts.refused.is_none())
            };
            if deleting {
                self.table.activate(&pod);
            }
            if deleting || unsubmitted {
                self.drive(&pod);
            }
        }
        if count > 0 {
            let active = self.table.counts().1;
            tracing::info!(pods = count, active, "pods found in {}", self.root.path().display());
        }
        Ok(())
    }

    fn read_all(&self) -> std::io::Result<Vec<Arc<Pod>>> {
        self.root.empty_trash();
        let dirs = self.root.pods()?;
        Ok(dirs.into_iter().filter_map(|dir| self.read(dir)).map(Arc::new).collect())
    }

    fn read(&self, dir: JobDir) -> Option<Pod> {
        let shown = dir.path().display().to_string();
        let intent = match Intent::load(&dir) {
            Ok(Some(intent)) => intent,
            Ok(None) => {
                // Without create.json there was no pod. Only an empty directory is certainly ours to remove.
                let _ = std::fs::remove_dir(dir.path());
                tracing::debug!("{shown} holds no create.json and is left alone");
                return None;
            }
            Err(error) => {
                tracing::warn!(err = %error, "{shown} can't be read and is left alone; look at it, and remove it if its pod is gone");
                return None;
            }
        };
        let created = Intent { request: interlink_wire::RetrievedPodData::default(), ..intent.clone() };
        let request = match Request::read(intent.request) {
            Ok(request) if self.root.pod(&request.namespace, &request.uid) == dir => request,
            Ok(request) => {
                tracing::warn!(uid = %request.uid, "{shown} is not where its pod belongs and is left alone");
                return None;
            }
            Err(refusal) => {
                tracing::warn!("{shown} holds no valid pod and is left alone: {refusal}");
                return None;
            }
        };
        let report = Report::load(dir.path()).unwrap_or_else(|error| {
            tracing::warn!(err = %error, "the report in {shown} can't be read");
            None
        });
        let facts = Facts {
            sequence: self.root.first_sequence(),
            job: record::load_job(&dir),
            refused: Refused::load(&dir),
            verdict: Verdict::load(&dir),
            deletion: Deletion::load(dir.path()),
            report,
            ..Facts::default()
        };
        Some(Pod::new(request.uid.clone(), &created, &request.pod, dir, facts))
    }
}
