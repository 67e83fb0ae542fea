//! Pings: to the API server, which asks the plugin, and past it to the plugin itself, so that each is judged for itself.

use std::time::{Duration, Instant};

use http::Method;
use interlink_api::plugin::trouble;
use interlink_transport::{Call, CallError, Client, Endpoint};
use interlink_wire::{Envelope, Fault as WireFault, HopState, PingResponse, header, path};

use super::programs::of_hop;
use super::step::{Id, Step};

/// The most that is read of an answer.
const ANSWER_LIMIT: usize = 1 << 20;

/// What came of a ping.
#[derive(Debug, Clone, PartialEq)]
pub struct Pinged {
    /// Who was asked.
    pub endpoint: Endpoint,
    /// The answer.
    pub outcome: Outcome,
    /// How long it took.
    pub latency: Duration,
}

/// An answer, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is well; what it says of the hops behind it.
    Well(Vec<HopState>),
    /// It answered with an error.
    Refused(WireFault),
    /// No answer: hop, cause, remedy.
    Silent {
        /// Where the trouble is.
        hop: String,
        /// Why.
        cause: String,
        /// What to do.
        remedy: String,
    },
}

impl Pinged {
    /// Whether it is well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self.outcome, Outcome::Well(_))
    }

    fn hops(&self) -> &[HopState] {
        match &self.outcome {
            Outcome::Well(hops) => hops,
            _ => &[],
        }
    }
}

/// Pings the API server.
pub async fn api(endpoint: &Endpoint, limit: Duration) -> Pinged {
    let call = Call::new(Method::POST, path::PINGLINK, "");
    ping(endpoint, call, "api", limit, |error| {
        let remedy = "start interlink, or correct InterlinkAddress (and InterlinkURL)";
        ("api".to_owned(), format!("the API server does not answer: {error}"), remedy.to_owned())
    })
    .await
}

/// Pings the plugin at the address that the API server dials. `resolves` says whether its host name does.
pub async fn plugin(endpoint: &Endpoint, resolves: bool, limit: Duration) -> Pinged {
    let call = Call::new(Method::GET, path::STATUS, "[]").header("content-type", "application/json");
    ping(endpoint, call, "plugin", limit, |error| {
        let trouble = trouble::explain(endpoint, error, resolves);
        (trouble.hop, trouble.cause, trouble.remedy)
    })
    .await
}

async fn ping(
    endpoint: &Endpoint,
    call: Call,
    hop: &str,
    limit: Duration,
    explain: impl Fn(&CallError) -> (String, String, String),
) -> Pinged {
    let started = Instant::now();
    let silent = |error: CallError| {
        let (hop, cause, remedy) = explain(&error);
        Outcome::Silent { hop, cause, remedy }
    };
    let outcome = match Client::new(endpoint.clone()).send(call.timeout(limit)).await {
        Err(error) => silent(error),
        Ok(answer) => {
            let (status, fault) = (answer.status, answer.header(header::ERROR).map(str::to_owned));
            match answer.bytes(ANSWER_LIMIT, limit).await {
                Err(error) => silent(error),
                // A login proxy's page is no answer of a program.
                Ok(body) if status.is_success() && !body.trim_ascii_start().starts_with(b"<") => {
                    Outcome::Well(PingResponse::decode(&body).map(|said| said.hops).unwrap_or_default())
                }
                Ok(body) => Outcome::Refused(WireFault::read(hop, status.as_u16(), fault.as_deref(), &body)),
            }
        }
    };
    Pinged { endpoint: endpoint.clone(), outcome, latency: started.elapsed() }
}

/// What the pings say: plugin, scheduler and the chain as the API server sees it.
#[must_use]
pub fn judge(plugin: Option<&Pinged>, api: Option<&Pinged>) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.push(match plugin {
        Some(pinged) => judge_one(Id::Plugin, "plugin", pinged, "look at interlink-plugin's log on the remote host"),
        None => Step::skipped(Id::Plugin, "plugin", "SidecarURL is not known"),
    });
    let told = plugin.into_iter().chain(api).flat_map(Pinged::hops);
    let schedulers = told.filter(|hop| !["api", "tunnel", "plugin", "remote"].contains(&hop.hop.as_str()));
    if let Some(hop) = schedulers.into_iter().next() {
        let seen = format!("{} answers the plugin", hop.hop);
        steps.push(of_hop(Id::Scheduler, &hop.hop, hop, seen, "see whether the scheduler answers on the login node"));
    }
    steps.push(match api {
        Some(pinged) => judge_chain(pinged),
        None => Step::skipped(Id::Ping, "api", "InterlinkAddress is not known"),
    });
    steps
}

/// An API server may be well while a hop behind it is not.
fn judge_chain(pinged: &Pinged) -> Step {
    let down = pinged.hops().iter().find(|hop| hop.state == interlink_wire::HopStatus::Down);
    match down {
        Some(hop) => {
            let remedy = if hop.remedy.is_empty() { "look at interlink's log" } else { &hop.remedy };
            Step::failed(Id::Ping, "api", format!("interlink sees {} down: {}", hop.hop, hop.cause), remedy)
                .took(Some(pinged.latency))
        }
        None => judge_one(Id::Ping, "api", pinged, "look at interlink's log"),
    }
}

