//! The state of the sessions to the server, as everybody else sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;

use super::fault::Fault;
use super::live::Live;
use crate::forward::route::Load;

/// One session: up, down, or not tried yet.
#[derive(Debug, Clone)]
pub enum Link {
    /// The first attempt is under way.
    Connecting,
    /// A session is logged in and carries some forward, or is ready to.
    Up(Arc<Live>, Ways),
    /// There is none, or it carries nothing; attempts go on.
    Down {
        /// Since when.
        since: Timestamp,
        /// Why, by the last attempt.
        fault: Fault,
        /// When the next attempt begins.
        retry_at: Timestamp,
    },
}

impl Link {
    /// The session, if it is up.
    #[must_use]
    pub fn live(&self) -> Option<&Arc<Live>> {
        match self {
            Self::Up(live, _) => Some(live),
            Self::Connecting | Self::Down { .. } => None,
        }
    }
}

/// What one session can do for each forward, by its name.
pub type Ways = BTreeMap<String, Way>;

/// What one session can do for one forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It is being found out.
    Opening,
    /// Carry it.
    Open,
    /// Take over from the session that carries it.
    Standby,
    /// Nothing.
    Closed {
        /// Why.
        fault: Fault,
        /// When it is tried again; `None` if another session is needed for that.
        retry_at: Option<Timestamp>,
    },
}

/// All sessions.
#[derive(Debug, Clone)]
pub struct Links(watch::Sender<Vec<Link>>);

impl Links {
    /// `count` sessions to come.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(watch::Sender::new(vec![Link::Connecting; count]))
    }

    /// Follows them.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Vec<Link>> {
        self.0.subscribe()
    }

    /// Sets one of them.
    pub fn set(&self, index: usize, link: Link) {
        self.0.send_modify(|links| {
            if let Some(place) = links.get_mut(index) {
                *place = link;
            }
        });
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, index: usize) -> Link {
        self.0.borrow().get(index).cloned().unwrap_or(Link::Connecting)
    }

    /// Takes out the sessions that are up.
    #[must_use]
    pub fn take_all(&self) -> Vec<Arc<Live>> {
        let mut all = Vec::new();
        self.0.send_modify(|links| {
            for link in links {
                if let Link::Up(live, _) = std::mem::replace(link, Link::Connecting) {
                    all.push(live);
                }
            }
        });
        all
    }
}

/// Waits until a session carries the forward `name`, at most `patience`. The one with the fewest connections is chosen,
/// and the connection that it is chosen for is counted at once.
pub async fn wait_for_way(
    links: &mut watch::Receiver<Vec<Link>>,
    name: &str,
    patience: Duration,
) -> Option<(Arc<Live>, Load)> {
    let found = timeout(patience, links.wait_for(|links| best(links, name).is_some())).await;
    // Out of patience, or the tunnel is stopping.
    let Ok(Ok(links)) = found else { return None };
    best(&links, name).map(|live| (Arc::clone(live), live.load()))
}

fn best<'a>(links: &'a [Link], name: &str) -> Option<&'a Arc<Live>> {
    let open = links.iter().filter_map(|link| match link {
        Link::Up(live, ways) if ways.get(name) == Some(&Way::Open) => Some(live),
        _ => None,
    });
    open.min_by_key(|live| live.open_channels())
}
