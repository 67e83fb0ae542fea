//! OpenSSH's own client, to try what a key may do.

use tokio::process::Command;

use super::{KeyPair, Sshd};
use crate::network::Namespace;

impl Sshd {
    /// `ssh` to this server as `user` with that key and nothing else: no agent, no configuration, no questions. The
    /// caller adds options and a command.
    ///
    /// # Panics
    /// When the known_hosts file cannot be written.
    pub fn ssh(&self, user: &str, key: &KeyPair) -> Command {
        self.arguments(Command::new("ssh"), user, key)
    }

    /// The same from another network.
    ///
    /// # Panics
    /// When the known_hosts file cannot be written.
    pub fn ssh_from(&self, namespace: &Namespace, user: &str, key: &KeyPair) -> Command {
        self.arguments(namespace.command("ssh").into(), user, key)
    }

    fn arguments(&self, mut command: Command, user: &str, key: &KeyPair) -> Command {
        let known_hosts = self.dir().join("known_hosts");
        std::fs::write(&known_hosts, self.known_hosts()).expect("a test's own directory must be writable");
        command
            .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10"])
            .args(["-o", "StrictHostKeyChecking=yes", "-o"])
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .arg("-i")
            .arg(key.private())
            .args(["-p", &self.port().to_string(), "-l", user, &self.address().to_string()])
            .env_remove("SSH_AUTH_SOCK")
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        command
    }
}