fn judge_one(id: Id, asked: &str, pinged: &Pinged, otherwise: &str) -> Step {
    let step = match &pinged.outcome {
        Outcome::Well(_) => Step::good(id, asked, format!("answers at {}", pinged.endpoint)),
        Outcome::Refused(fault) => {
            let (cause, remedy) = fault.sentence.split_once("; ").unwrap_or((&fault.sentence, otherwise));
            let cause = match fault.hop == asked {
                true => format!("its ping is answered with an error: {cause}"),
                false => cause.to_owned(),
            };
            Step::failed(id, &fault.hop, cause, remedy)
        }
        Outcome::Silent { hop, cause, remedy } => {
            let remedy = if remedy.is_empty() { otherwise } else { remedy };
            Step::failed(id, hop, cause, remedy)
        }
    };
    step.took(Some(pinged.latency))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinged(outcome: Outcome) -> Pinged {
        Pinged { endpoint: Endpoint::parse("unix:///s", "").unwrap(), outcome, latency: Duration::from_millis(3) }
    }

    fn hop(text: &str) -> HopState {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_scheduler_is_judged_by_the_plugins_word() {
        let up = pinged(Outcome::Well(vec![hop(r#"{"hop":"slurm","state":"up"}"#)]));
        let down = pinged(Outcome::Well(vec![hop(r#"{"hop":"slurm","state":"down","cause":"slurmctld is silent"}"#)]));
        let via_api = pinged(Outcome::Well(vec![
            hop(r#"{"hop":"tunnel","state":"up"}"#),
            hop(r#"{"hop":"plugin","state":"up"}"#),
            hop(r#"{"hop":"slurm","state":"down","cause":"slurmctld is silent"}"#),
        ]));
        let ids = |steps: &[Step]| steps.iter().map(|step| (step.id, step.fault().is_some())).collect::<Vec<_>>();
        assert_eq!(ids(&judge(Some(&up), Some(&up))), [(Id::Plugin, false), (Id::Scheduler, false), (Id::Ping, false)]);
        let steps = judge(Some(&down), Some(&via_api));
        assert_eq!(ids(&steps), [(Id::Plugin, false), (Id::Scheduler, true), (Id::Ping, true)]);
        assert_eq!(steps[1].hop, "slurm");
        assert!(steps[1].fault().unwrap().remedy.contains("scheduler answers"), "{steps:?}");
        assert_eq!(judge(None, Some(&via_api))[1].fault().unwrap().cause, "slurmctld is silent");
        let foreign = pinged(Outcome::Well(vec![]));
        assert_eq!(ids(&judge(Some(&foreign), None)), [(Id::Plugin, false), (Id::Ping, false)]);
    }

    #[test]
    fn an_error_is_put_down_to_the_hop_that_it_names() {
        let refused =
            pinged(Outcome::Refused(WireFault::passing("tunnel", "tunnel-down", "the tunnel is down: x; do y")));
        let step = &judge(None, Some(&refused))[1];
        assert_eq!(step.hop, "tunnel");
        assert_eq!(step.fault().unwrap().cause, "the tunnel is down: x");
        assert_eq!(step.fault().unwrap().remedy, "do y");
        let own = pinged(Outcome::Refused(WireFault::passing("plugin", "http-500", "boom")));
        let step = &judge(Some(&own), None)[0];
        assert_eq!(step.fault().unwrap().cause, "its ping is answered with an error: boom");
        assert!(step.fault().unwrap().remedy.contains("log"));
    }

    #[tokio::test]
    async fn an_error_answer_and_a_page_are_no_answers_and_silence_ends() {
        use axum::http::StatusCode;
        use axum::routing::any;
        let limit = Duration::from_millis(300);
        let router = axum::Router::new()
            .route("/pinglink", any(async || (StatusCode::INTERNAL_SERVER_ERROR, "boom")))
            .route("/status", any(async || "<html>please log in</html>"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = |address: std::net::SocketAddr| Endpoint::parse(&format!("http://{address}"), "").unwrap();
        let endpoint = at(listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let refused = api(&endpoint, Duration::from_secs(20)).await;
        let steps = judge(Some(&plugin(&endpoint, true, Duration::from_secs(20)).await), Some(&refused));
        for (step, cause) in
            [(&steps[0], "its ping is answered with an error"), (&steps[1], "its ping is answered with an error: boom")]
        {
            assert!(step.fault().is_some_and(|fault| fault.cause.contains(cause)), "{step:?}");
        }
        server.abort();
        // Whoever takes the connection and says nothing.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pinged = api(&at(silent.local_addr().unwrap()), limit).await;
        assert!(matches!(pinged.outcome, Outcome::Silent { .. }), "{pinged:?}");
    }
}
