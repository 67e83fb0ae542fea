//! `-check`: everything tried once, step by step, for the person who sets it up.
//!
//! ```text
//! ok    DNS
//! ok    TCP
//! …
//! FAIL  forwarding     login:22 forbids forwarding to localhost:4000 …
//! ```

use std::io::Write;
use std::time::Duration;

use interlink_daemon::Failure;
use interlink_transport::Stream;
use tokio::time::{Instant, timeout};

use crate::config::{Direction, Forward, Hop, Settings};
use crate::credentials::Credentials;
use crate::session::bring_up;
use crate::session::fault::Fault;
use crate::session::live::{ListenError, Live, OpenError};
use crate::session::step::Step;

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
    let forward = &settings.forwards[0];
    let found = attempt(settings, forward, &credentials).await;
    let failed = found.as_ref().err().map(|fault| fault.step);
    let told = tell(settings, forward, &credentials, &found, began.elapsed(), out);
    told.map_err(|err| Failure::failed(format!("stdout can't be written to: {err}")))?;
    match (found, failed) {
        (Err(fault), Some(step)) => Err(Failure::failed(format!("{}: {}; {}", step.name(), fault.cause, fault.remedy))),
        _ => Ok(()),
    }
}

/// What a check that found nothing wrong knows.
struct Found {
    peer: String,
    round_trip: Option<Duration>,
    service: Duration,
}

async fn attempt(settings: &Settings, forward: &Forward, credentials: &Credentials) -> Result<Found, Fault> {
    let (live, _end) = bring_up(settings, forward, credentials, None).await?;
    let limit = settings.connect_timeout;
    let mut trips = Vec::new();
    for _ in 0..ROUND_TRIPS {
        trips.extend(live.round_trip(limit).await);
    }
    trips.sort_unstable();
    let round_trip = trips.get(trips.len() / 2).copied();
    let began = Instant::now();
    let service = service(settings, forward, &live).await;
    let found = service.map(|()| Found { peer: live.peer.to_string(), round_trip, service: began.elapsed() });
    live.close().await;
    found
}

/// Whether a connection comes through to the end.
async fn service(settings: &Settings, forward: &Forward, live: &std::sync::Arc<Live>) -> Result<(), Fault> {
    let limit = settings.connect_timeout;
    let server = &settings.server;
    match forward.direction {
        Direction::Forward => match live.open(&forward.remote, limit).await {
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
            match live.listen(&forward.remote, limit).await {
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
    forward: &Forward,
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
    for step in Step::ALL {
        if let Some(fault) = failed.filter(|fault| fault.step == step) {
            writeln!(out, "FAIL  {:COLUMN$} {}", step.name(), fault.cause)?;
            writeln!(out, "      {:COLUMN$} {}", "", fault.remedy)?;
            return out.flush();
        }
        let words = match step {
            Step::Name => hop.server.host.clone(),
            Step::Tcp => found.as_ref().map_or_else(|_| hop.server.to_string(), |found| found.peer.clone()),
            Step::Greeting | Step::Handshake | Step::HostKey => String::new(),
            Step::Login => format!("{} as {}", credentials.identity().describe(), hop.user),
            Step::Forwarding => forward.remote.to_string(),
            Step::Service => forward.leads_to(),
        };
        writeln!(out, "{}", format!("ok    {:COLUMN$} {words}", step.name()).trim_end())?;
    }
    if let Ok(Found { round_trip, service, .. }) = found {
        let trip = round_trip.map_or_else(|| "not measured".to_owned(), millis);
        writeln!(
            out,
            "      round trip {trip}, a connection to the service {}, all {}",
            millis(*service),
            millis(took)
        )?;
    }
    out.flush()
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
