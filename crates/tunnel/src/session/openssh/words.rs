//! What `ssh` says on stderr, understood. Pure: lines in, events and a fault out.
//!
//! Its texts have been the same for many releases; what is not recognised is passed on as it stands.

use crate::backoff::Pace;
use crate::config::{Forward, Settings};
use crate::session::fault::Fault;
use crate::session::live::{ListenError, OpenError};
use crate::session::step::Step;

/// Lines kept for an error; longer talk is a banner.
const KEPT: usize = 48;
/// Characters kept of a line.
const WIDTH: usize = 400;

/// Beginnings of lines that explain nothing.
const NOISE: [&str; 4] = ["debug", "@@", "Transferred: ", "Bytes per second: "];

/// What `ssh` says, and goes on, when a new host can't be recorded.
const UNRECORDED: &str = "Failed to add the host to the list of known hosts";

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A TCP connection stands.
    Connected,
    /// The server let us in; its address, unless it is behind another.
    Authenticated(Option<String>),
    /// The key counted, but more is asked for.
    Partly,
    /// All local listeners stand.
    Entered,
    /// Whether the server listens for us.
    Listens(bool),
    /// A connection was taken from our side and got this number.
    Taken(u32),
    /// The far end of that connection stands.
    Opened(u32),
    /// It does not, for this reason.
    Refused(u32, OpenError),
}

/// What a line means.
pub(super) fn event(line: &str) -> Option<Event> {
    let body = without_level(line);
    if let Some(rest) = body.strip_prefix("Authenticated to ") {
        let peer = rest.split_once("([").and_then(|(_, rest)| rest.split_once("])").or_else(|| rest.split_once(')')));
        let peer = peer.map(|(peer, _)| peer.replace("]:", ":")).filter(|_| !rest.contains("(via proxy)"));
        return Some(Event::Authenticated(peer));
    }
    match body {
        "Connection established." => return Some(Event::Connected),
        "Entering interactive session." => return Some(Event::Entered),
        _ => {}
    }
    if body.starts_with("Authenticated using ") && body.contains("partial success") {
        return Some(Event::Partly);
    }
    if body.starts_with("remote forward success for") {
        return Some(Event::Listens(true));
    }
    if body.starts_with("remote forward failure for") {
        return Some(Event::Listens(false));
    }
    let (number, what) = body.strip_prefix("channel ")?.split_once(": ")?;
    let number = number.parse().ok()?;
    if let Some(kind) = what.strip_prefix("new ") {
        return kind.trim_start_matches('[').starts_with("direct-").then_some(Event::Taken(number));
    }
    if what.starts_with("open confirm") {
        return Some(Event::Opened(number));
    }
    let reason = what.strip_prefix("open failed: ")?;
    Some(Event::Refused(number, refusal(reason)))
}

/// The reasons of RFC 4254, as `ssh` spells them.
fn refusal(reason: &str) -> OpenError {
    if reason.starts_with("administratively prohibited") {
        OpenError::Forbidden
    } else if reason.starts_with("connect failed") {
        OpenError::Refused
    } else {
        OpenError::Server(reason.to_owned())
    }
}

fn without_level(line: &str) -> &str {
    ["debug1: ", "debug2: ", "debug3: "].iter().find_map(|level| line.strip_prefix(level)).unwrap_or(line).trim_end()
}

/// The lines that may explain an end.
#[derive(Debug, Default)]
pub(super) struct Said {
    lines: Vec<String>,
    connected: bool,
    authenticated: bool,
    partly: bool,
    unrecorded: bool,
}

impl Said {
    /// Takes note of a line, and says what it means.
    pub(super) fn hear(&mut self, line: &str) -> Option<Event> {
        let event = event(line);
        match &event {
            Some(Event::Connected) => self.connected = true,
            Some(Event::Authenticated(_)) => {
                self.authenticated = true;
                // A banner, or the trouble with a key that another made up for.
                self.lines.clear();
            }
            Some(Event::Partly) => self.partly = true,
            Some(_) => {}
            None => {
                let line = line.trim();
                self.unrecorded |= line.contains(UNRECORDED);
                if !line.is_empty() && !NOISE.iter().any(|noise| line.starts_with(noise)) {
                    if self.lines.len() == KEPT {
                        self.lines.remove(0);
                    }
                    self.lines.push(line.chars().filter(|c| !c.is_control()).take(WIDTH).collect());
                }
            }
        }
        event
    }

