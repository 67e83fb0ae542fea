//! What a session that is logged in does for each forward: the way is opened, watched, and opened again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use interlink_transport::Stream;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::exec::{self, Running};
use super::fault::Fault;
use super::link::{Way, Ways};
use super::live::{ListenError, Live, OpenError};
use super::openssh::{self, Carrier};
use crate::backoff::{Backoff, Pace};
use crate::config::{Direction, Forward, Remote, Settings};
use crate::forward::route::{FarEnd, Route};

/// How often a far end that refused is asked again, so that the state tells when it is back.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long one session goes on asking the server to listen when its reason is unclear: a new one sees a mended
/// sshd_config.
const UNCLEAR: Duration = Duration::from_secs(60);

/// So many connections in a row without any answer, and the command at the server hangs.
const HANGS: u32 = 2;

/// A way that held this long was a good one.
pub(super) const SETTLED: Duration = Duration::from_secs(10);

/// Why nobody looks after a way any more.
pub(super) enum Over {
    /// The session is gone, for this reason.
    Lost(String),
    /// The forward is no longer asked for.
    Removed,
}

/// Looks after the way of one forward over one session.
pub(super) struct Minder<'a> {
    pub(super) settings: &'a Settings,
    pub(super) live: &'a Arc<Live>,
    pub(super) route: Arc<Route>,
    /// Where it tells how the way is.
    pub(super) ways: &'a watch::Sender<Ways>,
    /// How many forwards this session has. With a single one, a session whose command ends is of no use.
    pub(super) count: &'a AtomicUsize,
    pub(super) reload: watch::Receiver<u64>,
}

impl Minder<'_> {
    pub(super) async fn mind(mut self) -> Over {
        let removed = self.route.removed.clone();
        self.tell(Way::Opening);
        let over = tokio::select! {
            why = self.keep_open() => Over::Lost(why),
            () = removed.cancelled() => Over::Removed,
        };
        if matches!(over, Over::Removed) {
            // First, for another of this name may come while the server is asked.
            self.ways.send_modify(|ways| {
                ways.remove(&self.route.forward.name);
            });
            if self.route.forward.direction == Direction::Reverse {
                self.live.listen_no_longer(&self.route.forward.remote).await;
            }
        }
        over
    }

    /// Returns only when the session is gone.
    async fn keep_open(&mut self) -> String {
        if let (Some(system), Remote::Port(_) | Remote::Socket(_)) =
            (self.settings.engine.system(), &self.route.forward.remote)
        {
            return self.keep_carried(system).await;
        }
        match (self.route.forward.direction, self.route.forward.remote.clone()) {
            (Direction::Reverse, _) => self.keep_listening().await,
            (Direction::Forward, Remote::Command(command)) => self.keep_running(&command).await,
            (Direction::Forward, Remote::Port(_) | Remote::Socket(_)) => {
                match try_out(self.settings, self.live, &self.route).await {
                    Ok(()) => {
                        self.tell(Way::Open);
                        self.ask_again().await
                    }
                    Err(NotCarried::Lost) => "right after logging in".into(),
                    // Only another session sees a mended sshd_config.
                    Err(NotCarried::Forbidden(fault)) => {
                        self.tell(Way::Closed { fault, retry_at: None });
                        std::future::pending().await
                    }
                }
            }
        }
    }

    async fn keep_running(&mut self, command: &str) -> String {
        let mut backoff = Backoff::default();
        loop {
            let (fault, pace) = match start_command(self.settings, &self.route.forward, command, self.live).await {
                Ok(Running { opener, ended, driver }) => {
                    let name = self.route.forward.name.clone();
                    self.route.unanswered.store(0, Ordering::Relaxed);
                    self.live.carries(&name, opener);
                    let held = Held { driver, route: Arc::clone(&self.route), live: Arc::clone(self.live) };
                    let (began, driver) = (Instant::now(), held.driver.clone());
                    let watched = async {
                        let _ = try_out(self.settings, self.live, &self.route).await;
                        self.tell(Way::Open);
                        self.ask_again().await
                    };
                    let why = tokio::select! {
                        why = ended => why.unwrap_or_else(|_| format!("`{command}` ended")),
                        why = watched => why,
                    };
                    if self.alone() {
                        return why;
                    }
                    // One that hangs would stay at the server beside the next.
                    driver.abort();
                    if began.elapsed() >= SETTLED {
                        backoff.reset();
                    }
                    (Fault::lost(&self.settings.server, &why), Pace::Eager)
                }
                Err(fault) => (fault.clone(), fault.pace),
            };
            if self.alone() {
                self.tell(Way::Closed { fault, retry_at: None });
                return std::future::pending().await;
            }
            self.pause(&mut backoff, pace, fault).await;
        }
    }

    /// In reverse the server listens, for one of our sessions at a time.
    async fn keep_listening(&mut self) -> String {
        let route = Arc::clone(&self.route);
        let _turn = match route.turn.try_acquire() {
            Ok(turn) => turn,
            Err(_) => {
                self.tell(Way::Standby);
                match route.turn.acquire().await {
                    Ok(turn) => turn,
                    Err(_) => return std::future::pending().await,
                }
            }
        };
        let (began, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            match self.live.listen(&self.route, self.settings.connect_timeout).await {
                Ok(()) => break,
                Err(ListenError::Lost) => return "it did not answer a request to listen".into(),
                Err(refused) => {
                    let fault = Fault::no_listener(&self.settings.server, &self.route.forward.remote, &refused);
                    let hopeless = refused == ListenError::Forbidden
                        || (refused == ListenError::Unclear && began.elapsed() > UNCLEAR);
                    if hopeless {
                        self.tell(Way::Closed { fault, retry_at: None });
                        return std::future::pending().await;
                    }
                    self.pause(&mut backoff, Pace::Eager, fault).await;
                }
            }
        }
        self.tell(Way::Open);
        self.ask_service().await;
        self.ask_again().await
    }

    /// Asks a far end that refused whether it is back; returns only where a command at the server hangs.
    pub(super) async fn ask_again(&self) -> String {
        loop {
            sleep(ASK_AGAIN).await;
            if self.route.unanswered.load(Ordering::Relaxed) >= HANGS {
                return format!("{} no longer answers, though the connection does", self.route.forward.remote);
            }
            if self.route.far_end() != FarEnd::Refuses {
                continue;
            }
            match self.route.forward.direction {
                Direction::Forward => {
                    let _ = try_out(self.settings, self.live, &self.route).await;
                }
                Direction::Reverse => self.ask_service().await,
            }
        }
    }

    pub(super) async fn ask_service(&self) {
        match timeout(self.settings.connect_timeout, Stream::connect(&self.route.forward.local)).await {
            Ok(Ok(_)) => self.route.note(FarEnd::Answers),
            Ok(Err(_)) => self.route.note(FarEnd::Refuses),
            Err(_) => {}
        }
    }

    pub(super) async fn pause(&mut self, backoff: &mut Backoff, pace: Pace, fault: Fault) {
        let pause = backoff.next(pace, rand::random());
        let now = Timestamp::now();
        let retry_at = SignedDuration::try_from(pause).map_or(now, |pause| now + pause);
        self.tell(Way::Closed { fault, retry_at: Some(retry_at) });
        tokio::select! {
            () = sleep(pause) => {}
            // A person is at work.
            () = super::reloaded(&mut self.reload) => {}
        }
    }

    pub(super) fn alone(&self) -> bool {
        self.count.load(Ordering::Relaxed) <= 1
    }

    pub(super) fn tell(&self, mut way: Way) {
        if let Way::Closed { fault, retry_at: None } = &mut way
            && !self.alone()
        {
            fault.remedy += "; it counts from the next connection to the server on, so restart the tunnel after that";
        }
        let name = &self.route.forward.name;
        self.ways.send_if_modified(|ways| ways.insert(name.clone(), way.clone()) != Some(way));
    }
}

