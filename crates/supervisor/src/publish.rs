//! Writing reports: the newest state of the pod into `state.json`, then an event into the spool.
//!
//! A task of its own with the newest report only, so a slow or full disk never keeps the supervisor from its
//! containers. A failed write is tried again until it succeeds or a newer report takes its place.

use std::path::PathBuf;
use std::time::Duration;

use interlink_wire::PodUid;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::report::Report;
use crate::spool;

const RETRY: Duration = Duration::from_secs(2);

/// Where reports go.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) pod_dir: PathBuf,
    /// `None` when the launch description that names it could not be read.
    pub(crate) spool: Option<(PathBuf, PodUid)>,
}

/// Hands reports to the writing task.
pub(crate) struct Publisher {
    newest: watch::Sender<(u64, Option<Report>)>,
    written: watch::Receiver<u64>,
}

impl Publisher {
    /// Starts the writing task; the next report gets `sequence`.
    pub(crate) fn start(place: Place, sequence: u64) -> Self {
        let (newest, reports) = watch::channel((0, None));
        let (acknowledge, written) = watch::channel(0);
        tokio::task::spawn_local(write(place, sequence, reports, acknowledge));
        Self { newest, written }
    }

    /// Has this report written, unless a newer one comes first. Its sequence is given when it is written.
    pub(crate) fn publish(&self, report: Report) {
        self.newest.send_modify(|(version, newest)| {
            *version += 1;
            *newest = Some(report);
        });
    }

    /// Waits until the newest report is durable; false when it is not within `patience`.
    pub(crate) async fn settled(&self, patience: Duration) -> bool {
        let version = self.newest.borrow().0;
        let mut written = self.written.clone();
        matches!(timeout(patience, written.wait_for(|done| *done >= version)).await, Ok(Ok(_)))
    }
}

async fn write(
    place: Place,
    mut sequence: u64,
    mut reports: watch::Receiver<(u64, Option<Report>)>,
    acknowledge: watch::Sender<u64>,
) {
    while reports.changed().await.is_ok() {
        loop {
            let (version, report) = reports.borrow_and_update().clone();
            let Some(mut report) = report else { break };
            report.sequence = sequence;
            match store(place.clone(), report).await {
                Ok(()) => {
                    sequence += 1;
                    acknowledge.send_replace(version);
                    break;
                }
                Err(error) => {
                    tracing::warn!(err = %error, "cannot write state.json in {}; trying again", place.pod_dir.display());
                    sleep(RETRY).await;
                }
            }
        }
    }
}

async fn store(place: Place, report: Report) -> std::io::Result<()> {
    let work = move || {
        report.store(&place.pod_dir)?;
        if let Some((spool, uid)) = &place.spool
            && let Err(error) = spool::announce(spool, uid, report.sequence)
        {
            // the plugin's rescan finds the report without it
            tracing::warn!(err = %error, "cannot write an event into {}", spool.display());
        }
        Ok(())
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
