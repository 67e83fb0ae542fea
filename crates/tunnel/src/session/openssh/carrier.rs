//! An `ssh` that carries a forward by way of a private socket.
//!
//! For a forward, `ssh` listens there and we connect, once for each client. It says on stderr which of these connections
//! reached the far end, in the order in which it took them: so each learns whether it did, and why not.
//! In reverse, we listen there and `ssh` connects.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, path::PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::child::{Child, Files};
use super::words::{Event, Said};
use crate::config::{Direction, Forward, Settings, System};
use crate::session::fault::Fault;
use crate::session::live::OpenError;

/// How often the time limit of a step fits into the whole: name, TCP and banner of each host, login, forwarding.
const STEPS: u32 = 3;

/// How long `ssh` may take to end.
const GOODBYE: Duration = Duration::from_secs(1);

/// The pause before a full queue is tried again.
const FULL: Duration = Duration::from_millis(5);

/// Connections in reverse that wait for a task of their own.
const HANDED_OVER: usize = 256;

/// A forward carried by `ssh`; it ends when this is dropped.
pub(crate) struct Carrier {
    opens: Arc<Opens>,
    socket: PathBuf,
    /// The address of the server, unless it is behind another.
    pub(crate) peer: Option<String>,
    stop: CancellationToken,
    over: CancellationToken,
}

/// A carrier that is up.
pub(crate) struct Started {
    pub(crate) carrier: Arc<Carrier>,
    /// Tells why it ended.
    pub(crate) ended: oneshot::Receiver<String>,
    /// What the server hands over, in reverse.
    pub(crate) incoming: Option<mpsc::Receiver<UnixStream>>,
}

type Verdict = oneshot::Sender<Result<(), OpenError>>;

/// Connections that are being opened.
#[derive(Default)]
struct Opens {
    /// One at a time connects: the order in which `ssh` takes them must be known.
    turn: tokio::sync::Mutex<()>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Not taken by `ssh` yet.
    ahead: VecDeque<Verdict>,
    /// Taken, by the channel's number.
    taken: HashMap<u32, Verdict>,
}

impl Opens {
    fn hear(&self, event: Event) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, result) = match event {
            Event::Taken(number) => {
                if let Some(verdict) = waiting.ahead.pop_front() {
                    waiting.taken.insert(number, verdict);
                }
                return;
            }
            Event::Opened(number) => (number, Ok(())),
            Event::Refused(number, why) => (number, Err(why)),
            Event::Connected | Event::Authenticated(_) | Event::Partly | Event::Entered | Event::Listens(_) => return,
        };
        if let Some(verdict) = waiting.taken.remove(&number) {
            // Who asked may have lost patience.
            let _ = verdict.send(result);
        }
    }

    fn queue(&self) -> oneshot::Receiver<Result<(), OpenError>> {
        let (verdict, told) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).ahead.push_back(verdict);
        told
    }

    fn unqueue(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).ahead.pop_back();
    }

    /// `ssh` is gone.
    fn lose_all(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Waiting::default();
    }
}

impl Carrier {
    /// Starts `ssh` and waits until it carries, or says why it does not.
    pub(crate) async fn start(settings: &Settings, system: &System, forward: &Forward) -> Result<Started, Fault> {
        let unusable = |why: String| Fault::ssh_unusable(&why);
        let files = Files::make(settings, system).map_err(unusable)?;
        let socket = files.socket.clone();
        let listener = match forward.direction {
            Direction::Forward => None,
            Direction::Reverse => Some(
                UnixListener::bind(&socket)
                    .map_err(|err| unusable(format!("{} can't be bound ({err})", socket.display())))?,
            ),
        };
        let mut child = Child::start(settings, system, forward, files, false)
            .map_err(|err| unusable(format!("{} can't be started ({err})", system.program.display())))?;
        let mut said = Said::default();
        let deadline = Instant::now() + settings.connect_timeout * STEPS;
        let ready = timeout_at(deadline, ready(&mut child, &mut said, forward.direction)).await;
        let peer = match ready {
            Ok(Ok(peer)) => peer,
            Ok(Err(())) => {
                child.end().await;
                return Err(said.fault(settings, forward));
            }
            Err(_) => {
                child.end().await;
                return Err(Fault::timeout(&settings.server, said.step(), settings.connect_timeout * STEPS));
            }
        };
        let (opens, stop, over) = (Arc::new(Opens::default()), CancellationToken::new(), CancellationToken::new());
        let (tell, ended) = oneshot::channel();
        let watched = watch(child, said, Arc::clone(&opens), stop.clone(), tell);
        tokio::spawn({
            let over = over.clone().drop_guard();
            async move {
                watched.await;
                drop(over);
            }
        });
        let incoming = listener.map(|listener| {
            let (hand_over, incoming) = mpsc::channel(HANDED_OVER);
            tokio::spawn(accept(listener, hand_over, stop.clone()));
            incoming
        });
        Ok(Started { carrier: Arc::new(Self { opens, socket, peer, stop, over }), ended, incoming })
    }

