//! The supervisors' reports: event files name the pods to look at, `inotify` only shortens the wait, and a full look
//! now and then heals what got lost. The directory is opened afresh each time, which makes a look current on NFS.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use inotify::{Inotify, WatchMask};
use interlink_supervisor::report::Report;
use interlink_supervisor::spool;
use interlink_wire::PodUid;

use super::Plugin;
use super::create::blocking;
use super::pod::Pod;

/// Pause between looks while pods are active: what a file system without inotify costs a report.
const ACTIVE: Duration = Duration::from_millis(500);
/// Pause while none is.
const IDLE: Duration = Duration::from_secs(10);
/// After a change others follow at once; they are read together.
const GATHER: Duration = Duration::from_millis(5);
/// How often every active pod is looked at, events or not.
const FULL_LOOK: Duration = Duration::from_secs(60);

impl Plugin {
    /// Follows the reports until the program stops.
    pub async fn watch(self: Arc<Self>) {
        let mut changes = self.spool_changes();
        let mut looked = Instant::now();
        loop {
            let pause = if self.table.counts().1 > 0 { ACTIVE } else { IDLE };
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                changed = changes.next() => match changed {
                    Some(_) => tokio::time::sleep(GATHER).await,
                    None => changes = futures_util::stream::pending().boxed(),
                },
            }
            self.read_spool().await;
            if looked.elapsed() >= FULL_LOOK {
                looked = Instant::now();
                for pod in self.table.active() {
                    self.reread(&pod).await;
                }
            }
        }
    }

    fn spool_changes(&self) -> futures_util::stream::BoxStream<'static, ()> {
        let watch = || -> std::io::Result<_> {
            let inotify = Inotify::init()?;
            inotify.watches().add(self.root.spool(), WatchMask::MOVED_TO)?;
            inotify.into_event_stream(vec![0; 16 << 10])
        };
        match watch() {
            Ok(stream) => stream.map(drop).boxed(),
            Err(error) => {
                tracing::info!(err = %error, "no inotify here; reports are looked for instead");
                futures_util::stream::pending().boxed()
            }
        }
    }

    /// Reads the pods that event files name, and removes the files.
    async fn read_spool(self: &Arc<Self>) {
        let plugin = Arc::clone(self);
        let reports = blocking(move || plugin.take_events()).await;
        for (pod, report) in reports {
            self.reported(&pod, report);
        }
    }

    fn take_events(&self) -> Vec<(Arc<Pod>, Report)> {
        let spool = self.root.spool();
        let mut newest: std::collections::BTreeMap<PodUid, Vec<std::path::PathBuf>> = std::collections::BTreeMap::new();
        for entry in std::fs::read_dir(&spool).into_iter().flatten().flatten() {
            if let Some((uid, _)) = entry.file_name().to_str().and_then(spool::parse_name) {
                newest.entry(uid).or_default().push(entry.path());
            }
        }
        let mut reports = Vec::new();
        for (uid, events) in newest {
            if let Some(pod) = self.table.get(&uid) {
                match Report::load(pod.dir.path()) {
                    Ok(Some(report)) => {
                        pod.facts().unreadable = None;
                        reports.push((pod, report));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        // Tried again at every look, which comes twice a second; said once.
                        let why = error.to_string();
                        if pod.facts().unreadable.replace(why.clone()).as_ref() != Some(&why) {
                            tracing::warn!(uid = %uid, err = why, "a report can't be read; trying again");
                        }
                        continue;
                    }
                }
            }
            for event in events {
                let _ = std::fs::remove_file(event);
            }
        }
        reports
    }

    /// Takes in a report, unless a newer one is known.
    pub(super) fn reported(&self, pod: &Arc<Pod>, report: Report) {
        let newer = pod.facts().report.as_ref().is_none_or(|known| known.sequence < report.sequence);
        if !newer {
            return;
        }
        let finished = report.finished;
        pod.learn(|facts| {
            // The job that claimed the directory is the pod's, whatever we thought.
            facts.job = Some(report.job_id.clone());
            facts.silent_since = None;
            facts.report = Some(report);
        });
        if finished {
            tracing::info!(uid = %pod.uid, "finished");
            self.table.rest(pod);
        }
    }
}
