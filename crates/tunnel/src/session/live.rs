//! One established SSH session and the channels opened over it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use interlink_transport::mux::{self, Opener};
use jiff::Timestamp;
use russh::client::Handle;
use russh::{ChannelOpenFailure, Disconnect};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::conduit::Conduit;
use super::gatekeeper::Gatekeeper;
use super::openssh::Supervised;
use crate::config::Remote;
use crate::forward::route::{FarEnd, Load, Route};

/// How `sshd` may know the loopback interface: `permitopen` and `PermitOpen` compare names literally, so where one is
/// forbidden the other may be allowed.
const LOOPBACKS: [&str; 2] = ["localhost", "127.0.0.1"];

/// How long the command at the far end itself waits for its service, before it says that it can't be reached …
const FAR_DIAL: Duration = mux::answerer::DIAL;
/// … and how much later its word may come. One that says nothing hangs.
const FAR_MARGIN: Duration = Duration::from_secs(5);

/// How long the farewell to the server may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// A session that is logged in.
pub struct Live {
    engine: Working,
    /// When it came up.
    pub since: Timestamp,
    /// What opens connections over a command that carries them, by the forward's name.
    openers: Mutex<HashMap<String, Opener>>,
    /// Connections that were given to this session and have not ended.
    open: Arc<AtomicUsize>,
}

/// What speaks SSH.
enum Working {
    /// This program.
    BuiltIn { handle: Handle<Gatekeeper>, peer: SocketAddr, link: Cut },
    /// The system's `ssh`.
    Supervised(Supervised),
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("peer", &self.peer()).field("since", &self.since).finish_non_exhaustive()
    }
}

/// Why a channel did not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The server forbids the forward.
    Forbidden,
    /// The server tried, and nothing listens there.
    Refused,
    /// The server is short of something, or gave a reason of its own.
    Server(String),
    /// The session ended meanwhile; nothing of the connection was sent.
    Lost,
    /// No answer in time.
    Timeout,
}

/// Why the server does not listen for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenError {
    /// Somebody listens there already.
    Taken,
    /// Nobody does, and still the server refuses.
    Forbidden,
    /// It refuses, and it can't be seen why.
    Unclear,
    /// The session ended meanwhile, or does not answer.
    Lost,
}

/// Shuts the TCP connection when dropped, so that the session's task ends whatever state it is in: channels in use
/// keep its own handle alive, and during a key exchange it doesn't look at it.
pub(super) struct Cut(std::net::TcpStream);

impl Cut {
    pub(super) fn new(stream: std::net::TcpStream) -> Self {
        Self(stream)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // Fails only when the connection is gone already.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

impl Live {
    pub(super) fn new(handle: Handle<Gatekeeper>, peer: SocketAddr, link: Cut) -> Self {
        Self::by(Working::BuiltIn { handle, peer, link })
    }

    /// Where the system's `ssh` makes the sessions.
    pub(super) fn of_ssh(supervised: Supervised) -> Self {
        Self::by(Working::Supervised(supervised))
    }

    fn by(engine: Working) -> Self {
        Self { engine, since: Timestamp::now(), openers: Mutex::default(), open: Arc::default() }
    }

    /// `None` where the system's `ssh` has the session.
    pub(super) fn handle(&self) -> Option<&Handle<Gatekeeper>> {
        match &self.engine {
            Working::BuiltIn { handle, .. } => Some(handle),
            Working::Supervised(_) => None,
        }
    }

    /// What the system's `ssh` carries, where it does.
    pub(super) fn supervised(&self) -> Option<&Supervised> {
        match &self.engine {
            Working::BuiltIn { .. } => None,
            Working::Supervised(supervised) => Some(supervised),
        }
    }

    /// The address and port that answered: behind a round-robin name others each time. `None` where only `ssh` knows.
    #[must_use]
    pub fn peer(&self) -> Option<String> {
        match &self.engine {
            Working::BuiltIn { peer, .. } => Some(peer.to_string()),
            Working::Supervised(supervised) => supervised.peer(),
        }
    }

    /// The same without the port, in words.
    #[must_use]
    pub fn peer_in_words(&self) -> String {
        match (&self.engine, self.peer()) {
            (Working::BuiltIn { peer, .. }, _) => peer.ip().to_string(),
            (Working::Supervised(_), Some(peer)) => {
                format!("{}, by ssh", peer.rsplit_once(':').map_or(&*peer, |(host, _)| host))
            }
            (Working::Supervised(_), None) => "by ssh".to_owned(),
        }
    }

    /// From here on a command carries the forward `name`: `opener` opens its connections.
    pub(super) fn carries(&self, name: &str, opener: Opener) {
        self.openers.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), opener);
    }

