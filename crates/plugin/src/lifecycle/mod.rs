//! Pods from create to delete.
//!
//! ```text
//! create ─▶ intent (durable) ─▶ Driver: submit ─▶ job ──▶ watch (spool, state.json) ─▶ Facts ─▶ join ─▶ PodStatus
//!                                  ▲                  └─▶ poll (scheduler) ──────────▶
//! delete ─▶ mark (durable) ────────┘ ends the job, then removes the directory
//! ```
//!
//! - [`pod`]: one pod in memory: who it is and what is known of it. [`table`]: all of them.
//! - [`join`]: the status of a pod from what is known (pure).
//! - [`create`], [`delete`]: the two requests. [`recover`]: the job directories after a start.
//! - [`driver`]: one task per pod that is being submitted or deleted, so the two never meet.
//! - [`poll`]: the scheduler's view, one question for all jobs. [`watch`]: the supervisors' reports.

pub mod create;
pub mod delete;
pub mod driver;
pub mod join;
pub mod pod;
pub mod poll;
pub mod recover;
pub mod table;
pub mod watch;

use std::sync::Arc;

use interlink_wire::{HopState, HopStatus};
use jiff::Timestamp;
use tokio::sync::{Notify, watch as channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::jobdir::root::Root;
use crate::scheduler::{Scheduler, Unavailable};
use table::Table;

/// Everything that the plugin's tasks share.
#[derive(Debug)]
pub struct Plugin {
    /// The configuration.
    pub config: Config,
    /// The job directories.
    pub root: Root,
    /// What runs jobs.
    pub scheduler: Arc<dyn Scheduler>,
    /// The pods.
    pub table: Table,
    /// How the scheduler is doing.
    pub health: channel::Sender<HopState>,
    /// Asks for a look at the scheduler now.
    pub look: Notify,
    /// Cancelled when the program stops.
    pub shutdown: CancellationToken,
    /// Every task that may change a pod.
    pub tasks: TaskTracker,
}

impl Plugin {
    /// A plugin without pods yet.
    #[must_use]
    pub fn new(config: Config, root: Root, scheduler: Arc<dyn Scheduler>, shutdown: CancellationToken) -> Arc<Self> {
        let starting = HopState {
            hop: scheduler.hop().to_owned(),
            state: HopStatus::Starting,
            since: Some(Timestamp::now()),
            cause: String::new(),
            remedy: String::new(),
        };
        Arc::new(Self {
            config,
            root,
            scheduler,
            table: Table::default(),
            health: channel::Sender::new(starting),
            look: Notify::new(),
            shutdown,
            tasks: TaskTracker::new(),
        })
    }

    /// Notes what an answer, or none, of the scheduler says about it. Its own words go on.
    pub fn heard<T>(&self, answer: &Result<T, Unavailable>) {
        let (state, cause) = match answer {
            Ok(_) => (HopStatus::Up, ""),
            Err(Unavailable(why)) => (HopStatus::Down, why.as_str()),
        };
        self.health.send_if_modified(|hop| {
            let news = hop.state != state;
            if news {
                hop.since = Some(Timestamp::now());
                hop.remedy = match state {
                    HopStatus::Down => format!("see whether {} answers on this host; jobs go on meanwhile", hop.hop),
                    _ => String::new(),
                };
                match state {
                    HopStatus::Down => tracing::warn!(hop = %hop.hop, "the scheduler can't be asked: {cause}"),
                    _ => tracing::info!(hop = %hop.hop, "the scheduler answers"),
                }
            }
            let said = hop.cause != cause;
            hop.state = state;
            cause.clone_into(&mut hop.cause);
            news || said
        });
    }
}
