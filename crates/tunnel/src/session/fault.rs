//! What can keep a connection from coming up or end it, in the words of the person who must deal with it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use interlink_transport::mux;
use russh::{AlgorithmKind, MethodSet};

use crate::backoff::Pace;
use crate::config::{Direction, Forward, Hop, Remote, Server, Settings};
use crate::hostkeys::verify::Refusal;
use crate::identity::pen::AgentError;
use crate::identity::{Identity, Secret};
use crate::session::live::ListenError;
use crate::session::step::Step;

/// A reason for the tunnel to be down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How far it came.
    pub step: Step,
    /// What happened.
    pub cause: String,
    /// What can be done about it.
    pub remedy: String,
    /// How soon it is worth another attempt.
    pub pace: Pace,
    /// Which of the jump hosts it is about, counted from 0; the server, or what is beyond, if `None`.
    pub jump: Option<usize>,
}

/// What the command did instead of greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// It ended.
    Ended {
        /// Its exit status; none when a signal or the session ended it.
        status: Option<u32>,
        /// What it had printed.
        said: String,
    },
    /// It prints and prints.
    Talks(String),
    /// It says nothing of use for too long.
    Waits,
    /// It is of another version.
    Version(String),
    /// The server does not start it.
    Refused,
}

/// Everything in the server's configuration that decides about forwards to Unix sockets.
const SOCKET_OPTIONS: &str = "in the server's sshd_config, AllowStreamLocalForwarding must be yes or local, \
    AllowTcpForwarding not no, DisableForwarding no and PermitOpen unset (sshd -T -C user=… shows the effective values); in \
    authorized_keys, the key must have no permitopen and not be no-port-forwarding, or restrict without port-forwarding";

impl Fault {
    fn eager(step: Step, cause: String, remedy: impl Into<String>) -> Self {
        Self { step, cause, remedy: remedy.into(), pace: Pace::Eager, jump: None }
    }

    fn patient(step: Step, cause: String, remedy: impl Into<String>) -> Self {
        Self { step, cause, remedy: remedy.into(), pace: Pace::Patient, jump: None }
    }

    /// The server's name leads nowhere.
    #[must_use]
    pub fn resolve(server: &Server, err: &io::Error) -> Self {
        Self::eager(
            Step::Name,
            format!("the name {} can't be resolved ({err})", server.host),
            "check the spelling of -addr and the DNS of this machine",
        )
    }

    /// No address of the server could be connected to.
    #[must_use]
    pub fn tcp(server: &Server, addr: Option<SocketAddr>, err: &io::Error) -> Self {
        let at = match addr {
            Some(addr) if addr.ip().to_string() != server.host => format!("{server} ({})", addr.ip()),
            _ => server.to_string(),
        };
        let remedy = match err.kind() {
            io::ErrorKind::ConnectionRefused => "sshd is not running there, or listens on another port",
            _ => "check the network and the firewalls on the way to it",
        };
        Self::eager(Step::Tcp, format!("{at} can't be connected to ({err})"), remedy)
    }

    /// A step took too long.
    #[must_use]
    pub fn timeout(server: &Server, step: Step, after: Duration) -> Self {
        Self::eager(
            step,
            format!("{} with {server} took longer than {after:?}", step.doing()),
            "check the network and the load of the server; -connect-timeout gives it more time",
        )
    }

    /// The server accepted the connection and said nothing that begins an SSH session.
    #[must_use]
    pub fn no_banner(server: &Server, err: &io::Error) -> Self {
        Self::eager(
            Step::Greeting,
            format!("{server} accepts connections but ends them before it says that it speaks SSH ({err})"),
            "its log says why; often it is overloaded (MaxStartups) or bans this address for a while (fail2ban, PerSourcePenalties)",
        )
    }

