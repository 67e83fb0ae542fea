//! One forward while the tunnel runs: what is known of it, whichever session carries it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Forward;

/// All forwards of the moment, in the order of the configuration.
pub type Routes = Arc<Vec<Arc<Route>>>;

/// Whether the service at the end of a forward takes connections, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FarEnd {
    /// Not asked yet.
    Unknown,
    /// The last connection was accepted.
    Answers,
    /// The last connection was refused.
    Refuses,
}

/// A forward that is served.
#[derive(Debug)]
pub struct Route {
    /// What was asked for.
    pub forward: Forward,
    /// What was carried.
    pub traffic: Traffic,
    /// Cancelled when the forward is no longer asked for; its open connections go on.
    pub removed: CancellationToken,
    /// The server listens for one session at a time.
    pub(crate) turn: Semaphore,
    /// Which of the two names of the server's loopback interface was allowed last.
    pub(crate) loopback: AtomicU8,
    /// Connections in a row to which a command at the server gave no answer at all.
    pub(crate) unanswered: AtomicU32,
    far_end: watch::Sender<FarEnd>,
}

impl Route {
    /// A forward that nothing is known of.
    #[must_use]
    pub fn new(forward: Forward) -> Arc<Self> {
        Arc::new(Self {
            forward,
            traffic: Traffic::default(),
            removed: CancellationToken::new(),
            turn: Semaphore::new(1),
            loopback: AtomicU8::new(0),
            unanswered: AtomicU32::new(0),
            far_end: watch::Sender::new(FarEnd::Unknown),
        })
    }

    /// Notes what is known of the far end.
    pub fn note(&self, seen: FarEnd) {
        self.far_end.send_if_modified(|known| std::mem::replace(known, seen) != seen);
    }

    /// What is known of the far end.
    #[must_use]
    pub fn far_end(&self) -> FarEnd {
        *self.far_end.borrow()
    }

    /// Follows what is known of the far end.
    #[must_use]
    pub fn watch_far_end(&self) -> watch::Receiver<FarEnd> {
        self.far_end.subscribe()
    }
}

/// What a forward has carried, and how much of it is open.
#[derive(Debug, Default)]
pub struct Traffic {
    open: Arc<AtomicUsize>,
    connections: AtomicU64,
    /// Bytes taken from this machine's end and given to the server.
    pub(crate) to_server: AtomicU64,
    /// Bytes of the server that this machine's end has taken.
    pub(crate) from_server: AtomicU64,
}

impl Traffic {
    /// A connection begins; it ends with the guard.
    #[must_use]
    pub fn begin(&self) -> Load {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Load::on(&self.open)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many there were, the open ones among them.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes given to the server.
    #[must_use]
    pub fn to_server(&self) -> u64 {
        self.to_server.load(Ordering::Relaxed)
    }

    /// Bytes taken from the server.
    #[must_use]
    pub fn from_server(&self) -> u64 {
        self.from_server.load(Ordering::Relaxed)
    }
}

/// Counts one as long as it lives.
#[derive(Debug)]
pub struct Load(Arc<AtomicUsize>);

impl Load {
    /// One more on `counter`.
    #[must_use]
    pub fn on(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
