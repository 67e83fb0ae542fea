//! OpenSSH's own client, to try what a key may do.

use tokio::process::Command;

use super::{KeyPair, Sshd};

impl Sshd {
    /// `ssh` to this server as `user` with that key and nothing else: no agent, no configuration, no questions. The
    /// caller adds options and a command.
    ///
    /// # Panics
    /// When the known_hosts file cannot be written.
    pub fn ssh(&self, user: &str, key: &KeyPair) -> Command {
        let known_hosts = self.dir().join("known_hosts");
        std::fs::write(&known_hosts, self.known_hosts()).expect("a test's own directory must be writable");
        let mut command = Command::new("ssh");
        command
            .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10"])
            .args(["-o", "StrictHostKeyChecking=yes", "-o"])
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .arg("-i")
            .arg(key.private())
            .args(["-p", &self.port().to_string(), "-l", user, "127.0.0.1"])
            .env_remove("SSH_AUTH_SOCK")
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        command
    }
}
