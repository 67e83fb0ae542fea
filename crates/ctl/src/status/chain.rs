//! The hops of the chain: of the programs on this machine their own word, of those behind what a ping brings back.

use std::time::Duration;

use interlink_transport::Endpoint;
use interlink_wire::{HopState, HopStatus};
use jiff::Timestamp;

use crate::check::ping::{self, Outcome, Pinged};
use crate::check::programs::{Heard, Word};
use crate::check::words::Words;

/// How a hop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does its work.
    Up,
    /// It says that it doesn't.
    Down,
    /// It is not known yet.
    Starting,
    /// There is no such program here.
    Stopped,
    /// It doesn't answer.
    Silent,
}

impl State {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Starting => "starting",
            Self::Stopped => "stopped",
            Self::Silent => "silent",
        }
    }
}

/// One hop.
#[derive(Debug, Clone, PartialEq)]
pub struct Hop {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
    /// Since when.
    pub since: Option<Timestamp>,
    /// How long its answer took.
    pub latency: Option<Duration>,
    /// Its own word: what it is connected with, or what is wrong.
    pub words: String,
}

impl Hop {
    /// Whether nothing is wrong with it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.state == State::Up
    }
}

/// Pings through the API server.
pub async fn ping(api: &Endpoint, limit: Duration) -> Pinged {
    ping::api(api, limit).await
}

/// Puts together what was heard. Pure.
#[must_use]
pub fn hops(words: &Words, pinged: Option<&Pinged>) -> Vec<Hop> {
    let mut hops: Vec<Hop> = [&words.kubelet, &words.api, &words.tunnel].into_iter().map(own).collect();
    let behind: Vec<HopState> = match pinged.map(|pinged| &pinged.outcome) {
        Some(Outcome::Well(hops)) => hops.clone(),
        _ => Vec::new(),
    };
    let latency = pinged.filter(|pinged| pinged.is_well()).map(|pinged| pinged.latency);
    // Ours says all of the hops behind it; another API server's ping only that they answer.
    let far = behind.iter().filter(|hop| !["virtual-kubelet", "api", "tunnel"].contains(&hop.hop.as_str()));
    let mut far: Vec<Hop> = far.map(|hop| told(hop, latency)).collect();
    if !far.iter().any(|hop| hop.name == "plugin") {
        far.insert(0, plugin(words, pinged));
    }
    hops.extend(far);
    hops
}

/// A program's own word about itself.
fn own(heard: &Heard) -> Hop {
    let name = heard.program.hop().to_owned();
    let none = |state, words: String| Hop { name: name.clone(), state, since: None, latency: None, words };
    match &heard.word {
        Word::Said(state) => {
            let own = state.hops.first();
            let state_of = own.map_or(State::Up, |own| of_status(own.state));
            let more = ["chain", "server", "listen", "api"].into_iter().find_map(|key| heard.detail(key));
            let words = match own.filter(|own| !own.cause.is_empty()) {
                Some(own) => sentence(own),
                None => more.unwrap_or_default().to_owned(),
            };
            Hop {
                name: name.clone(),
                state: state_of,
                since: own.and_then(|own| own.since).or(Some(state.started_at)),
                latency: Some(heard.latency),
                words,
            }
        }
        Word::Missing | Word::Left => none(
            State::Stopped,
            match heard.processes.first() {
                None => format!("{} is not running", heard.program.name()),
                Some(pid) => format!(
                    "{} is not running with this runtime directory, though process {pid} has that name",
                    heard.program.name()
                ),
            },
        ),
        Word::Denied(_) => none(State::Silent, "only its own user and root may ask it".to_owned()),
        Word::Unclear(why) => none(State::Silent, why.clone()),
    }
}

/// The plugin, where the ping says nothing of it by name.
fn plugin(words: &Words, pinged: Option<&Pinged>) -> Hop {
    if words.plugin.state().is_some() {
        return own(&words.plugin);
    }
    let (state, words) = match pinged.map(|pinged| &pinged.outcome) {
        Some(Outcome::Well(hops)) => match hops.iter().find(|hop| hop.state == HopStatus::Down) {
            // What is behind a broken hop can't be known.
            Some(down) => (State::Silent, format!("{} is down", down.hop)),
            None => (State::Up, "answers through the chain".to_owned()),
        },
        Some(Outcome::Refused(fault)) => (State::Silent, fault.to_string()),
        Some(Outcome::Silent { cause, .. }) => (State::Silent, cause.clone()),
        None => (State::Silent, "nobody was asked".to_owned()),
    };
    let latency = pinged.filter(|_| state == State::Up).map(|pinged| pinged.latency);
    Hop { name: "plugin".to_owned(), state, since: None, latency, words }
}