    /// The handshake failed.
    #[must_use]
    pub fn handshake(server: &Server, err: &russh::Error) -> Self {
        match err {
            russh::Error::Version => Self::eager(
                Step::Greeting,
                format!("{server} does not speak SSH"),
                "check the port of -addr: it must be that of sshd",
            ),
            russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, ours, theirs } => Self::patient(
                Step::HostKey,
                format!(
                    "the keys on record for {server} are of the types {}, the server has {}",
                    ours.join(", "),
                    theirs.join(", ")
                ),
                "compare the server's keys (ssh-keyscan) with the site's announcement and put them on record",
            ),
            russh::Error::NoCommonAlgo { kind, ours, theirs } => Self::patient(
                Step::Handshake,
                format!(
                    "{server} and this program have no {kind:?} algorithm in common (ours: {}; the server's: {})",
                    ours.join(", "),
                    theirs.join(", ")
                ),
                "the server's software is too old, or its configuration allows too little",
            ),
            russh::Error::WrongServerSig => Self::patient(
                Step::HostKey,
                format!("{server} could not prove that it holds its host key"),
                "somebody may be listening in: ask the site",
            ),
            err => Self::eager(
                Step::Handshake,
                format!("{server} ended the handshake ({err})"),
                "its log says why; often it is overloaded (MaxStartups) or bans this address for a while",
            ),
        }
    }

    /// The server's host key is not acceptable.
    #[must_use]
    pub fn host_key(refusal: &Refusal) -> Self {
        Self::patient(Step::HostKey, refusal.cause(), refusal.remedy())
    }

    /// The same at a jump host, the `position`-th.
    #[must_use]
    pub fn at_jump(self, position: usize, server: &Server) -> Self {
        Self {
            cause: format!("at the jump host {server}: {}", self.cause),
            remedy: self.remedy.replace("-addr", "-proxyjump"),
            jump: Some(position),
            ..self
        }
    }

    /// A jump host does not let us through.
    #[must_use]
    pub fn jump_forbidden(jump: &Server, next: &Server) -> Self {
        Self::patient(
            Step::Tcp,
            format!("the jump host {jump} forbids forwarding to {next}"),
            format!(
                "in its sshd_config, AllowTcpForwarding must be yes or local, DisableForwarding no, and PermitOpen must have {next} \
                 (sshd -T -C user=… shows the effective values); in authorized_keys there, the key must not be no-port-forwarding or \
                 restrict without port-forwarding, and its permitopen must have {next}"
            ),
        )
    }

    /// A jump host can't reach the next server.
    #[must_use]
    pub fn beyond_jump(jump: &Server, next: &Server) -> Self {
        Self::eager(
            Step::Tcp,
            format!("{next} can't be connected to from the jump host {jump}"),
            format!(
                "check on {jump} that the name can be resolved and that sshd listens there: ssh-keyscan -p {} {}",
                next.port, next.host
            ),
        )
    }

    /// The agent that should sign is of no use.
    #[must_use]
    pub fn agent(identity: &Identity, err: &AgentError) -> Self {
        let agent = match &identity.secret {
            Secret::Agent { socket, .. } => format!("the SSH agent at {}", socket.display()),
            Secret::Key(_) | Secret::Ssh => "the SSH agent".to_owned(),
        };
        Self::eager(
            Step::Login,
            format!("{agent} can't log in: {err}"),
            "start it, or add the key to it (ssh-add); -identityagent or SSH_AUTH_SOCK names its socket",
        )
    }

    /// The system's ssh can't be used at all.
    #[must_use]
    pub fn ssh_unusable(why: &str) -> Self {
        Self::eager(
            Step::Name,
            format!("the ssh of this machine can't be used: {why}"),
            "install OpenSSH's client, or leave -engine openssh away",
        )
    }

    /// No signature was to be had, though the server would have accepted one.
    #[must_use]
    pub fn unsigned(identity: &Identity, err: &russh::keys::Error) -> Self {
        Self::eager(
            Step::Login,
            format!("{} did not sign ({err})", identity.name()),
            "an agent refuses when it is locked (ssh-add -X), when a person denied it, or when the key is constrained to other servers",
        )
    }

    /// The server wants more than a key.
    #[must_use]
    pub fn second_factor(hop: &Hop, identity: &Identity) -> Self {
        Self::patient(
            Step::Login,
            format!("{} accepted {} for {} but wants a second factor", hop.server, identity.name(), hop.user),
            "ask the site for an account or an address range that logs in by key alone",
        )
    }

    /// The server did not let us in.
    #[must_use]
    pub fn login(hop: &Hop, identity: &Identity, offers: usize, accepts: &MethodSet) -> Self {
        let Hop { user, server } = hop;
        let accepts = accepts.iter().map(<&'static str>::from).collect::<Vec<_>>().join(", ");
        let accepts = if accepts.is_empty() { String::new() } else { format!("; it accepts {accepts}") };
        let (which, public) = match (&identity.secret, &identity.path) {
            (Secret::Agent { only: None, .. }, _) | (_, None) => {
                (format!("{} ({offers} of them)", identity.name()), "one of the public keys (ssh-add -L)".to_owned())
            }
            (Secret::Agent { .. }, Some(path)) => (
                format!("{} ({})", identity.name(), identity.describe()),
                format!("the public key ({})", path.display()),
            ),
            (Secret::Key(_) | Secret::Ssh, Some(path)) => (
                format!("{} ({})", identity.name(), identity.describe()),
                format!("the public key (ssh-keygen -y -f {})", path.display()),
            ),
        };
        Self::patient(
            Step::Login,
            format!("{server} refused {which} for user {user}{accepts}"),
            format!(
                "add {public} to ~{user}/.ssh/authorized_keys on the server, and check that its directories are writable by \
                 {user} alone and that sshd lets {user} in"
            ),
        )
    }

    /// The server takes SHA-1 signatures only.
    #[must_use]
    pub fn rsa_sha1(server: &Server, identity: &Identity) -> Self {
        Self::patient(
            Step::Login,
            format!(
                "{server} takes only SHA-1 signatures of RSA keys, which are forgeable, so {} can't log in",
                identity.name()
            ),
            "use an Ed25519 or ECDSA key",
        )
    }

    /// The server forbids the forward that this tunnel is for.
    #[must_use]
    pub fn forbidden(server: &Server, remote: &Remote) -> Self {
        match remote {
            Remote::Port(port) => Self::patient(
                Step::Forwarding,
                format!("{server} forbids forwarding to localhost:{port} and 127.0.0.1:{port}"),
                format!(
                    "in its sshd_config, AllowTcpForwarding must be yes or local, DisableForwarding no, and PermitOpen must have \
                     localhost:{port} (sshd -T -C user=… shows the effective values); in authorized_keys, the key must not be \
                     no-port-forwarding or restrict without port-forwarding, and its permitopen must have localhost:{port}"
                ),
            ),
            Remote::Socket(path) => Self::patient(
                Step::Forwarding,
                format!("{server} forbids forwarding to the socket {path}"),
                SOCKET_OPTIONS,
            ),
            Remote::Command(_) => Self::no_session(server),
        }
    }

    /// Nothing takes the connections at the end of the tunnel.
    #[must_use]
    pub fn no_service(server: &Server, forward: &Forward) -> Self {
        let host = &server.host;
        let (cause, remedy) = match (forward.direction, &forward.remote) {
            (Direction::Reverse, _) => (
                format!("nothing listens at {} on this machine", forward.local),
                "start the service, or correct -lsock".to_owned(),
            ),
            (Direction::Forward, remote @ Remote::Port(port)) => (
                format!("nothing listens at {remote} on {host}"),
                format!("start the service there, or correct -rport if it listens on another port than {port}"),
            ),
            // sshd answers alike for a socket that is absent and for one that it forbids; only its log knows.
            (Direction::Forward, Remote::Socket(path)) => (
                format!("{path} on {host} can't be connected to: nothing listens there, or the server forbids it"),
                format!("start the service there, or correct -rsock; {SOCKET_OPTIONS}"),
            ),
            (Direction::Forward, Remote::Command(command)) => (
                format!("`{command}` on {host} can't reach the service's socket"),
                "start the service there, or correct the socket that the command dials (--socket)".to_owned(),
            ),
        };
        Self::eager(Step::Service, cause, remedy)
    }

    /// The server does not listen for a tunnel in reverse.
    #[must_use]
    pub fn no_listener(server: &Server, remote: &Remote, why: &ListenError) -> Self {
        match (why, remote) {
            (ListenError::Forbidden, _) => Self::patient(
                Step::Forwarding,
                format!("{server} forbids to listen on {remote}"),
                format!("{}; ports below 1024 are for root", listen_options(remote)),
            ),
            (ListenError::Taken, _) => Self::eager(
                Step::Forwarding,
                format!(
                    "{remote} on {server} is taken: the listener of an earlier session lingers, or another program listens there"
                ),
                format!(
                    "none needed if it is an earlier session, {remote} is asked for again until it is free (ClientAliveInterval \
                     in sshd_config shortens that); else choose another {}",
                    remote.flag()
                ),
            ),
            (ListenError::Unclear | ListenError::Lost, Remote::Socket(path)) => Self::eager(
                Step::Forwarding,
                format!(
                    "{server} does not listen on {path}: the file of an earlier session lingers there, or the server forbids it"
                ),
                format!(
                    "it is asked for again until it is free: remove the file there, or have StreamLocalBindUnlink yes in \
                     sshd_config, which removes it each time; {}",
                    listen_options(remote)
                ),
            ),
            (ListenError::Unclear | ListenError::Lost, Remote::Port(_) | Remote::Command(_)) => Self::eager(
                Step::Forwarding,
                format!("{server} does not listen on {remote}: it forbids that, or something else listens there"),
                format!("it is asked for again; {}", listen_options(remote)),
            ),
        }
    }

    /// The server runs no commands for us.
    #[must_use]
    pub fn no_session(server: &Server) -> Self {
        Self::patient(
            Step::Forwarding,
            format!("{server} opens no session, so that no command can run there"),
            "MaxSessions in its sshd_config must allow one session for each forward that a command carries",
        )
    }

    /// The command that should carry the connections does not say that it is one.
    #[must_use]
    pub fn no_greeting(settings: &Settings, command: &str, silence: &Silence) -> Self {
        let Settings { server, user, .. } = settings;
        let foreign = format!(
            "something else may run in its place: a ForceCommand in the server's sshd_config (sshd -T -C user={user} shows the \
             effective value) or the command= of the key in authorized_keys; if neither, try it there: {command} </dev/null \
             prints {}",
            mux::greeting::LINE
        );
        let quote = |said: &str| if said.is_empty() { String::new() } else { format!("; it said: {said}") };
        match silence {
            Silence::Ended { status: None, said } if said.is_empty() => {
                Self::lost(server, &format!("before `{command}` began"))
            }
            Silence::Ended { status: Some(127), said } => Self::patient(
                Step::Forwarding,
                format!("`{command}` was not found on {server}{}", quote(said)),
                format!("install it there, or give its full path; or {foreign}"),
            ),
            Silence::Ended { status, said } => {
                let status = status.map_or_else(String::new, |status| format!(" with exit status {status}"));
                Self::patient(
                    Step::Forwarding,
                    format!("`{command}` on {server} ended{status} without carrying anything{}", quote(said)),
                    foreign,
                )
            }
            Silence::Talks(said) => Self::patient(
                Step::Forwarding,
                format!("what runs on {server} is not `{command}`, or not one that carries connections{}", quote(said)),
                foreign,
            ),
            Silence::Waits => Self::patient(
                Step::Forwarding,
                format!("`{command}` on {server} runs but does not say that it carries connections"),
                foreign,
            ),
            Silence::Version(version) => Self::patient(
                Step::Forwarding,
                format!("`{command}` on {server} speaks {version}, this program {}", mux::greeting::LINE),
                "install the same release at both ends",
            ),
            Silence::Refused => {
                Self::patient(Step::Forwarding, format!("{server} refuses to run `{command}`"), foreign)
            }
        }
    }

    /// The connection was up and ended.
    #[must_use]
    pub fn lost(server: &Server, why: &str) -> Self {
        Self::eager(
            Step::Forwarding,
            format!("the connection to {server} was lost ({why})"),
            "none needed if it comes back: the server restarted, or the network was interrupted",
        )
    }
}

