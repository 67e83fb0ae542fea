//! Metrics for Prometheus, on a socket or a loopback port of their own (`-metrics`), for this user and root alone.
//!
//! They are computed when they are asked for, from what the sessions and the forwards count anyway.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use interlink_daemon::{Failure, HopHandle};
use interlink_transport::{Endpoint, Listener, serve};
use interlink_wire::HopStatus;
use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::{Encoder as _, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::forward::route::{FarEnd, Routes};
use crate::session::link::{Link, Way};

/// How often the way to the server and back is measured.
const MEASURE: Duration = Duration::from_secs(15);

/// How long a request may still take at the end.
const DRAIN: Duration = Duration::from_secs(1);

/// What the metrics are made of.
#[derive(Clone)]
pub struct Sources {
    /// The sessions.
    pub links: watch::Receiver<Vec<Link>>,
    /// The forwards.
    pub routes: watch::Receiver<Routes>,
    /// What is told of the tunnel as a whole.
    pub handle: HopHandle,
}

/// Listens for Prometheus.
///
/// # Errors
/// [`Failure`] that a person must mend.
pub async fn listen(at: &Endpoint) -> Result<Listener, Failure> {
    Listener::bind(at).await.map_err(|err| Failure::config(format!("-metrics: {err}")))
}

/// Serves until `stop`.
pub async fn run(listener: Listener, sources: Sources, limit: Duration, stop: &CancellationToken) {
    let trips = Trips::default();
    let (asked, measured) = (sources.clone(), trips.clone());
    let answer = move || {
        let (sources, trips) = (asked.clone(), measured.clone());
        async move { ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], sources.text(&trips)).into_response() }
    };
    let router = Router::new().route("/metrics", get(answer.clone())).route("/", get(answer));
    let measure = async {
        tokio::select! {
            () = trips.measure(&sources.links, limit) => {}
            () = stop.cancelled() => {}
        }
    };
    tokio::join!(serve(listener, router, stop.clone(), DRAIN), measure);
}

/// The last round trip of each session.
#[derive(Debug, Clone, Default)]
struct Trips(Arc<Mutex<Vec<Option<Duration>>>>);

impl Trips {
    /// Never returns.
    async fn measure(&self, links: &watch::Receiver<Vec<Link>>, limit: Duration) {
        let mut turns = interval(MEASURE);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut links = links.clone();
        loop {
            // A session that comes up is measured at once.
            tokio::select! {
                _ = turns.tick() => {}
                changed = links.changed() => if changed.is_err() { std::future::pending::<()>().await },
            }
            let lives: Vec<_> = links.borrow_and_update().iter().map(|link| link.live().cloned()).collect();
            let trips = lives.into_iter().map(|live| async move {
                match live {
                    Some(live) => live.round_trip(limit).await,
                    None => None,
                }
            });
            let trips = futures_util::future::join_all(trips).await;
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trips;
        }
    }

    fn get(&self) -> Vec<Option<Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sources {
    fn text(&self, trips: &Trips) -> String {
        let registry = Registry::new();
        self.whole(&registry);
        self.sessions(&registry, &trips.get());
        self.forwards(&registry);
        let mut text = Vec::new();
        if let Err(err) = TextEncoder::new().encode(&registry.gather(), &mut text) {
            tracing::debug!(%err, "the metrics can't be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }

    /// Of the tunnel as a whole.
    fn whole(&self, registry: &Registry) {
        let state = self.handle.get();
        let info = gauges(registry, "info", "The program; always 1.", &["version"]);
        info.with_label_values(&[state.version.as_str()]).set(1);
        let Some(own) = state.hops.first() else { return };
        let up = own.state == HopStatus::Up;
        gauges(registry, "up", "Whether some session carries some forward.", &[])
            .with_label_values(&[""; 0])
            .set(up.into());
        let since = own.since.map_or(0.0, |since| Timestamp::now().duration_since(since).as_secs_f64());
        let seconds = seconds(registry, "state_seconds", "For how long the tunnel has been in its state.", &["state"]);
        seconds.with_label_values(&[own.state.to_string().as_str()]).set(since.max(0.0));
        let again = counters(registry, "reconnects_total", "Sessions that came up again.", &[]);
        let count = state.details.get("reconnects").and_then(serde_json::Value::as_u64).unwrap_or(0);
        again.with_label_values(&[""; 0]).inc_by(count);
        if let Some(cause) = state.details.get("lastError").and_then(|last| last["cause"].as_str()) {
            let last = gauges(registry, "last_error_info", "Why the tunnel was last down; always 1.", &["cause"]);
            last.with_label_values(&[cause]).set(1);
        }
    }

    fn sessions(&self, registry: &Registry, trips: &[Option<Duration>]) {
        let up = gauges(registry, "session_up", "Whether a session to the server is up.", &["session"]);
        let open = gauges(registry, "session_open_channels", "Connections that a session carries.", &["session"]);
        let trip =
            seconds(registry, "round_trip_seconds", "To the server and back, at the last measurement.", &["session"]);
        for (index, link) in self.links.borrow().iter().enumerate() {
            let name = (index + 1).to_string();
            let live = link.live();
            up.with_label_values(&[name.as_str()]).set(live.is_some().into());
            open.with_label_values(&[name.as_str()]).set(count(live.map_or(0, |live| live.open_channels())));
            if let Some(time) = trips.get(index).copied().flatten().filter(|_| live.is_some()) {
                trip.with_label_values(&[name.as_str()]).set(time.as_secs_f64());
            }
        }
    }

    fn forwards(&self, registry: &Registry) {
        let of = &["forward"];
        let up = gauges(registry, "forward_up", "Whether some session carries the forward.", of);
        let service = gauges(registry, "service_up", "Whether the service behind took the last connection.", of);
        let open = gauges(registry, "open_connections", "Connections that are open.", of);
        let all = counters(registry, "connections_total", "Connections that were accepted.", of);
        let bytes = counters(registry, "bytes_total", "Bytes that were carried.", &["forward", "direction"]);
        let links = self.links.borrow().clone();
        for route in self.routes.borrow().iter() {
            let name = route.forward.name.as_str();
            let carries = |link: &Link| matches!(link, Link::Up(_, ways) if ways.get(name) == Some(&Way::Open));
            up.with_label_values(&[name]).set(links.iter().any(carries).into());
            match route.far_end() {
                FarEnd::Unknown => {}
                known => service.with_label_values(&[name]).set((known == FarEnd::Answers).into()),
            }
            open.with_label_values(&[name]).set(count(route.traffic.open()));
            all.with_label_values(&[name]).inc_by(route.traffic.connections());
            bytes.with_label_values(&[name, "to_server"]).inc_by(route.traffic.to_server());
            bytes.with_label_values(&[name, "from_server"]).inc_by(route.traffic.from_server());
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("interlink_tunnel")
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(options(name, help), labels))
}

fn seconds(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    registered(registry, GaugeVec::new(options(name, help), labels))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(options(name, help), labels))
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("every name and label of this module is valid");
    registry.register(Box::new(collector.clone())).expect("no name of this module is used twice");
    collector
}
