//! A program's own word about itself: JSON on a private socket, `<runtime dir>/<program>.state`.
//!
//! ```json
//! {"program":"ssh-tunnel","version":"0.1.0","pid":7,"startedAt":"…","hops":[{"hop":"tunnel","state":"down","since":"…","cause":"…","remedy":"…"}],"details":{}}
//! ```
//! The first hop is the program itself; others are the hops behind it, as far as it knows of them.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use interlink_transport::{Endpoint, Listener, serve};
use interlink_wire::{HopState, HopStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// What a program says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramState {
    /// Its name.
    pub program: String,
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// Its own state first, then the hops behind it.
    pub hops: Vec<HopState>,
    /// What else it wants to say; names and numbers, never secrets.
    #[serde(default)]
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// Where a program notes its state. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HopHandle {
    state: watch::Sender<ProgramState>,
}

impl HopHandle {
    /// A handle for `program`, whose own hop is named `hop`; it is "starting".
    #[must_use]
    pub fn new(program: &str, hop: &str) -> Self {
        let now = Timestamp::now();
        let own = HopState {
            hop: hop.to_owned(),
            state: HopStatus::Starting,
            since: Some(now),
            cause: String::new(),
            remedy: String::new(),
        };
        let state = ProgramState {
            program: program.to_owned(),
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            started_at: now,
            hops: vec![own],
            details: serde_json::Map::new(),
        };
        Self { state: watch::Sender::new(state) }
    }

    /// Notes that the program's own hop is up. Says so in the log and to systemd when that is news.
    pub fn up(&self, line: &str) {
        self.change(HopStatus::Up, line, "");
    }

    /// Notes that the program's own hop is down: one sentence each.
    pub fn down(&self, cause: &str, remedy: &str) {
        self.change(HopStatus::Down, cause, remedy);
    }

    fn change(&self, status: HopStatus, words: &str, remedy: &str) {
        let cause = if status == HopStatus::Up { "" } else { words };
        let news = self.state.send_if_modified(|state| {
            let Some(own) = state.hops.first_mut() else { return false };
            let same = own.state == status && own.cause == cause && own.remedy == remedy;
            if own.state != status {
                own.since = Some(Timestamp::now());
            }
            own.state = status;
            cause.clone_into(&mut own.cause);
            remedy.clone_into(&mut own.remedy);
            !same
        });
        if news {
            crate::notify::status(words);
            match status {
                HopStatus::Down => tracing::warn!(state = %status, remedy, "{words}"),
                _ => tracing::info!(state = %status, "{words}"),
            }
        }
    }

    /// Replaces what is known of the hops behind.
    pub fn set_behind(&self, hops: Vec<HopState>) {
        self.state.send_modify(|state| {
            state.hops.truncate(1);
            state.hops.extend(hops);
        });
    }

    /// Notes a detail.
    pub fn detail(&self, key: &str, value: impl Into<serde_json::Value>) {
        let value = value.into();
        self.state.send_modify(|state| {
            state.details.insert(key.to_owned(), value);
        });
    }

    /// The state now.
    #[must_use]
    pub fn get(&self) -> ProgramState {
        self.state.borrow().clone()
    }

    /// Follows the state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ProgramState> {
        self.state.subscribe()
    }
}

/// Serves a program's state on a private socket.
#[derive(Debug)]
pub struct StateServer;

impl StateServer {
    /// Serves `handle` on the Unix socket `path` until `shutdown`; any request is answered with the JSON.
    ///
    /// # Errors
    /// [`Failure`] (a person must mend it) when the socket can't be listened on, naming its owner.
    pub async fn start(path: &Path, handle: &HopHandle, shutdown: CancellationToken) -> Result<(), Failure> {
        Self::spawn(path, handle, shutdown).await.map(drop)
    }

    /// As [`StateServer::start`]; the task ends after `shutdown`, when the socket's file is gone.
    ///
    /// # Errors
    /// As [`StateServer::start`].
    pub async fn spawn(
        path: &Path,
        handle: &HopHandle,
        shutdown: CancellationToken,
    ) -> Result<tokio::task::JoinHandle<()>, Failure> {
        let endpoint = Endpoint::unix(path).map_err(Failure::config)?;
        let listener = Listener::bind(&endpoint).await.map_err(Failure::config)?;
        let handle = handle.clone();
        let router = Router::new().fallback(any(move || {
            let state = handle.get();
            async move { axum::Json(state) }
        }));
        Ok(tokio::spawn(serve(listener, router, shutdown, Duration::from_secs(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlink_transport::{Call, Client};

    #[tokio::test]
    async fn the_state_is_served_and_since_moves_only_with_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.state");
        let handle = HopHandle::new("ssh-tunnel", "tunnel");
        let shutdown = CancellationToken::new();
        StateServer::start(&path, &handle, shutdown.clone()).await.unwrap();
        handle.down("connection refused", "start sshd");
        let first = handle.get().hops[0].since;
        handle.down("no route", "mend the network");
        let client = Client::new(Endpoint::unix(&path).unwrap());
        let answer = client.send(Call::new(http::Method::GET, "/", "")).await.unwrap();
        let body = answer.bytes(10_000, Duration::from_secs(5)).await.unwrap();
        let state: ProgramState = serde_json::from_slice(&body).unwrap();
        assert_eq!(state.hops[0].cause, "no route");
        assert_eq!(state.hops[0].state, HopStatus::Down);
        assert_eq!(state.hops[0].since, first);
        handle.up("connected");
        assert!(handle.get().hops[0].cause.is_empty());
        shutdown.cancel();
    }
}
