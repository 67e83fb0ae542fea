//! `-check`: everything tried once, step by step, for the person who sets it up.
//!
//! ```text
//! ok    DNS
//! ok    TCP
//! …
//! FAIL  forwarding     login:22 forbids forwarding to localhost:4000 …
//! ```

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use interlink_daemon::Failure;
use interlink_transport::Stream;
use tokio::time::{Instant, timeout};

use crate::config::{Direction, Hop, Settings};
use crate::credentials::Credentials;
use crate::forward::route::Route;
use crate::session::fault::Fault;
use crate::session::live::{ListenError, Live, OpenError};
use crate::session::step::Step;
use crate::session::{connect, running};

/// Round trips measured; the median of them is told.
const ROUND_TRIPS: usize = 9;

/// Width of the column with the steps' names.
const COLUMN: usize = 14;

/// Connects once, and writes to `out` what came of each step.
///
/// # Errors
/// [`Failure`] with code 1 and the first step that failed.
pub async fn run(settings: &Settings, credentials: Credentials, out: &mut impl Write) -> Result<(), Failure> {
    let began = Instant::now();
    let found = attempt(settings, &credentials).await;
    let told = tell(settings, &credentials, &found, began.elapsed(), out);
    told.map_err(|err| Failure::failed(format!("stdout can't be written to: {err}")))?;
    let failed = match &found {
        Err(fault) => Some(fault),
        Ok(found) => found.services.iter().find_map(|service| service.as_ref().err()),
    };
    match failed {
        Some(fault) => Err(Failure::failed(format!("{}: {}; {}", fault.step.name(), fault.cause, fault.remedy))),
        None => Ok(()),
    }
}

/// What a check knows that could log in.
struct Found {
    peer: String,
    round_trip: Option<Duration>,
    /// For each forward, how long a connection to its end took.
    services: Vec<Result<Duration, Fault>>,
}

async fn attempt(settings: &Settings, credentials: &Credentials) -> Result<Found, Fault> {
    let (live, _end) = connect(settings, credentials, None).await?;
    let limit = settings.connect_timeout;
    let mut trips = Vec::new();
    for _ in 0..ROUND_TRIPS {
        trips.extend(live.round_trip(limit).await);
    }
    trips.sort_unstable();
    let round_trip = trips.get(trips.len() / 2).copied();
    let mut services = Vec::new();
    for forward in &settings.forwards {
        let route = Route::new(forward.clone());
        services.push(match running(settings, &live, &route).await {
            Ok(()) => {
                let began = Instant::now();
                service(settings, &route, &live).await.map(|()| began.elapsed())
            }
            // With the system's ssh, only now it is connected.
            Err(fault) if fault.step < Step::Forwarding => {
                live.close().await;
                return Err(fault);
            }
            Err(fault) => Err(fault),
        });
    }
    let found = Found { peer: live.peer().unwrap_or_else(|| settings.server.to_string()), round_trip, services };
    live.close().await;
    Ok(found)
}

/// Whether a connection comes through to the end.
async fn service(settings: &Settings, route: &Arc<Route>, live: &Arc<Live>) -> Result<(), Fault> {
    let forward = &route.forward;
    let limit = settings.connect_timeout;
    let server = &settings.server;
    match forward.direction {
        Direction::Forward => match live.open(route, limit).await {
            Ok(conduit) => {
                conduit.close().await;
                Ok(())
            }
            Err(OpenError::Refused) => Err(Fault::no_service(server, forward)),
            Err(OpenError::Forbidden) => Err(Fault::forbidden(server, &forward.remote)),
            Err(OpenError::Server(why)) => Err(Fault { step: Step::Service, ..Fault::lost(server, &why) }),
            Err(OpenError::Lost) => Err(Fault::lost(server, "while a connection was opened")),
            Err(OpenError::Timeout) => Err(Fault::timeout(server, Step::Service, limit)),
        },
        Direction::Reverse => {
            match live.listen(route, limit).await {
                Ok(()) => live.listen_no_longer(&forward.remote).await,
                Err(ListenError::Lost) => return Err(Fault::lost(server, "while it was asked to listen")),
                Err(refused) => return Err(Fault::no_listener(server, &forward.remote, &refused)),
            }
            match timeout(limit, Stream::connect(&forward.local)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(Fault::no_service(server, forward)),
            }
        }
    }
}

fn tell(
    settings: &Settings,
    credentials: &Credentials,
    found: &Result<Found, Fault>,
    took: Duration,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let failed = found.as_ref().err();
    let passed = failed.and_then(|fault| fault.jump).unwrap_or(settings.jumps.len());
    for jump in &settings.jumps[..passed.min(settings.jumps.len())] {
        writeln!(out, "ok    {:COLUMN$} {} as {}", "jump host", jump.server, jump.user)?;
    }
    // Where it failed, or the server.
    let last = || Hop { user: settings.user.clone(), server: settings.server.clone() };
    let hop = settings.jumps.get(passed).cloned().unwrap_or_else(last);
    for step in Step::ALL.into_iter().filter(|step| *step < Step::Forwarding) {
        if let Some(fault) = failed.filter(|fault| fault.step == step) {
            fail(out, fault)?;
            return out.flush();
        }
        let words = match step {
            Step::Name => hop.server.host.clone(),
            Step::Tcp => found.as_ref().map_or_else(|_| hop.server.to_string(), |found| found.peer.clone()),
            Step::Login => format!("{} as {}", credentials.identity().describe(), hop.user),
            _ => String::new(),
        };
        pass(out, step, &words)?;
    }
    let found = match found {
        Ok(found) => found,
        Err(fault) => {
            fail(out, fault)?;
            return out.flush();
        }
    };
    let several = settings.forwards.len() > 1;
    for (forward, service) in settings.forwards.iter().zip(&found.services) {
        let name = if several { format!("{}: ", forward.name) } else { String::new() };
        let words = [(Step::Forwarding, forward.remote.to_string()), (Step::Service, forward.leads_to())];
        for (step, words) in words {
            match service.as_ref().err().filter(|fault| fault.step == step) {
                Some(fault) => {
                    fail(out, &Fault { cause: format!("{name}{}", fault.cause), ..fault.clone() })?;
                    break;
                }
                None => pass(out, step, &format!("{name}{words}"))?,
            }
        }
    }
    let trip = found.round_trip.map_or_else(|| "not measured".to_owned(), millis);
    if let Ok(services) = found.services.iter().map(Result::as_ref).collect::<Result<Vec<_>, _>>() {
        let slowest = services.into_iter().max().copied().unwrap_or_default();
        let service = millis(slowest);
        writeln!(out, "      round trip {trip}, a connection to the service {service}, all {}", millis(took))?;
    }
    out.flush()
}

fn pass(out: &mut impl Write, step: Step, words: &str) -> std::io::Result<()> {
    writeln!(out, "{}", format!("ok    {:COLUMN$} {words}", step.name()).trim_end())
}

fn fail(out: &mut impl Write, fault: &Fault) -> std::io::Result<()> {
    writeln!(out, "FAIL  {:COLUMN$} {}", fault.step.name(), fault.cause)?;
    writeln!(out, "      {:COLUMN$} {}", "", fault.remedy)
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
