//! After a start: the pods of the job directories, where their last plugin left them.

use std::io;
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

    fn read_all(&self) -> io::Result<Vec<Arc<Pod>>> {
        self.root.empty_trash();
        let mut pods = Vec::new();
        for dir in self.root.pods()? {
            let path = dir.path().display().to_string();
            let named = |e: io::Error| io::Error::new(e.kind(), format!("{path}: {e}"));
            pods.extend(self.read(dir).map_err(named)?.map(Arc::new));
        }
        Ok(pods)
    }

    /// The pod of a directory; `None` where there is none.
    ///
    /// # Errors
    /// When that can't be told now: a pod that is left out counts as gone for whoever asks.
    fn read(&self, dir: JobDir) -> io::Result<Option<Pod>> {
        let shown = dir.path().display().to_string();
        let intent = match Intent::load(&dir) {
            Err(error) if is_passing(&error) => return Err(error),
            Ok(Some(intent)) => intent,
            Ok(None) => {
                // Without create.json there was no pod. Only an empty directory is certainly ours to remove.
                let _ = std::fs::remove_dir(dir.path());
                tracing::debug!("{shown} holds no create.json and is left alone");
                return Ok(None);
            }
            Err(error) => {
                tracing::warn!(err = %error, "{shown} can't be read and is left alone; look at it, and remove it if its pod is gone");
                return Ok(None);
            }
        };
        let created = Intent { request: interlink_wire::RetrievedPodData::default(), ..intent.clone() };
        let request = match Request::read(intent.request) {
            Ok(request) if self.root.pod(&request.namespace, &request.uid) == dir => request,
            Ok(request) => {
                tracing::warn!(uid = %request.uid, "{shown} is not where its pod belongs and is left alone");
                return Ok(None);
            }
            Err(refusal) => {
                tracing::warn!("{shown} holds no valid pod and is left alone: {refusal}");
                return Ok(None);
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
        Ok(Some(Pod::new(request.uid.clone(), &created, &request.pod, dir, facts)))
    }
}

/// Whether a file may be readable in a moment: a network file system's trouble, or ours with descriptors.
fn is_passing(error: &io::Error) -> bool {
    use nix::libc::{EAGAIN, EINTR, EIO, EMFILE, ENFILE, ENOMEM, ENOTCONN, ESTALE, ETIMEDOUT};
    let passing = [EAGAIN, EINTR, EIO, EMFILE, ENFILE, ENOMEM, ENOTCONN, ESTALE, ETIMEDOUT];
    error.raw_os_error().is_some_and(|code| passing.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_that_passes_is_told_from_what_stays() {
        use nix::libc::{EACCES, EISDIR, ESTALE, ETIMEDOUT};
        for (code, passing) in [(ESTALE, true), (ETIMEDOUT, true), (EACCES, false), (EISDIR, false)] {
            assert_eq!(is_passing(&io::Error::from_raw_os_error(code)), passing, "{code}");
        }
        assert!(!is_passing(&io::Error::other("no JSON")));
    }
}
