//! Which hop a failed call points to, why, and what to do. No I/O.

use http::StatusCode;
use interlink_transport::{CallError, Endpoint};
use interlink_wire::Fault;

use crate::HOP;
use crate::answer::Refusal;

/// A call that got no answer, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Where it is: `tunnel`, `plugin`, or `api` for our own configuration.
    pub hop: String,
    /// One word for programs.
    pub code: &'static str,
    /// What our own answer has for a status.
    pub status: StatusCode,
    /// What is wrong, without an end stop.
    pub cause: String,
    /// What to do, without an end stop.
    pub remedy: String,
}

impl Trouble {
    /// One sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        if self.remedy.is_empty() { self.cause.clone() } else { format!("{}; {}", self.cause, self.remedy) }
    }

    /// The answer that says so; trying again may help.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        Refusal { status: self.status, fault: Fault::passing(&self.hop, self.code, self.sentence()) }
    }

    /// The answer to a create that may have arrived all the same: it must not be sent again, and a status tells.
    #[must_use]
    pub fn submission_unknown(&self, pod: &str) -> Refusal {
        let sentence = format!(
            "submission unknown: the create of pod {pod} was sent, but its answer got lost ({}); it is not sent again, because the plugin might run the pod twice; the pod is adopted when the plugin's status knows it",
            self.cause
        );
        Refusal { status: self.status, fault: Fault::lasting(&self.hop, SUBMISSION_UNKNOWN, sentence) }
    }
}

/// The code of a create whose fate is not known.
pub const SUBMISSION_UNKNOWN: &str = "submission-unknown";

/// Explains why `endpoint` (the value of `SidecarURL`) gave no answer. `resolves` says whether its host name does.
#[must_use]
pub fn explain(endpoint: &Endpoint, error: &CallError, resolves: bool) -> Trouble {
    let trouble = |hop: &str, code, status, cause: String, remedy: &str| Trouble {
        hop: hop.into(),
        code,
        status,
        cause,
        remedy: remedy.into(),
    };
    match (error, endpoint) {
        (CallError::Unreachable { kind, why, .. }, Endpoint::Unix(path)) => {
            let path = path.display();
            let (cause, remedy) = match kind {
                Some(std::io::ErrorKind::NotFound) => (
                    format!("the tunnel's socket {path} (SidecarURL) is not there"),
                    "start ssh-tunnel with -lsock on that path (or the plugin, if it listens there itself), or correct SidecarURL",
                ),
                Some(std::io::ErrorKind::ConnectionRefused) => (
                    format!("the tunnel's socket {path} (SidecarURL) refuses: whoever made it is gone"),
                    "start ssh-tunnel (or the plugin, if it listens there itself) again",
                ),
                Some(std::io::ErrorKind::PermissionDenied) => (
                    format!("the tunnel's socket {path} (SidecarURL) may not be used by this user"),
                    "run tunnel and API server as the same user",
                ),
                _ => (
                    format!("the tunnel's socket {path} (SidecarURL) can't be connected to: {why}"),
                    "look at ssh-tunnel's own log",
                ),
            };
            trouble("tunnel", "tunnel-down", StatusCode::SERVICE_UNAVAILABLE, cause, remedy)
        }
        (CallError::Unreachable { .. }, Endpoint::Tcp { host, .. }) if !resolves => trouble(
            HOP,
            "sidecar-unresolved",
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the host {host:?} of SidecarURL does not resolve, and an http:// SidecarURL bypasses the tunnel"),
            "for a plugin behind ssh-tunnel set SidecarURL to unix:// and the path of the tunnel's -lsock, such as \"unix:///run/interlink/plugin.sock\"",
        ),
        (CallError::Unreachable { why, .. }, Endpoint::Tcp { .. }) => trouble(
            "plugin",
            "plugin-unreachable",
            StatusCode::SERVICE_UNAVAILABLE,
            format!("nothing answers at {endpoint} (SidecarURL): {why}"),
            "start the plugin there, or correct SidecarURL and SidecarPort",
        ),
        (CallError::Broken { .. }, Endpoint::Unix(path)) => trouble(
            "plugin",
            "plugin-closed",
            StatusCode::BAD_GATEWAY,
            format!(
                "the connection through {} was closed without an answer: no plugin listens behind the tunnel, or it died over the request",
                path.display()
            ),
            "start interlink-plugin on the remote host, or correct the tunnel's -rport or -rsock",
        ),
        (CallError::Broken { why, .. }, Endpoint::Tcp { .. }) => trouble(
            "plugin",
            "plugin-closed",
            StatusCode::BAD_GATEWAY,
            format!("the plugin at {endpoint} closed the connection without an answer: {why}"),
            "look at the plugin's log",
        ),
        (CallError::TimedOut { after, .. }, _) => trouble(
            "plugin",
            "timeout",
            StatusCode::GATEWAY_TIMEOUT,
            format!("the plugin behind {endpoint} did not answer within {} s", after.as_secs().max(1)),
            "look at the plugin's log and its scheduler",
        ),
        (CallError::TooLarge { limit, .. }, _) => trouble(
            "plugin",
            "answer-too-large",
            StatusCode::BAD_GATEWAY,
            format!("the plugin behind {endpoint} answered with more than {limit} bytes"),
            "see whether an interLink plugin listens there, or correct SidecarURL or the tunnel's -rport or -rsock",
        ),
        (CallError::Invalid(why), _) => {
            trouble(HOP, "internal", StatusCode::INTERNAL_SERVER_ERROR, format!("the request can't be sent: {why}"), "")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use super::*;

    fn unreachable(kind: ErrorKind) -> CallError {
        CallError::Unreachable { endpoint: "e".into(), why: "the system's words".into(), kind: Some(kind) }
    }

    #[test]
    fn every_failure_names_hop_cause_and_remedy() {
        let socket = Endpoint::parse("unix:///run/p.sock", "").unwrap();
        let tcp = Endpoint::parse("http://remote-plugin", "4000").unwrap();
        let broken = || CallError::Broken { endpoint: "e".into(), why: "eof".into() };
        let late = CallError::TimedOut { endpoint: "e".into(), after: Duration::from_secs(10) };
        let cases = [
            (
                &socket,
                unreachable(ErrorKind::NotFound),
                true,
                "tunnel",
                503,
                "/run/p.sock (SidecarURL) is not there; start ssh-tunnel",
            ),
            (&socket, unreachable(ErrorKind::ConnectionRefused), true, "tunnel", 503, "refuses"),
            (&socket, unreachable(ErrorKind::PermissionDenied), true, "tunnel", 503, "same user"),
            (&socket, unreachable(ErrorKind::TimedOut), true, "tunnel", 503, "the system's words"),
            (&socket, broken(), true, "plugin", 502, "no plugin listens behind the tunnel"),
            (&tcp, unreachable(ErrorKind::Other), false, "api", 503, "bypasses the tunnel"),
            (&tcp, unreachable(ErrorKind::ConnectionRefused), true, "plugin", 503, "start the plugin there"),
            (&tcp, broken(), true, "plugin", 502, "closed the connection"),
            (&socket, late, true, "plugin", 504, "within 10 s"),
        ];
        for (endpoint, error, resolves, hop, status, part) in cases {
            let trouble = explain(endpoint, &error, resolves);
            let refusal = trouble.refusal();
            assert_eq!((trouble.hop.as_str(), refusal.status.as_u16()), (hop, status), "{error}");
            assert!(refusal.fault.sentence.contains(part), "{}", refusal.fault.sentence);
            assert!(refusal.fault.retry && !trouble.submission_unknown("n/p").fault.retry);
        }
    }
}
