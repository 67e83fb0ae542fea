//! What is told to operators and to the programs in front: one log line a change, `systemctl status`, and the JSON of
//! the state socket.
//!
//! The program's own hop is the link to the server: up while one session carries one forward. The service at the end of
//! each forward is a hop of its own: whether it answers is no fault of the tunnel.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use interlink_daemon::{HopHandle, notify};
use interlink_wire::{HopState, HopStatus};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Direction, Settings};
use crate::forward::route::{FarEnd, Route, Routes};
use crate::session::fault::Fault;
use crate::session::link::{Link, Way};

/// The hop behind a forward.
const BEHIND: &str = "remote";
/// The hop behind a tunnel in reverse.
const BEHIND_REVERSE: &str = "local";

/// Tells every change of the sessions and the forwards until `stop`.
pub async fn tell(
    settings: &Settings,
    handle: &HopHandle,
    mut links: watch::Receiver<Vec<Link>>,
    mut routes: watch::Receiver<Routes>,
    stop: &CancellationToken,
) {
    handle.detail("server", settings.server.to_string());
    let mut teller = Teller {
        settings,
        handle,
        established: Vec::new(),
        last_error: None,
        lost: HashMap::new(),
        ways: HashMap::new(),
        services: HashMap::new(),
    };
    loop {
        let now = routes.borrow_and_update().clone();
        teller.tell(&links.borrow_and_update(), &now);
        let mut far_ends: FuturesUnordered<_> = now
            .iter()
            .map(|route| {
                let (mut far_end, route) = (route.watch_far_end(), route.clone());
                let told = teller.services.get(&route.forward.name).map_or(FarEnd::Unknown, |(known, _)| *known);
                async move {
                    // A route is kept as long as it is watched, and so is its sender.
                    let _ = far_end.wait_for(|known| *known != told).await;
                }
            })
            .collect();
        tokio::select! {
            changed = links.changed() => if changed.is_err() { return },
            changed = routes.changed() => if changed.is_err() { return },
            Some(()) = far_ends.next(), if !far_ends.is_empty() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Whether some session carries a forward.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Carried {
    /// It is.
    Yes,
    /// It is being found out.
    Unknown,
    /// None does, for this reason.
    No(Fault),
}

struct Teller<'a> {
    settings: &'a Settings,
    handle: &'a HopHandle,
    /// For each session, when its last one came up, and how many there were.
    established: Vec<(Option<Timestamp>, u64)>,
    /// What was said of each session that is down.
    lost: HashMap<usize, String>,
    /// Why it was last down.
    last_error: Option<String>,
    /// What was said of each forward's way.
    ways: HashMap<String, Carried>,
    /// What was said of each forward's service, and since when it is so.
    services: HashMap<String, (FarEnd, Timestamp)>,
}

impl Teller<'_> {
    fn tell(&mut self, links: &[Link], routes: &Routes) {
        self.count(links);
        let ways: Vec<Carried> = routes.iter().map(|route| carried(links, &route.forward.name)).collect();
        let lives = || links.iter().filter_map(Link::live);
        let up = ways.contains(&Carried::Yes);
        self.name_the_forwards(links, routes, &ways);
        self.handle.detail("retryAt", retry_at(links).filter(|_| !up).map_or(Value::Null, |at| at.to_string().into()));
        if up {
            if let Some(live) = lives().next() {
                self.handle.detail("peer", live.peer());
            }
            let line = self.in_words(links, routes, &ways);
            self.handle.up(&line);
            notify::status(&line);
        } else if let Some(fault) = first_fault(links) {
            self.handle.down(&fault.cause, &fault.remedy);
            if self.last_error.as_ref() != Some(&fault.cause) {
                let at = Timestamp::now().to_string();
                self.handle.detail("lastError", json!({ "cause": fault.cause, "at": at }));
                self.last_error = Some(fault.cause.clone());
            }
        }
        self.tell_services(routes, &ways, up);
    }

    fn count(&mut self, links: &[Link]) {
        self.established.resize(links.len(), (None, 0));
        for (index, link) in links.iter().enumerate() {
            let (last, count) = &mut self.established[index];
            if let Link::Down { fault, .. } = link
                && links.len() > 1
                && self.lost.insert(index, fault.cause.clone()).as_ref() != Some(&fault.cause)
            {
                tracing::warn!(
                    remedy = fault.remedy,
                    "connection {} of {} is down: {}",
                    index + 1,
                    links.len(),
                    fault.cause
                );
            }
            if let Some(since) = link.live().map(|live| live.since)
                && *last != Some(since)
            {
                (*last, *count) = (Some(since), *count + 1);
                self.lost.remove(&index);
                if links.len() > 1 {
                    tracing::info!("connection {} of {} is up", index + 1, links.len());
                }
            }
        }
        let all: u64 = self.established.iter().map(|(_, count)| count).sum();
        let again: u64 = self.established.iter().map(|(_, count)| count.saturating_sub(1)).sum();
        if all > 0 {
            self.handle.detail("connections", all);
            self.handle.detail("reconnects", again);
        }
        let up = links.iter().filter(|link| link.live().is_some()).count();
        self.handle.detail("sessions", json!({ "wanted": links.len(), "up": up }));
    }

    /// `listens` and `forwardsTo` are those of a single forward.
    fn name_the_forwards(&mut self, links: &[Link], routes: &Routes, ways: &[Carried]) {
        let only = (routes.len() == 1).then(|| routes.first()).flatten();
        self.handle.detail("listens", only.map_or(Value::Null, |route| route.forward.listens().into()));
        self.handle.detail("forwardsTo", only.map_or(Value::Null, |route| route.forward.leads_to().into()));
        let all = routes.iter().zip(ways).map(|(route, carried)| {
            let (state, cause, remedy) = match carried {
                Carried::Yes => (HopStatus::Up, "", ""),
                Carried::Unknown => (HopStatus::Starting, "", ""),
                Carried::No(fault) => (HopStatus::Down, fault.cause.as_str(), fault.remedy.as_str()),
            };
            json!({
                "name": route.forward.name,
                "listens": route.forward.listens(),
                "forwardsTo": route.forward.leads_to(),
                "reverse": route.forward.direction == Direction::Reverse,
                "state": state,
                "cause": cause,
                "remedy": remedy,
            })
        });
        self.handle.detail("forwards", all.collect::<Vec<_>>());
        if routes.len() > 1 && links.iter().any(|link| link.live().is_some()) {
            for (route, carried) in routes.iter().zip(ways) {
                let name = &route.forward.name;
                if self.ways.insert(name.clone(), carried.clone()).as_ref() == Some(carried) {
                    continue;
                }
                match carried {
                    Carried::Unknown => {}
                    Carried::Yes => tracing::info!(
                        "forward {name} is up: {} leads to {}",
                        route.forward.listens(),
                        route.forward.leads_to()
                    ),
                    Carried::No(fault) => {
                        tracing::warn!(remedy = fault.remedy, "forward {name} is down: {}", fault.cause)
                    }
                }
            }
        }
        self.ways.retain(|name, _| routes.iter().any(|route| route.forward.name == *name));
    }

    fn in_words(&self, links: &[Link], routes: &Routes, ways: &[Carried]) -> String {
        let mut peers: Vec<String> = links.iter().filter_map(Link::live).map(|live| live.peer_in_words()).collect();
        let up = peers.len();
        peers.sort();
        peers.dedup();
        let mut line = format!("connected to {} ({})", self.settings.server, peers.join(", "));
        if let [route] = routes.as_slice()
            && route.forward.direction == Direction::Reverse
        {
            line += &format!(", which listens on {}", route.forward.remote);
        }
        if links.len() > 1 {
            line += &format!("; {up} of {} connections are up", links.len());
        }
        if routes.len() > 1 {
            let works = ways.iter().filter(|carried| **carried == Carried::Yes).count();
            line += &format!("; {works} of {} forwards are up", routes.len());
            for (route, carried) in routes.iter().zip(ways) {
                if let Carried::No(fault) = carried {
                    line += &format!("; {}: {}", route.forward.name, fault.cause);
                }
            }
        }
        line
    }

    fn tell_services(&mut self, routes: &Routes, ways: &[Carried], up: bool) {
        self.services.retain(|name, _| up && routes.iter().any(|route| route.forward.name == *name));
        if !up {
            for route in routes.iter() {
                // What was known may no longer be so when the server is back.
                route.note(FarEnd::Unknown);
            }
        }
        let mut behind = Vec::new();
        for (route, carried) in routes.iter().zip(ways) {
            let known = route.far_end();
            let (told, since) = *self.services.get(&route.forward.name).unwrap_or(&(FarEnd::Unknown, Timestamp::now()));
            let since = if told == known { since } else { Timestamp::now() };
            if told != known {
                match known {
                    FarEnd::Unknown => {}
                    FarEnd::Answers => tracing::info!("the service at {} answers", route.forward.leads_to()),
                    FarEnd::Refuses => {
                        tracing::warn!("{}", Fault::no_service(&self.settings.server, &route.forward).cause)
                    }
                }
            }
            self.services.insert(route.forward.name.clone(), (known, since));
            behind.extend(self.behind(route, carried, known, since, routes.len() > 1).filter(|_| up));
        }
        self.handle.set_behind(behind);
    }

    fn behind(
        &self,
        route: &Route,
        carried: &Carried,
        known: FarEnd,
        since: Timestamp,
        several: bool,
    ) -> Option<HopState> {
        let (state, (cause, remedy)) = match (carried, known) {
            (Carried::No(fault), _) if several => (HopStatus::Down, (fault.cause.clone(), fault.remedy.clone())),
            (_, FarEnd::Unknown) => return None,
            (_, FarEnd::Answers) => (HopStatus::Up, Default::default()),
            (_, FarEnd::Refuses) => {
                let fault = Fault::no_service(&self.settings.server, &route.forward);
                (HopStatus::Down, (fault.cause, fault.remedy))
            }
        };
        let kind = match route.forward.direction {
            Direction::Forward => BEHIND,
            Direction::Reverse => BEHIND_REVERSE,
        };
        let hop = if several { format!("{kind}:{}", route.forward.name) } else { kind.to_owned() };
        Some(HopState { hop, state, since: Some(since), cause, remedy })
    }
}

/// Whether some session carries the forward `name`.
fn carried(links: &[Link], name: &str) -> Carried {
    let ways = || links.iter().filter_map(|link| if let Link::Up(_, ways) = link { ways.get(name) } else { None });
    if ways().any(|way| *way == Way::Open) {
        return Carried::Yes;
    }
    let closed = ways().find_map(|way| if let Way::Closed { fault, .. } = way { Some(fault) } else { None });
    match closed.or_else(|| first_fault(links)) {
        Some(fault) => Carried::No(fault.clone()),
        None => Carried::Unknown,
    }
}

fn first_fault(links: &[Link]) -> Option<&Fault> {
    links.iter().find_map(|link| if let Link::Down { fault, .. } = link { Some(fault) } else { None })
}

fn retry_at(links: &[Link]) -> Option<Timestamp> {
    links.iter().filter_map(|link| if let Link::Down { retry_at, .. } = link { Some(*retry_at) } else { None }).min()
}