/// Everything in the server's configuration that decides about listening for us.
fn listen_options(remote: &Remote) -> String {
    match remote {
        Remote::Port(port) => format!(
            "in the server's sshd_config, AllowTcpForwarding must be yes or remote, DisableForwarding no, and PermitListen unset \
             or have localhost:{port} (sshd -T -C user=… shows the effective values); in authorized_keys, the key must not be \
             no-port-forwarding or restrict without port-forwarding, and its permitlisten must have localhost:{port}"
        ),
        Remote::Socket(_) | Remote::Command(_) => "in the server's sshd_config, AllowStreamLocalForwarding must be yes or remote and \
             DisableForwarding no (sshd -T -C user=… shows the effective values); in authorized_keys, the key must not be \
             no-port-forwarding or restrict without port-forwarding"
            .to_owned(),
    }
}

/// What an ended session says, in words.
#[must_use]
pub(super) fn end_in_words(err: &russh::Error) -> String {
    match err {
        russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout => "it no longer answers".into(),
        russh::Error::HUP | russh::Error::Disconnect => "the server closed it".into(),
        russh::Error::IO(err) if err.kind() == io::ErrorKind::UnexpectedEof => "the server closed it".into(),
        russh::Error::IO(err) if err.kind() == io::ErrorKind::TimedOut => "it no longer answers".into(),
        err => err.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server { host: "login".into(), port: 2222 }
    }

    #[test]
    fn each_fault_names_its_step_and_what_helps() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let no_key = russh::Error::NoCommonAlgo {
            kind: AlgorithmKind::Key,
            ours: vec!["ssh-ed25519".into()],
            theirs: vec!["rsa-sha2-512".into()],
        };
        for (fault, step, cause, remedy, pace) in [
            (
                Fault::resolve(&server(), &io::Error::other("no such name")),
                Step::Name,
                "login can't be resolved",
                "DNS",
                Pace::Eager,
            ),
            (
                Fault::tcp(&server(), Some(([192, 0, 2, 1], 2222).into()), &refused),
                Step::Tcp,
                "login:2222 (192.0.2.1) can't be connected to",
                "sshd is not running",
                Pace::Eager,
            ),
            (
                Fault::handshake(&server(), &russh::Error::Version),
                Step::Greeting,
                "does not speak SSH",
                "port",
                Pace::Eager,
            ),
            (
                Fault::handshake(&server(), &no_key),
                Step::HostKey,
                "of the types ssh-ed25519",
                "ssh-keyscan",
                Pace::Patient,
            ),
            (
                Fault::forbidden(&server(), &Remote::Port(4000)),
                Step::Forwarding,
                "localhost:4000 and 127.0.0.1:4000",
                "AllowTcpForwarding",
                Pace::Patient,
            ),
            (
                Fault::no_listener(&server(), &Remote::Port(4000), &ListenError::Taken),
                Step::Forwarding,
                "localhost:4000 on login:2222 is taken",
                "another -rport",
                Pace::Eager,
            ),
            (
                Fault::no_listener(&server(), &Remote::Port(4000), &ListenError::Forbidden),
                Step::Forwarding,
                "forbids to listen on localhost:4000",
                "PermitListen",
                Pace::Patient,
            ),
            (
                Fault::no_listener(&server(), &Remote::Socket("/p.sock".into()), &ListenError::Unclear),
                Step::Forwarding,
                "the file of an earlier session",
                "StreamLocalBindUnlink yes",
                Pace::Eager,
            ),
            (
                Fault::forbidden(&server(), &Remote::Socket("/p.sock".into())),
                Step::Forwarding,
                "/p.sock",
                "AllowStreamLocalForwarding",
                Pace::Patient,
            ),
        ] {
            assert!(fault.cause.contains(cause), "{fault:?}");
            assert!(fault.remedy.contains(remedy), "{fault:?}");
            assert_eq!(fault.pace, pace, "{fault:?}");
            assert_eq!(fault.step, step, "{fault:?}");
        }
    }
}
