//! The way of a forward that the system's `ssh` carries: started, watched, started again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::fault::Fault;
use super::link::Way;
use super::live::Live;
use super::openssh::{Carrier, Started};
use super::ways::{Minder, NotCarried, SETTLED, try_out};
use crate::backoff::{Backoff, Pace};
use crate::config::{Direction, System};
use crate::forward::route::Route;

impl Minder<'_> {
    /// Returns only when nothing is left for this session to do.
    pub(super) async fn keep_carried(&mut self, system: &System) -> String {
        let route = Arc::clone(&self.route);
        // The server listens for one at a time.
        let _turn = match (route.forward.direction, route.turn.try_acquire()) {
            (Direction::Forward, _) => None,
            (Direction::Reverse, Ok(turn)) => Some(turn),
            (Direction::Reverse, Err(_)) => {
                self.tell(Way::Standby);
                match route.turn.acquire().await {
                    Ok(turn) => Some(turn),
                    Err(_) => return std::future::pending().await,
                }
            }
        };
        let mut backoff = Backoff::default();
        loop {
            let (fault, pace) = match Carrier::start(self.settings, system, &route.forward).await {
                Ok(started) => {
                    let began = Instant::now();
                    let why = match self.carry(started).await {
                        Ok(why) => why,
                        // Only another session sees a mended sshd_config.
                        Err(fault) => {
                            self.tell(Way::Closed { fault, retry_at: None });
                            return std::future::pending().await;
                        }
                    };
                    if self.alone() {
                        return why;
                    }
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

    /// Serves until `ssh` ends, and says why it did; a fault if the server does not let it carry anything.
    async fn carry(&mut self, started: Started) -> Result<String, Fault> {
        let Started { carrier, ended, incoming } = started;
        let Some(supervised) = self.live.supervised() else { return Ok("there is no ssh".into()) };
        let _held = Held::new(self.live, &self.route, carrier);
        let watched = async {
            match self.route.forward.direction {
                Direction::Forward => match try_out(self.settings, self.live, &self.route).await {
                    Ok(()) => {}
                    Err(NotCarried::Forbidden(fault)) => return Err(fault),
                    // Its end is told.
                    Err(NotCarried::Lost) => return std::future::pending().await,
                },
                Direction::Reverse => self.ask_service().await,
            }
            self.tell(Way::Open);
            Ok(self.ask_again().await)
        };
        let handed = async {
            if let Some(handed) = incoming {
                supervised.take_over(&self.route.forward.remote, handed).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            why = ended => Ok(why.unwrap_or_else(|_| "ssh ended".into())),
            watched = watched => watched,
            () = handed => Ok("ssh ended".into()),
        }
    }
}

/// An `ssh` that carries a forward for as long as it is looked after.
struct Held<'a> {
    live: &'a Arc<Live>,
    route: Arc<Route>,
}

impl<'a> Held<'a> {
    fn new(live: &'a Arc<Live>, route: &Arc<Route>, carrier: Arc<Carrier>) -> Self {
        if let Some(supervised) = live.supervised() {
            supervised.add(&route.forward.name, carrier);
        }
        Self { live, route: Arc::clone(route) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let carrier = self.live.supervised().and_then(|supervised| supervised.remove(&self.route.forward.name));
        let Some(carrier) = carrier else { return };
        // Connections of a forward that is no longer asked for, or of a tunnel that stops, may end by themselves first.
        let (route, live) = (Arc::clone(&self.route), Arc::downgrade(self.live));
        tokio::spawn(async move {
            while route.traffic.open() > 0 && live.strong_count() > 0 && carrier.is_up() {
                sleep(Duration::from_millis(100)).await;
            }
            carrier.close().await;
        });
    }
}
