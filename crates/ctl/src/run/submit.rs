//! Submits the pod, once: what may be repeated after a create without a good answer. The decision is pure.

use std::time::Duration;

use interlink_wire::{Fault, PodCreateRequests};
use tokio::sync::watch;

use super::api::{Api, CreateFault, Ping};
use super::screen::Screen;

/// How often a hop that is down is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// How a submission went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The pod is the plugin's now.
    Accepted,
    /// The pod may be the plugin's: nobody knows, and asking again could submit it twice.
    Unknown(Fault),
    /// It is not and won't be.
    Refused(Fault),
}

/// Whether there is something to delete when the submission is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has left us.
    NotSent,
    /// A create is under way; a delete must not overtake it.
    Creating,
    /// The plugin has, or may have, the pod.
    Sent,
}

/// What to do after a create without a good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Repeat,
    Wait,
    GiveUp,
}

/// A create is repeated if nothing was sent, or if the API promises that a second one returns the first one's answer.
fn next(fault: &CreateFault, idempotent: bool) -> Next {
    match fault {
        CreateFault { answered: true, fault, .. } if !fault.retry => Next::GiveUp,
        CreateFault { nothing_sent: true, .. } => Next::Repeat,
        _ if idempotent => Next::Repeat,
        CreateFault { answered: true, .. } => Next::GiveUp,
        _ => Next::Wait,
    }
}

/// Waits until the chain answers, then submits. `stage` changes before the first byte may leave.
pub async fn submit(
    api: &Api,
    request: &PodCreateRequests,
    screen: &Screen,
    stage: &watch::Sender<Stage>,
) -> Submitted {
    loop {
        let ping = reachable(api, screen).await;
        let before = stage.send_replace(Stage::Creating);
        let answer = api.create(request).await;
        let nothing_sent = answer.as_ref().is_err_and(|fault| fault.nothing_sent);
        stage.send_replace(if nothing_sent { before } else { Stage::Sent });
        let fault = match answer {
            Ok(_) => return Submitted::Accepted,
            Err(fault) => fault,
        };
        match next(&fault, ping.idempotent_create) {
            Next::Repeat => screen.down(&fault.fault, &ping.hops),
            Next::Wait => return Submitted::Unknown(fault.fault),
            Next::GiveUp => return Submitted::Refused(fault.fault),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits for a ping that goes through the chain. A plugin that answers pings with an error of its own is alive.
async fn reachable(api: &Api, screen: &Screen) -> Ping {
    loop {
        match api.ping().await {
            Ok(ping) => {
                screen.up();
                return ping;
            }
            Err(fault) if !is_outage(&fault) => return Ping::default(),
            Err(fault) => screen.down(&fault, &[]),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a ping's fault says that a hop is down. The existing API server says so by 500 with the body `503`; the
/// existing plugins answer pings with errors of many kinds although they work.
fn is_outage(fault: &Fault) -> bool {
    match fault.code.strip_prefix("http-") {
        Some("502" | "503" | "504") => true,
        Some("500") => fault.sentence == "503",
        Some(_) => false,
        None => fault.retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_is_repeated_only_where_it_cannot_submit_twice() {
        let fault = |answered, nothing_sent, retry| CreateFault {
            fault: Fault { hop: "api".into(), code: "x".into(), retry, sentence: String::new() },
            nothing_sent,
            answered,
        };
        let cases = [
            // answered, nothing sent, retry, idempotent
            ((false, true, true, false), Next::Repeat),
            ((false, true, true, true), Next::Repeat),
            ((false, false, true, false), Next::Wait),
            ((false, false, true, true), Next::Repeat),
            ((true, false, false, false), Next::GiveUp),
            ((true, false, false, true), Next::GiveUp),
            ((true, false, true, false), Next::GiveUp),
            ((true, false, true, true), Next::Repeat),
        ];
        for ((answered, nothing_sent, retry, idempotent), expected) in cases {
            assert_eq!(next(&fault(answered, nothing_sent, retry), idempotent), expected);
        }
    }

    #[test]
    fn an_error_of_the_plugin_is_not_an_outage() {
        let read = |status, header, body: &str| Fault::read("api", status, header, body.as_bytes());
        assert!(is_outage(&read(500, None, "503")));
        assert!(is_outage(&read(503, None, "")));
        assert!(is_outage(&read(503, Some("hop=tunnel;code=unreachable;retry=yes"), "no SSH connection")));
        assert!(!is_outage(&read(500, None, "call exit status: 500. Body: sinfo failed")));
        assert!(!is_outage(&read(404, None, "not found")));
        assert!(!is_outage(&read(400, Some("hop=plugin;code=bad;retry=no"), "no")));
    }
}
