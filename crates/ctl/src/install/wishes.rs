//! What is asked for. What is not said now holds from the last time, else a default.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Which end of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Beside the cluster: tunnel, API server, virtual kubelet.
    Local,
    /// The login node: the plugin.
    Remote,
}

impl Role {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// How the tunnel reaches the plugin, which decides what its key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The key runs one command, which reaches the plugin and nothing else. No forwarding.
    #[default]
    Rexec,
    /// The key opens port 4000 of the login node's loopback interface.
    Rport,
    /// The key opens sockets; it can't be narrowed to one, so it reaches whatever the login node reaches.
    Rsock,
}

impl Via {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rexec => "rexec",
            Self::Rport => "rport",
            Self::Rsock => "rsock",
        }
    }

    /// The flag of ssh-tunnel.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Rexec => "-rexec",
            Self::Rport => "-rport",
            Self::Rsock => "-rsock",
        }
    }
}

/// The batch system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Pods are jobs of Slurm.
    Slurm,
    /// Pods are processes of the login node.
    Local,
}

impl Scheduler {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Slurm => "slurm",
            Self::Local => "local",
        }
    }
}

/// What runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Apptainer.
    Apptainer,
    /// Singularity.
    Singularity,
    /// No container at all: the command, on the node itself.
    Host,
}

impl Runtime {
    /// As in the plugin's configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Apptainer => "apptainer",
            Self::Singularity => "singularity",
            Self::Host => "host",
        }
    }
}

/// Everything that can be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// The account of the services.
    pub account: Option<String>,
    /// How the tunnel reaches the plugin.
    pub via: Option<Via>,
    /// Local: the SSH server, `host` or `host:port`.
    pub addr: Option<String>,
    /// Local: the account there.
    pub login: Option<String>,
    /// Local: the node's name.
    pub nodename: Option<String>,
    /// Local: the port of the kubelet API.
    pub kubelet_port: Option<u16>,
    /// Local: the address by which the cluster reaches the kubelet API.
    pub node_ip: Option<String>,
    /// Remote: the job directories.
    pub jobs: Option<PathBuf>,
    /// Remote: the batch system.
    pub scheduler: Option<Scheduler>,
    /// Remote: what runs containers.
    pub runtime: Option<Runtime>,
    /// Remote: slurm.conf, where it is not in the usual place.
    pub slurm_conf: Option<PathBuf>,
    /// Remote: the tunnel's public key, type and base64.
    pub public_key: Option<String>,
    /// Remote: where the tunnel comes from, for the firewall.
    pub from: Option<String>,
}

impl Wishes {
    /// These, and where they say nothing the `earlier` ones.
    #[must_use]
    pub fn over(self, earlier: Self) -> Self {
        Self {
            account: self.account.or(earlier.account),
            via: self.via.or(earlier.via),
            addr: self.addr.or(earlier.addr),
            login: self.login.or(earlier.login),
            nodename: self.nodename.or(earlier.nodename),
            kubelet_port: self.kubelet_port.or(earlier.kubelet_port),
            node_ip: self.node_ip.or(earlier.node_ip),
            jobs: self.jobs.or(earlier.jobs),
            scheduler: self.scheduler.or(earlier.scheduler),
            runtime: self.runtime.or(earlier.runtime),
            slurm_conf: self.slurm_conf.or(earlier.slurm_conf),
            public_key: self.public_key.or(earlier.public_key),
            from: self.from.or(earlier.from),
        }
    }

    /// The account of the services.
    #[must_use]
    pub fn account(&self) -> &str {
        self.account.as_deref().unwrap_or("interlink")
    }

    /// How the tunnel reaches the plugin.
    #[must_use]
    pub fn via(&self) -> Via {
        self.via.unwrap_or_default()
    }

    /// The SSH server, host and port.
    #[must_use]
    pub fn server(&self) -> Option<(String, u16)> {
        let addr = self.addr.as_deref()?;
        if let Some(rest) = addr.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            let port = if port.is_empty() { Some(22) } else { port.strip_prefix(':')?.parse().ok() };
            return Some((host.to_owned(), port?));
        }
        match addr.rsplit_once(':') {
            // two colons without brackets are an IPv6 address
            Some((host, port)) if !host.contains(':') => Some((host.to_owned(), port.parse().ok()?)),
            _ => Some((addr.to_owned(), 22)),
        }
        .filter(|(host, port)| !host.is_empty() && *port > 0 && !host.contains(|c: char| c.is_whitespace() || c == '@'))
    }

    /// The account at the far end.
    #[must_use]
    pub fn login(&self) -> &str {
        self.login.as_deref().unwrap_or("interlink")
    }

    /// The node's name.
    #[must_use]
    pub fn nodename(&self) -> &str {
        self.nodename.as_deref().unwrap_or("interlink-node")
    }

    /// The port of the kubelet API.
    #[must_use]
    pub fn kubelet_port(&self) -> u16 {
        self.kubelet_port.unwrap_or(10250)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_holds_from_the_last_time() {
        let earlier = Wishes { addr: Some("a".into()), login: Some("x".into()), ..Wishes::default() };
        let now = Wishes { addr: Some("b".into()), ..Wishes::default() }.over(earlier);
        assert_eq!((now.addr.as_deref(), now.login(), now.account()), (Some("b"), "x", "interlink"));
    }

    #[test]
    fn the_server_is_a_host_and_a_port() {
        let server = |addr: &str| Wishes { addr: Some(addr.into()), ..Wishes::default() }.server();
        for (addr, host, port) in [
            ("hpc.example.org", "hpc.example.org", 22),
            ("hpc:2222", "hpc", 2222),
            ("::1", "::1", 22),
            ("[::1]", "::1", 22),
            ("[::1]:2222", "::1", 2222),
        ] {
            assert_eq!(server(addr), Some((host.to_owned(), port)), "{addr}");
        }
        for wrong in ["", "hpc:ssh", "a b", "hpc:0", "me@hpc", "[::1", "[::1]2"] {
            assert_eq!(server(wrong), None, "{wrong}");
        }
    }
}