/// Opens a first connection to the end of a forward and closes it again.
///
/// # Errors
/// When the session can't carry the forward. That nothing answers at its end is no error: the route has noted it.
pub(super) async fn try_out(settings: &Settings, live: &Arc<Live>, route: &Arc<Route>) -> Result<(), NotCarried> {
    match live.open(route, settings.connect_timeout).await {
        Ok(probe) => probe.close().await,
        Err(OpenError::Forbidden) => {
            return Err(NotCarried::Forbidden(Fault::forbidden(&settings.server, &route.forward.remote)));
        }
        Err(OpenError::Lost) => return Err(NotCarried::Lost),
        // The session is good; what is behind it is told by its state.
        Err(OpenError::Refused | OpenError::Server(_) | OpenError::Timeout) => {}
    }
    Ok(())
}

/// Why a session does not carry a forward.
pub(super) enum NotCarried {
    /// It is gone.
    Lost,
    /// The server does not let it.
    Forbidden(Fault),
}

/// Starts what carries a forward, where something must: a command, or the system's `ssh`. It runs as long as the session.
pub(crate) async fn running(settings: &Settings, live: &Arc<Live>, route: &Route) -> Result<(), Fault> {
    if let Remote::Command(command) = &route.forward.remote {
        let Running { opener, .. } = start_command(settings, &route.forward, command, live).await?;
        live.carries(&route.forward.name, opener);
    } else if let (Some(system), Some(supervised)) = (settings.engine.system(), live.supervised()) {
        let started = Carrier::start(settings, system, &route.forward).await?;
        supervised.add(&route.forward.name, started.carrier);
    }
    Ok(())
}

/// Runs the command of a forward, over the session or by an `ssh` of its own, which ends with the session too.
async fn start_command(settings: &Settings, forward: &Forward, command: &str, live: &Live) -> Result<Running, Fault> {
    if let (Some(system), Some(supervised)) = (settings.engine.system(), live.supervised()) {
        let running = openssh::run(settings, system, forward, command).await?;
        supervised.keep(running.driver.clone());
        return Ok(running);
    }
    match live.handle() {
        Some(handle) => exec::start(settings, command, handle).await,
        None => Err(Fault::lost(&settings.server, "there is no session")),
    }
}

/// A command that carries a forward.
struct Held {
    driver: AbortHandle,
    route: Arc<Route>,
    live: Arc<Live>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.live.carries_no_more(&self.route.forward.name);
        if self.route.removed.is_cancelled() {
            // Its connections may end by themselves first. Otherwise it ends with the session.
            let (driver, route, live) = (self.driver.clone(), Arc::clone(&self.route), Arc::downgrade(&self.live));
            tokio::spawn(async move {
                while route.traffic.open() > 0 && live.strong_count() > 0 {
                    sleep(Duration::from_millis(100)).await;
                }
                driver.abort();
            });
        }
    }
}

/// Waits for the session's own word on its end.
pub(super) async fn word(end: &mut oneshot::Receiver<String>) -> String {
    end.await.unwrap_or_else(|_| "its task ended".into())
}