    /// Opens a way to the far end.
    pub(crate) async fn open(&self, limit: Duration) -> Result<UnixStream, OpenError> {
        let deadline = Instant::now() + limit;
        let opening = async {
            let turn = self.opens.turn.lock().await;
            let told = self.opens.queue();
            let stream = loop {
                match UnixStream::connect(&self.socket).await {
                    Ok(stream) => break stream,
                    // More wait there than ssh has room for.
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                        sleep(FULL).await;
                    }
                    Err(err) => {
                        self.opens.unqueue();
                        return Err(match err.kind() {
                            io::ErrorKind::WouldBlock => OpenError::Timeout,
                            _ => OpenError::Lost,
                        });
                    }
                }
            };
            drop(turn);
            Ok((stream, told))
        };
        // Not to be given up halfway: a place in the queue stands for a connection that was made.
        let (stream, told) = opening.await?;
        match timeout_at(deadline, told).await {
            Ok(Ok(Ok(()))) => Ok(stream),
            Ok(Ok(Err(why))) => Err(why),
            Ok(Err(_)) => Err(OpenError::Lost),
            Err(_) => Err(OpenError::Timeout),
        }
    }

    /// Ends `ssh`, connections in use included.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let _ = timeout(GOODBYE, self.over.cancelled()).await;
    }

    /// Whether it still runs.
    pub(crate) fn is_up(&self) -> bool {
        !self.over.is_cancelled()
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Listens to `ssh` until it carries. Its address, as far as it is known; `Err` when it ends first.
async fn ready(child: &mut Child, said: &mut Said, direction: Direction) -> Result<Option<String>, ()> {
    let mut peer = None;
    while let Some(line) = child.says().await {
        tracing::trace!(line, "ssh");
        let event = said.hear(&line);
        if said.unrecorded() {
            return Err(());
        }
        match (event, direction) {
            (Some(Event::Authenticated(at)), _) => peer = at,
            (Some(Event::Entered), Direction::Forward) | (Some(Event::Listens(true)), Direction::Reverse) => {
                return Ok(peer);
            }
            _ => {}
        }
    }
    Err(())
}

/// Listens to `ssh` until it ends or is told to.
async fn watch(
    mut child: Child,
    mut said: Said,
    opens: Arc<Opens>,
    stop: CancellationToken,
    tell: oneshot::Sender<String>,
) {
    loop {
        let line = tokio::select! {
            line = child.says() => line,
            () = stop.cancelled() => break,
        };
        let Some(line) = line else { break };
        if let Some(event) = said.hear(&line) {
            opens.hear(event);
        }
    }
    child.end().await;
    opens.lose_all();
    // Nobody wants to know when the tunnel has stopped.
    let _ = tell.send(said.last());
}

async fn accept(listener: UnixListener, hand_over: mpsc::Sender<UnixStream>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            // Dropped when too many wait: the client at the server sees its connection closed.
            Ok((stream, _)) => drop(hand_over.try_send(stream)),
            // Out of descriptors, most likely.
            Err(err) => {
                tracing::debug!(%err, "a connection of ssh can't be accepted");
                let _ = timeout(Duration::from_millis(100), stop.cancelled()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_learns_its_own_fate() {
        let opens = Opens::default();
        let (mut first, mut second, mut third) = (opens.queue(), opens.queue(), opens.queue());
        opens.hear(Event::Taken(4));
        opens.hear(Event::Taken(5));
        opens.hear(Event::Refused(5, OpenError::Refused));
        opens.hear(Event::Opened(4));
        // Of a connection that nobody asked for.
        opens.hear(Event::Opened(9));
        assert_eq!(first.try_recv(), Ok(Ok(())));
        assert_eq!(second.try_recv(), Ok(Err(OpenError::Refused)));
        assert!(matches!(third.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        // A number is given again.
        opens.hear(Event::Taken(5));
        opens.lose_all();
        assert!(matches!(third.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    }
}
