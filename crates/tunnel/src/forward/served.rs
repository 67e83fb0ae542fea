//! The forwards that are served, and how they change while the tunnel runs: what is as before is not touched, what is
//! new listens before anything else is given up, and what is gone listens no longer while its connections go on.

use std::sync::Arc;

use interlink_daemon::{Failure, sockets};
use interlink_transport::{BindError, Endpoint, Listener};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::route::{Route, Routes};
use super::{Carrier, accept};
use crate::config::{Direction, Forward, ONLY};

/// All of them.
pub struct Served {
    running: Vec<Running>,
    routes: watch::Sender<Routes>,
    carrier: Carrier,
}

/// One of them.
struct Running {
    route: Arc<Route>,
    /// Ends its acceptor.
    stop: CancellationToken,
    /// Gives the listener back; none in reverse.
    acceptor: Option<JoinHandle<Listener>>,
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Names of the forwards that begin.
    pub begun: Vec<String>,
    /// Names of the forwards that end.
    pub ended: Vec<String>,
}

impl Served {
    /// Listens for all of `forwards` and begins to accept.
    ///
    /// # Errors
    /// [`Failure`] that a person must mend, where one can't be listened on.
    pub async fn start(forwards: &[Forward], carrier: Carrier) -> Result<Self, Failure> {
        let names: Vec<String> = forwards.iter().map(store_name).collect();
        sockets::forget_others(&names);
        let mut served = Self { running: Vec::new(), routes: watch::Sender::new(Routes::default()), carrier };
        served.become_all(forwards).await?;
        Ok(served)
    }

    /// Follows which there are.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Routes> {
        self.routes.subscribe()
    }

    /// Serves `wanted` and nothing else. Until all that is new listens, nothing changes.
    ///
    /// # Errors
    /// [`Failure`] where one can't be listened on; all is as before then.
    pub async fn become_all(&mut self, wanted: &[Forward]) -> Result<Change, Failure> {
        let stays = |forward: &Forward| self.running.iter().any(|running| running.route.forward == *forward);
        let fresh: Vec<&Forward> = wanted.iter().filter(|forward| !stays(forward)).collect();
        let goes = |running: &Running| !wanted.contains(&running.route.forward);
        // A socket that only changes its forward is handed on, with the clients that wait there.
        let handed_on = |forward: &Forward| {
            let same = |running: &&Running| goes(running) && same_socket(&running.route.forward, forward);
            self.running.iter().any(|running| same(&running))
        };
        let mut bound: Vec<(&Forward, Option<Listener>)> = Vec::new();
        for forward in fresh {
            let listener = match forward.direction {
                Direction::Forward if !handed_on(forward) => {
                    match sockets::listen(&forward.local, &store_name(forward)).await {
                        Ok(listener) => Some(listener),
                        Err(err) => {
                            for (forward, listener) in bound {
                                listener.into_iter().for_each(|l| sockets::forget(l, &store_name(forward)));
                            }
                            return Err(in_the_way(forward, &err));
                        }
                    }
                }
                Direction::Forward | Direction::Reverse => None,
            };
            bound.push((forward, listener));
        }
        let (gone, mut stayed): (Vec<Running>, Vec<Running>) =
            std::mem::take(&mut self.running).into_iter().partition(goes);
        let mut change = Change::default();
        let mut free: Vec<(Forward, Listener)> = Vec::new();
        for running in gone {
            change.ended.push(running.route.forward.name.clone());
            let forward = running.route.forward.clone();
            free.extend(running.end().await.map(|listener| (forward, listener)));
        }
        let mut begun: Vec<(Forward, Option<Listener>)> = Vec::new();
        for (forward, listener) in bound {
            let listener = listener.or_else(|| {
                let at = free.iter().position(|(old, _)| same_socket(old, forward))?;
                let (old, listener) = free.swap_remove(at);
                sockets::give_up_name(&store_name(&old));
                Some(listener)
            });
            change.begun.push(forward.name.clone());
            begun.push((forward.clone(), listener));
        }
        for (old, listener) in free {
            sockets::forget(listener, &store_name(&old));
        }
        for (forward, listener) in begun {
            if let Some(listener) = &listener {
                // Its name may be that of one that has just gone, and has gone with that.
                sockets::store(listener, &store_name(&forward));
            }
            stayed.push(self.begin(forward, listener));
        }
        let place = |running: &Running| wanted.iter().position(|forward| *forward == running.route.forward);
        stayed.sort_by_key(place);
        self.running = stayed;
        self.routes.send_replace(Arc::new(self.running.iter().map(|running| Arc::clone(&running.route)).collect()));
        Ok(change)
    }

    fn begin(&self, forward: Forward, listener: Option<Listener>) -> Running {
        let (route, stop) = (Route::new(forward), CancellationToken::new());
        let acceptor =
            listener.map(|l| tokio::spawn(accept(l, Arc::clone(&route), self.carrier.clone(), stop.clone())));
        Running { route, stop, acceptor }
    }

    /// Listens no longer. The sockets stay with the service manager, if it keeps them.
    pub async fn stop(&mut self) {
        for running in &self.running {
            running.stop.cancel();
        }
        for running in &mut self.running {
            if let Some(acceptor) = running.acceptor.take() {
                drop(acceptor.await);
            }
        }
    }
}

impl Running {
    async fn end(self) -> Option<Listener> {
        self.route.removed.cancel();
        self.stop.cancel();
        // It ends at once, for it does nothing but accept.
        self.acceptor?.await.ok()
    }
}

fn same_socket(one: &Forward, other: &Forward) -> bool {
    let forward = Direction::Forward;
    one.direction == forward && other.direction == forward && one.local == other.local
}

/// The socket's name with the service manager.
fn store_name(forward: &Forward) -> String {
    if forward.name == ONLY { ONLY.to_owned() } else { format!("{ONLY}-{}", forward.name) }
}

/// Names the owner and both ways out: one path can't have two owners, and who followed a guide may have meant the other
/// direction.
fn in_the_way(forward: &Forward, err: &BindError) -> Failure {
    let of = if forward.name == ONLY { String::new() } else { format!("forward {}: ", forward.name) };
    let reverse = |owner: &str| {
        format!(
            "if instead connections from the server should reach {owner}, as the first program of this name did it, add -reverse"
        )
    };
    match (err, &forward.local) {
        (BindError::InUse { owner, .. }, Endpoint::Unix(path)) => {
            let own =
                ["plugin.sock", "tunnel.sock"].map(|name| path.with_file_name(name)).into_iter().find(|p| p != path);
            let own = own.unwrap_or_else(|| path.clone());
            Failure::config(format!(
                "{of}-lsock {path} belongs to {owner}, which listens there already: give the tunnel a path of its own \
                 (-lsock {own}) and let its client dial that (SidecarURL: unix://{own}); {reverse}",
                path = path.display(),
                own = own.display(),
                reverse = reverse(owner),
            ))
        }
        (BindError::InUse { owner, endpoint }, Endpoint::Tcp { .. }) => Failure::config(format!(
            "{of}-lsock {endpoint} belongs to {owner}, which listens there already: give the tunnel a port of its own; {}",
            reverse("it")
        )),
        _ => Failure::config(format!("{of}-lsock: {err}")),
    }
}