    /// Whether the server let us in.
    pub(super) fn authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether the server is new and could not be put on record: then the next change of its key would go unnoticed.
    pub(super) fn unrecorded(&self) -> bool {
        self.unrecorded
    }

    /// How far it came.
    pub(super) fn step(&self) -> Step {
        match (self.authenticated, self.connected) {
            (true, _) => Step::Forwarding,
            (false, true) => Step::Login,
            (false, false) => Step::Tcp,
        }
    }

    /// The last words, for the end of a session that was up.
    pub(super) fn last(&self) -> String {
        match self.lines.last() {
            Some(line) => format!("ssh says: {line}"),
            None => "ssh ended".to_owned(),
        }
    }

    /// All words, for what a command at the server said.
    pub(super) fn all(&self) -> String {
        self.lines.join(" ")
    }

    /// Why `ssh` ended before it carried anything.
    pub(super) fn fault(&self, settings: &Settings, forward: &Forward) -> Fault {
        let found = self.lines.iter().find_map(|line| self.known(line, settings, forward));
        found.unwrap_or_else(|| {
            let said =
                self.lines.last().map_or_else(|| "it says nothing".to_owned(), |line| format!("it says: {line}"));
            fault(
                self.step(),
                Pace::Eager,
                format!("ssh ended without a connection to {} ({said})", settings.server.host),
                "run it by hand to see more: ssh -v, with the same -F",
            )
        })
    }

    fn has(&self, needle: &str) -> Option<&String> {
        self.lines.iter().find(|line| line.contains(needle))
    }

    fn known(&self, line: &str, settings: &Settings, forward: &Forward) -> Option<Fault> {
        let server = &settings.server;
        let says = |what: &str| format!("{what} (ssh: {})", line.trim_start_matches("ssh: "));
        let known = if line.contains("Could not resolve hostname") {
            fault(
                Step::Name,
                Pace::Eager,
                says("a name on the way can't be resolved"),
                "check -addr, HostName in ssh_config, and the DNS of this machine",
            )
        } else if line.contains("connect to host ") || line.contains("connect to address ") {
            let remedy = match line.contains("Connection refused") {
                true => "sshd is not running there, or listens on another port",
                false => "check the network and the firewalls on the way to it",
            };
            fault(Step::Tcp, Pace::Eager, says("no TCP connection"), remedy)
        } else if line.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") || line.contains("HOST KEY FOR") {
            let offered = self.has("SHA256:").map_or("", |line| line.trim_end_matches('.'));
            let offending = self.has("Offending").map_or("", String::as_str);
            fault(
                Step::HostKey,
                Pace::Patient,
                format!(
                    "the host key of {} is not the one on record: the server has {offered}; {offending}",
                    server.host
                ),
                "ask the site whether it has a new key; if so, replace the one on record; if not, somebody may be listening in",
            )
        } else if line.contains("REVOKED HOST KEY") || line.contains("is marked as revoked") {
            fault(
                Step::HostKey,
                Pace::Patient,
                says(&format!("the host key of {} is marked @revoked", server.host)),
                "ask the site for its new key",
            )
        } else if line.contains("host key is known for") {
            fault(
                Step::HostKey,
                Pace::Patient,
                says("the host is not on record, and unknown ones are not accepted"),
                "put its key on record: ssh-keyscan prints it; compare the fingerprint with the site's",
            )
        } else if line.contains(UNRECORDED) {
            fault(
                Step::HostKey,
                Pace::Patient,
                says(&format!("{} is not known and its key can't be recorded", server.host)),
                "make that file writable, or give the key with -hostkeyfile (ssh-keyscan prints it)",
            )
        } else if line.contains("Host key verification failed") {
            fault(
                Step::HostKey,
                Pace::Patient,
                says(&format!("the host key of {} is not acceptable", server.host)),
                "compare the server's keys (ssh-keyscan) with the site's announcement and put them on record",
            )
        } else if line.contains("Unable to negotiate with") {
            let step = if line.contains("host key type") { Step::HostKey } else { Step::Handshake };
            fault(step, Pace::Patient, says("no algorithm in common"), "ssh_config and the server allow too little")
        } else if line.contains("Permission denied (") || line.contains("Too many authentication failures") {
            return Some(self.login(line, settings));
        } else if !self.authenticated
            && (line.contains("administratively prohibited") || line.contains("stdio forwarding failed"))
        {
            fault(
                Step::Tcp,
                Pace::Patient,
                says(&format!("a jump host forbids forwarding to {}", server.host)),
                "in its sshd_config, AllowTcpForwarding must be yes or local and PermitOpen must have the server's host and port; in \
                 authorized_keys there, the key must not be no-port-forwarding, and its permitopen must have them",
            )
        } else if line.contains("exchange_identification") || line.contains("banner exchange") {
            fault(
                Step::Greeting,
                Pace::Eager,
                says("the connection ended before the server said that it speaks SSH"),
                "its log says why; often it is overloaded (MaxStartups) or bans this address for a while (fail2ban, PerSourcePenalties)",
            )
        } else if ["Bad configuration option", "terminating, ", "Bad owner or permissions", "Can't open user config"]
            .iter()
            .any(|needle| line.contains(needle))
        {
            fault(
                Step::Name,
                Pace::Patient,
                says("ssh can't use its configuration"),
                "mend ssh_config, or the file of -F",
            )
        } else if line.contains("remote port forwarding failed") {
            return Some(Fault::no_listener(server, &forward.remote, &ListenError::Unclear));
        } else if line.contains("cannot bind to path") || line.contains("Could not request local forwarding") {
            fault(
                Step::Forwarding,
                Pace::Eager,
                says("ssh can't listen on its private socket on this machine"),
                "check the room and the rights in the runtime directory",
            )
        } else {
            return None;
        };
        Some(known)
    }

    fn login(&self, line: &str, settings: &Settings) -> Fault {
        let server = &settings.server;
        if self.partly {
            return fault(
                Step::Login,
                Pace::Patient,
                format!("{} accepted the key but wants a second factor (ssh: {line})", server.host),
                "ask the site for an account or an address range that logs in by key alone, or for Kerberos",
            );
        }
        let trouble: Vec<&str> = self
            .lines
            .iter()
            .filter(|line| {
                line.starts_with("Load key") || line.contains("are too open") || line.contains("no such identity")
            })
            .map(String::as_str)
            .collect();
        let trouble = if trouble.is_empty() { String::new() } else { format!("; {}", trouble.join("; ")) };
        fault(
            Step::Login,
            Pace::Patient,
            format!("{} refused to let us in (ssh: {line}{trouble})", server.host),
            "add the public key to authorized_keys on that server, or see with ssh -v, and the same -F, what it accepts",
        )
    }
}

