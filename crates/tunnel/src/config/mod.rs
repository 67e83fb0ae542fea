//! What the command line asks for, checked: from here on nothing can be missing or contradictory.

mod file;
pub mod flags;
mod origin;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use interlink_transport::Endpoint;

use crate::{hostkeys, identity};
pub use origin::{Origin, Stop};

/// Everything the tunnel needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The SSH server.
    pub server: Server,
    /// The user to log in as.
    pub user: String,
    /// The hosts to pass through on the way to the server, in their order.
    pub jumps: Vec<Hop>,
    /// What logs in, at the jump hosts too.
    pub identity: identity::Source,
    /// What speaks SSH.
    pub engine: Engine,
    /// Where the server's keys are recorded.
    pub host_keys: hostkeys::Source,
    /// What is carried; never empty.
    pub forwards: Vec<Forward>,
    /// How many SSH sessions to the server carry it.
    pub connections: usize,
    /// How long each step of a connection attempt may take.
    pub connect_timeout: Duration,
    /// How long a new local connection waits for the tunnel to come up.
    pub wait: Duration,
    /// The socket that serves the tunnel's own state; the default of [`interlink_daemon`] if `None`.
    pub state_socket: Option<PathBuf>,
    /// Where Prometheus finds the metrics, if anywhere.
    pub metrics: Option<Endpoint>,
    /// Where log lines go instead of stderr.
    pub log_file: Option<PathBuf>,
    /// Try everything once and say what came of it, instead of serving.
    pub check: bool,
    /// Debug lines in the log.
    pub verbose: bool,
    /// Accepted for the sake of old command lines, without effect; to be warned about.
    pub ignored: Vec<String>,
    /// What else a person should know of how they were read.
    pub warnings: Vec<String>,
}

impl Settings {
    /// The servers to log in at, one behind the other; the last is the one that forwards.
    pub fn hops(&self) -> impl Iterator<Item = Hop> {
        let last = Hop { user: self.user.clone(), server: self.server.clone() };
        self.jumps.iter().cloned().chain([last])
    }
}

/// What speaks SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// This program.
    BuiltIn,
    /// The system's `ssh`, supervised.
    OpenSsh(System),
}

impl Engine {
    /// The system's `ssh`, if that is it.
    #[must_use]
    pub fn system(&self) -> Option<&System> {
        match self {
            Self::BuiltIn => None,
            Self::OpenSsh(system) => Some(system),
        }
    }
}

/// How the system's `ssh` is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The program, looked up in PATH.
    pub program: PathBuf,
    /// The ssh_config to use instead of the user's and the system's.
    pub config: Option<PathBuf>,
    /// The jump hosts, as they were given: what is left out, ssh_config says.
    pub jumps: Option<String>,
    /// Whether the user was given; otherwise ssh_config says.
    pub user: bool,
    /// Whether the port was given; otherwise ssh_config says.
    pub port: bool,
}

/// A server and who logs in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The user.
    pub user: String,
    /// The server.
    pub server: Server,
}

/// The SSH server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The name of a forward that the flags describe.
pub const ONLY: &str = "tunnel";

/// One forward: connections accepted at one end are carried to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Its name among the others, in state, metrics and the service manager's store of sockets.
    pub name: String,
    /// Which end accepts.
    pub direction: Direction,
    /// The end on this machine.
    pub local: Endpoint,
    /// The end on the server's machine.
    pub remote: Remote,
}

impl Forward {
    /// Where clients connect, in words.
    #[must_use]
    pub fn listens(&self) -> String {
        match self.direction {
            Direction::Forward => self.local.to_string(),
            Direction::Reverse => self.remote.to_string(),
        }
    }

    /// Where their connections lead, in words.
    #[must_use]
    pub fn leads_to(&self) -> String {
        match self.direction {
            Direction::Forward => self.remote.to_string(),
            Direction::Reverse => self.local.to_string(),
        }
    }
}

/// Who listens and who dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We listen, the server dials (`ssh -L`).
    Forward,
    /// The server listens, we dial (`ssh -R`).
    Reverse,
}

/// The far end of a forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A TCP port of the server's loopback interface (`direct-tcpip`, `tcpip-forward`).
    Port(u16),
    /// A Unix socket on the server (`direct-streamlocal@openssh.com`, `streamlocal-forward@openssh.com`).
    Socket(String),
    /// A command that carries all connections over its stdin and stdout (`interlink-plugin dial-stdio`).
    Command(String),
}

impl Remote {
    /// The flag that names it.
    #[must_use]
    pub fn flag(&self) -> &'static str {
        match self {
            Self::Port(_) => "-rport",
            Self::Socket(_) => "-rsock",
            Self::Command(_) => "-rexec",
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "localhost:{port}"),
            Self::Socket(path) => f.write_str(path),
            Self::Command(command) => write!(f, "`{command}`"),
        }
    }
}