fn told(hop: &HopState, latency: Option<Duration>) -> Hop {
    let state = of_status(hop.state);
    let latency = latency.filter(|_| state == State::Up);
    Hop { name: hop.hop.clone(), state, since: hop.since, latency, words: sentence(hop) }
}

fn of_status(status: HopStatus) -> State {
    match status {
        HopStatus::Up => State::Up,
        HopStatus::Down => State::Down,
        HopStatus::Starting => State::Starting,
    }
}

fn sentence(hop: &HopState) -> String {
    match (hop.cause.as_str(), hop.remedy.as_str()) {
        (cause, "") => cause.to_owned(),
        (cause, remedy) => format!("{cause}; {remedy}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::programs::Program;
    use interlink_wire::Fault;

    fn heard(program: Program, word: Word) -> Heard {
        Heard { program, word, socket: "/r/x.state".into(), latency: Duration::from_millis(1), processes: Vec::new() }
    }

    fn said(program: Program, hops: &str, details: &str) -> Heard {
        let text = format!(
            r#"{{"program":"p","version":"1","pid":7,"startedAt":"2026-01-01T00:00:00Z","hops":{hops},"details":{details}}}"#
        );
        heard(program, Word::Said(Box::new(serde_json::from_str(&text).unwrap())))
    }

    fn words(tunnel: Heard) -> Words {
        let up = |hop: &str| format!(r#"[{{"hop":"{hop}","state":"up","since":"2026-01-02T00:00:00Z"}}]"#);
        Words {
            kubelet: said(Program::Kubelet, &up("virtual-kubelet"), r#"{"chain":"every hop answers"}"#),
            api: said(Program::Api, &up("api"), r#"{"listen":"unix:///r/api.sock"}"#),
            tunnel,
            plugin: heard(Program::Plugin, Word::Missing),
        }
    }

    fn pinged(outcome: Outcome) -> Pinged {
        Pinged { endpoint: Endpoint::parse("unix:///s", "").unwrap(), outcome, latency: Duration::from_millis(9) }
    }

    fn seen(hops: &[Hop]) -> Vec<String> {
        hops.iter().map(|hop| format!("{} {}: {}", hop.name, hop.state.word(), hop.words)).collect()
    }

    #[test]
    fn each_hop_has_its_own_word() {
        let tunnel = said(Program::Tunnel, r#"[{"hop":"tunnel","state":"up"}]"#, r#"{"server":"login:22"}"#);
        let words = words(tunnel);
        assert_eq!(words.api_endpoint().unwrap().to_string(), "unix:///r/api.sock");
        let behind = r#"[{"hop":"tunnel","state":"up"},{"hop":"plugin","state":"up"},{"hop":"slurm","state":"down","cause":"slurmctld is silent","remedy":"start it"}]"#;
        let well = pinged(Outcome::Well(serde_json::from_str(behind).unwrap()));
        let hops = hops(&words, Some(&well));
        assert_eq!(
            seen(&hops),
            [
                "virtual-kubelet up: every hop answers",
                "api up: unix:///r/api.sock",
                "tunnel up: login:22",
                "plugin up: ",
                "slurm down: slurmctld is silent; start it",
            ]
        );
        assert_eq!(hops[3].latency, Some(Duration::from_millis(9)));
        assert_eq!(hops[0].since.unwrap().to_string(), "2026-01-02T00:00:00Z");
    }

    #[test]
    fn what_is_stopped_or_silent_is_told_apart_and_hides_what_is_behind() {
        let silent = Outcome::Silent { hop: "api".into(), cause: "no answer within 2 s".into(), remedy: String::new() };
        let hops_of = |tunnel, outcome| seen(&hops(&words(tunnel), Some(&pinged(outcome))));
        let stopped = heard(Program::Tunnel, Word::Missing);
        let refused = Outcome::Refused(Fault::passing("tunnel", "down", "the tunnel is down"));
        let seen = hops_of(stopped, refused);
        assert_eq!(seen[2], "tunnel stopped: ssh-tunnel is not running");
        assert!(seen[3].starts_with("plugin silent: ") && seen[3].contains("the tunnel is down"), "{seen:?}");
        let seen = hops_of(heard(Program::Tunnel, Word::Unclear("it did not answer within 2 s".into())), silent);
        assert_eq!(seen[2..], ["tunnel silent: it did not answer within 2 s", "plugin silent: no answer within 2 s"]);
    }
}
