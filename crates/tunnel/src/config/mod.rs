//! What the command line asks for, checked: from here on nothing can be missing or contradictory.

pub mod flags;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use interlink_transport::Endpoint;

use crate::hostkeys;

/// Everything the tunnel needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The SSH server.
    pub server: Server,
    /// The user to log in as.
    pub user: String,
    /// The private key file.
    pub key_file: PathBuf,
    /// Where the server's keys are recorded.
    pub host_keys: hostkeys::Source,
    /// What is carried.
    pub forward: Forward,
    /// How long each step of a connection attempt may take.
    pub connect_timeout: Duration,
    /// How long a new local connection waits for the tunnel to come up.
    pub wait: Duration,
    /// The socket that serves the tunnel's own state; the default of [`interlink_daemon`] if `None`.
    pub state_socket: Option<PathBuf>,
    /// Debug lines in the log.
    pub verbose: bool,
    /// Accepted for the sake of old command lines, without effect; to be warned about.
    pub ignored: Vec<String>,
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

/// One forward: connections accepted here are carried to there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Where clients connect, on this machine.
    pub local: Endpoint,
    /// Where the server connects, on its own machine.
    pub remote: Remote,
}

/// The far end of a forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A TCP port of the server's loopback interface (`direct-tcpip`).
    Port(u16),
    /// A Unix socket on the server (`direct-streamlocal@openssh.com`).
    Socket(String),
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "localhost:{port}"),
            Self::Socket(path) => f.write_str(path),
        }
    }
}
