//! What stands in the place of a session where the system's `ssh` makes them: each forward has an `ssh` of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::carrier::Carrier;
use crate::config::Remote;
use crate::session::gatekeeper::{Handed, Incoming};
use crate::session::live::OpenError;

/// All that `ssh` carries for us.
pub(crate) struct Supervised {
    carriers: Mutex<HashMap<String, Arc<Carrier>>>,
    commands: Mutex<Vec<AbortHandle>>,
    incoming: Option<mpsc::Sender<Incoming>>,
    /// It has no end of its own: each `ssh` tells its end to who looks after its forward.
    _end: oneshot::Sender<String>,
}

impl Supervised {
    /// Nothing yet; and the receiver that a session's end would be told to.
    pub(crate) fn new(incoming: Option<mpsc::Sender<Incoming>>) -> (Self, oneshot::Receiver<String>) {
        let (end, never) = oneshot::channel();
        (Self { carriers: Mutex::default(), commands: Mutex::default(), incoming, _end: end }, never)
    }

    /// From here on the forward `name` has this `ssh`.
    pub(crate) fn add(&self, name: &str, carrier: Arc<Carrier>) {
        self.carriers().insert(name.to_owned(), carrier);
    }

    /// The `ssh` of the forward `name` has ended, or is to.
    pub(crate) fn remove(&self, name: &str) -> Option<Arc<Carrier>> {
        self.carriers().remove(name)
    }

    /// A command that ends with the session.
    pub(crate) fn keep(&self, driver: AbortHandle) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.retain(|driver| !driver.is_finished());
        commands.push(driver);
    }

    /// Opens a way to the far end of the forward `name`.
    pub(crate) async fn open(&self, name: &str, limit: Duration) -> Result<UnixStream, OpenError> {
        let carrier = self.carriers().get(name).map(Arc::clone);
        carrier.ok_or(OpenError::Lost)?.open(limit).await
    }

    /// Whether the forward `name` has its `ssh`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.carriers().contains_key(name)
    }

    /// Takes over what the server hands over for the forward in reverse at `at`. Returns when its `ssh` is gone.
    pub(crate) async fn take_over(&self, at: &Remote, mut handed: mpsc::Receiver<UnixStream>) {
        while let Some(stream) = handed.recv().await {
            if let Some(incoming) = &self.incoming {
                // When too many wait, the client at the server sees its connection closed.
                let _ = incoming.try_send(Incoming { at: at.clone(), handed: Handed::Stream(stream) });
            }
        }
    }

    /// The address of the server, as far as some `ssh` has told it.
    pub(crate) fn peer(&self) -> Option<String> {
        self.carriers().values().find_map(|carrier| carrier.peer.clone())
    }

    /// Ends every `ssh`.
    pub(crate) async fn close(&self) {
        let all: Vec<Arc<Carrier>> = self.carriers().drain().map(|(_, carrier)| carrier).collect();
        for command in self.commands.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            command.abort();
        }
        join_all(all.iter().map(|carrier| carrier.close())).await;
    }

    fn carriers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Carrier>>> {
        self.carriers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        for command in self.commands.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            command.abort();
        }
    }
}