fn fault(step: Step, pace: Pace, cause: String, remedy: &str) -> Fault {
    Fault { step, cause, remedy: remedy.to_owned(), pace, jump: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_openssh_are_events() {
        for (line, expected) in [
            (
                r#"Authenticated to 127.0.0.1 ([127.0.0.1]:40122) using "publickey"."#,
                Some(Event::Authenticated(Some("127.0.0.1:40122".into()))),
            ),
            (r#"Authenticated to login (via proxy) using "publickey"."#, Some(Event::Authenticated(None))),
            (r#"debug1: Authenticated using "publickey" with partial success."#, Some(Event::Partly)),
            ("debug1: Connection established.", Some(Event::Connected)),
            ("debug1: Entering interactive session.", Some(Event::Entered)),
            (
                "debug1: remote forward success for: listen 127.0.0.1:40130, connect /r.sock:-2",
                Some(Event::Listens(true)),
            ),
            (
                "debug1: remote forward failure for: listen 127.0.0.1:40123, connect /r.sock:-2",
                Some(Event::Listens(false)),
            ),
            ("debug1: channel 4: new direct-tcpip [direct-tcpip] (inactive timeout: 0)", Some(Event::Taken(4))),
            // As releases before 9.2 have it.
            ("debug1: channel 4: new [direct-tcpip]", Some(Event::Taken(4))),
            (
                "debug1: channel 4: new direct-streamlocal@openssh.com [direct-streamlocal@openssh.com] (inactive timeout: 0)",
                Some(Event::Taken(4)),
            ),
            ("debug1: channel 0: new unix-listener [unix listener] (inactive timeout: 0)", None),
            ("debug2: channel 4: open confirm rwindow 2097152 rmax 32768", Some(Event::Opened(4))),
            ("channel 4: open failed: connect failed: Connection refused", Some(Event::Refused(4, OpenError::Refused))),
            (
                "channel 5: open failed: administratively prohibited: open failed\r",
                Some(Event::Refused(5, OpenError::Forbidden)),
            ),
            (
                "channel 5: open failed: resource shortage: x",
                Some(Event::Refused(5, OpenError::Server("resource shortage: x".into()))),
            ),
            ("debug2: channel 4: window 1998848 sent adjust 98304", None),
            ("channel x: open failed: connect failed", None),
            ("", None),
        ] {
            assert_eq!(event(line), expected, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(lines in proptest::collection::vec("\\PC*", 0..9)) {
            let mut said = Said::default();
            for line in &lines {
                let _ = said.hear(line);
            }
            let _ = (said.last(), said.all(), said.step());
        }
    }

    fn settings() -> Settings {
        let args = ["ssh-tunnel", "-engine=openssh", "-addr=login", "-lsock=/run/t.sock", "-rport=4000"];
        let flags = interlink_daemon::flags::try_parse::<crate::config::flags::Flags>(args.iter().map(Into::into));
        let env = crate::config::flags::Environment { home: Some("/home/me".into()), ..Default::default() };
        flags.unwrap().settings(&env, Vec::new()).unwrap()
    }

    /// As OpenSSH 9.2 prints them.
    #[test]
    fn what_ssh_says_at_its_end_is_a_fault_with_step_cause_and_remedy() {
        let settings = settings();
        for (text, step, words, pace) in [
            (
                "ssh: Could not resolve hostname login: Name or service not known",
                Step::Name,
                "Name or service",
                Pace::Eager,
            ),
            ("ssh: connect to host login port 22: Connection refused", Step::Tcp, "no TCP connection", Pace::Eager),
            ("ssh: connect to host login port 22: No route to host", Step::Tcp, "No route", Pace::Eager),
            (
                "kex_exchange_identification: Connection closed by remote host\nConnection closed by 192.0.2.1 port 22",
                Step::Greeting,
                "before the server said",
                Pace::Eager,
            ),
            (
                "@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@\nThe fingerprint for the ED25519 key sent by the remote host is\nSHA256:abc.\nOffending RSA key in /kh:3\nHost key verification failed.",
                Step::HostKey,
                "the server has SHA256:abc; Offending RSA key in /kh:3",
                Pace::Patient,
            ),
            (
                "@       WARNING: REVOKED HOST KEY DETECTED!               @\nHost key verification failed.",
                Step::HostKey,
                "@revoked",
                Pace::Patient,
            ),
            (
                "No ED25519 host key is known for login and you have requested strict checking.\nHost key verification failed.",
                Step::HostKey,
                "not on record",
                Pace::Patient,
            ),
            (
                "Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. Their offer: ssh-rsa",
                Step::HostKey,
                "Their offer: ssh-rsa",
                Pace::Patient,
            ),
            (
                "Unable to negotiate with 192.0.2.1 port 22: no matching cipher found. Their offer: aes128-cbc",
                Step::Handshake,
                "no algorithm",
                Pace::Patient,
            ),
            (
                "Load key \"/k\": bad permissions\nme@login: Permission denied (publickey).",
                Step::Login,
                "Load key",
                Pace::Patient,
            ),
            (
                "debug1: Authenticated using \"publickey\" with partial success.\nme@login: Permission denied (keyboard-interactive).",
                Step::Login,
                "second factor",
                Pace::Patient,
            ),
            (
                "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed",
                Step::Tcp,
                "jump host forbids",
                Pace::Patient,
            ),
            (
                "/c: line 3: Bad configuration option: colour\n/c: terminating, 1 bad configuration options",
                Step::Name,
                "colour",
                Pace::Patient,
            ),
            (
                "Error: remote port forwarding failed for listen port 4000",
                Step::Forwarding,
                "does not listen",
                Pace::Eager,
            ),
            ("something new", Step::Tcp, "it says: something new", Pace::Eager),
            ("", Step::Tcp, "it says nothing", Pace::Eager),
        ] {
            let mut said = Said::default();
            for line in text.lines() {
                said.hear(line);
            }
            let fault = said.fault(&settings, &settings.forwards[0]);
            assert_eq!((fault.step, fault.pace), (step, pace), "{text}: {fault:?}");
            assert!(fault.cause.contains(words), "{text}: {fault:?}");
            assert!(!fault.remedy.is_empty() && !fault.cause.contains('\n'), "{text}: {fault:?}");
        }
    }
}