    /// The command of the forward `name` has ended.
    pub(super) fn carries_no_more(&self, name: &str) {
        self.openers.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn opener(&self, name: &str) -> Option<Opener> {
        self.openers.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// How many connections it carries.
    #[must_use]
    pub fn open_channels(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// One more connection for this session, until the guard is dropped.
    #[must_use]
    pub fn load(&self) -> Load {
        Load::on(&self.open)
    }

    /// Opens a way to the far end of `route`, and notes there whether it answered.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(self: &Arc<Self>, route: &Arc<Route>, limit: Duration) -> Result<Conduit, OpenError> {
        let result = self.open_unnoted(route, limit).await;
        match &result {
            Ok(_) => route.note(FarEnd::Answers),
            Err(OpenError::Refused) => route.note(FarEnd::Refuses),
            Err(_) => {}
        }
        result
    }

    /// As [`Live::open`], but says nothing of the far end.
    async fn open_unnoted(self: &Arc<Self>, route: &Arc<Route>, limit: Duration) -> Result<Conduit, OpenError> {
        // A task of its own: an open that is given up must still be answered with a close, or the server would hold
        // the connection to the service for ever.
        let (done, opened) = oneshot::channel();
        let (live, route) = (Arc::clone(self), Arc::clone(route));
        tokio::spawn(async move {
            if let Err(Ok(unwanted)) = done.send(live.open_now(&route, limit).await) {
                unwanted.close().await;
            }
        });
        match timeout(limit, opened).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(OpenError::Lost),
            Err(_) => Err(OpenError::Timeout),
        }
    }

    async fn open_now(&self, route: &Route, limit: Duration) -> Result<Conduit, OpenError> {
        let handle = match (&self.engine, &route.forward.remote) {
            (Working::Supervised(supervised), Remote::Port(_) | Remote::Socket(_)) => {
                return supervised.open(&route.forward.name, limit).await.map(Conduit::Local);
            }
            (Working::BuiltIn { handle, .. }, _) => Some(handle),
            (Working::Supervised(_), Remote::Command(_)) => None,
        };
        let port = match &route.forward.remote {
            Remote::Socket(path) => {
                let handle = handle.ok_or(OpenError::Lost)?;
                let opened = handle.channel_open_direct_streamlocal(path.clone()).await;
                return opened.map(Conduit::Channel).map_err(|e| explain(&e));
            }
            Remote::Port(port) => u32::from(*port),
            Remote::Command(_) => {
                let opener = self.opener(&route.forward.name).ok_or(OpenError::Lost)?;
                let Ok(opened) = timeout(limit.max(FAR_DIAL) + FAR_MARGIN, opener.open()).await else {
                    route.unanswered.fetch_add(1, Ordering::Relaxed);
                    return Err(OpenError::Timeout);
                };
                route.unanswered.store(0, Ordering::Relaxed);
                return opened.map(Conduit::Mux).map_err(|err| match err {
                    mux::OpenError::Refused(why) => {
                        tracing::debug!("the far end: {why}");
                        OpenError::Refused
                    }
                    mux::OpenError::Lost => OpenError::Lost,
                });
            }
        };
        let handle = handle.ok_or(OpenError::Lost)?;
        let first = route.loopback.load(Ordering::Relaxed);
        for index in [first, 1 - first] {
            let name = LOOPBACKS[usize::from(index)];
            match handle.channel_open_direct_tcpip(name, port, "127.0.0.1", 0).await {
                Ok(channel) => {
                    route.loopback.store(index, Ordering::Relaxed);
                    return Ok(Conduit::Channel(channel));
                }
                Err(err) => match explain(&err) {
                    OpenError::Forbidden => {}
                    other => return Err(other),
                },
            }
        }
        Err(OpenError::Forbidden)
    }

    /// The time to the server and back; `None` if it does not answer in time.
    pub async fn round_trip(&self, limit: Duration) -> Option<Duration> {
        let began = Instant::now();
        match timeout(limit, self.handle()?.send_ping()).await {
            Ok(Ok(())) => Some(began.elapsed()),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Asks the server to listen for `route`, a forward in reverse.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn listen(self: &Arc<Self>, route: &Arc<Route>, limit: Duration) -> Result<(), ListenError> {
        if let Some(supervised) = self.supervised() {
            // It listens for as long as it runs.
            return if supervised.has(&route.forward.name) { Ok(()) } else { Err(ListenError::Lost) };
        }
        match timeout(limit, self.ask_to_listen(&route.forward.remote)).await {
            Err(_) => return Err(ListenError::Lost),
            Ok(Ok(())) => return Ok(()),
            Ok(Err(russh::Error::RequestDenied)) => {}
            Ok(Err(_)) => return Err(ListenError::Lost),
        }
        let dialled = self.open_unnoted(route, limit).await;
        Err(match (dialled, &route.forward.remote) {
            (Ok(channel), _) => {
                channel.close().await;
                ListenError::Taken
            }
            // Nobody listens there; or nobody any more, and the listener of a dead session went just now.
            (Err(OpenError::Refused), Remote::Port(_)) => {
                match timeout(limit, self.ask_to_listen(&route.forward.remote)).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(russh::Error::RequestDenied)) => ListenError::Forbidden,
                    Ok(Err(_)) | Err(_) => ListenError::Lost,
                }
            }
            (Err(OpenError::Lost), _) => ListenError::Lost,
            // The file of a dead session may be in the way, or this way is forbidden too.
            (Err(_), _) => ListenError::Unclear,
        })
    }

    async fn ask_to_listen(&self, remote: &Remote) -> Result<(), russh::Error> {
        let Some(handle) = self.handle() else { return Err(russh::Error::RequestDenied) };
        let port = match remote {
            Remote::Socket(path) => return handle.streamlocal_forward(path.clone()).await,
            Remote::Port(port) => u32::from(*port),
            Remote::Command(_) => return Err(russh::Error::RequestDenied),
        };
        // `permitlisten` compares names literally, as `permitopen` does.
        for name in LOOPBACKS {
            match handle.tcpip_forward(name, port).await {
                Ok(_) => return Ok(()),
                Err(russh::Error::RequestDenied) => {}
                Err(err) => return Err(err),
            }
        }
        Err(russh::Error::RequestDenied)
    }

    /// Asks the server to listen no longer; connections that it has handed over go on.
    pub async fn listen_no_longer(&self, remote: &Remote) {
        // An ssh listens until it ends, and its connections with it; what comes meanwhile is closed.
        let Some(handle) = self.handle() else { return };
        let ask = async {
            match remote {
                Remote::Socket(path) => {
                    let _ = handle.cancel_streamlocal_forward(path.clone()).await;
                }
                Remote::Port(port) => {
                    for name in LOOPBACKS {
                        let _ = handle.cancel_tcpip_forward(name, u32::from(*port)).await;
                    }
                }
                Remote::Command(_) => {}
            }
        };
        let _ = timeout(GOODBYE, ask).await;
    }

    /// Says goodbye and ends the session, channels in use included.
    pub async fn close(&self) {
        let (handle, link) = match &self.engine {
            Working::BuiltIn { handle, link, .. } => (handle, link),
            Working::Supervised(supervised) => return supervised.close().await,
        };
        let said = handle.disconnect(Disconnect::ByApplication, "the tunnel stops", "en");
        if let Ok(Ok(())) = timeout(GOODBYE, said).await {
            let closed = async {
                while !handle.is_closed() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let _ = timeout(GOODBYE, closed).await;
        }
        let _ = link.0.shutdown(std::net::Shutdown::Both);
    }
}

fn explain(err: &russh::Error) -> OpenError {
    match err {
        russh::Error::ChannelOpenFailure(reason) => match reason {
            ChannelOpenFailure::AdministrativelyProhibited => OpenError::Forbidden,
            ChannelOpenFailure::ConnectFailed => OpenError::Refused,
            other => OpenError::Server(other.description().to_owned()),
        },
        _ => OpenError::Lost,
    }
}
