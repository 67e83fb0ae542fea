//! sshd_config.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use super::KeyType;

/// What a test says nothing about. StrictModes: the files lie below `/tmp`, which everyone may write. PAM: accounts
/// made for tests have no password.
const DEFAULTS: &str = "\
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication yes
PermitRootLogin prohibit-password
X11Forwarding no
AllowAgentForwarding no
MaxSessions 100
MaxStartups 100:30:200
LoginGraceTime 20
UseDNS no
LogLevel DEBUG1
";

/// The text of sshd_config. sshd keeps the first value it reads, so the test's own lines come first; but what begins
/// with a `Match` line comes last, as nothing global can follow it.
pub(super) fn sshd_config(dir: &Path, address: Ipv4Addr, port: u16, host_keys: &[KeyType], lines: &[String]) -> String {
    let is_match = |line: &&String| line.trim_start().to_ascii_lowercase().starts_with("match ");
    let end = lines.iter().position(|line| is_match(&line)).unwrap_or(lines.len());
    let (global, blocks) = lines.split_at(end);
    let dir = dir.display();
    let mut config = format!("Port {port}\nListenAddress {address}\nPidFile {dir}/sshd.pid\n");
    for kind in host_keys {
        let _ = writeln!(config, "HostKey {dir}/host_{}", kind.name());
    }
    for line in global {
        let _ = writeln!(config, "{line}");
    }
    let _ = writeln!(config, "AuthorizedKeysFile {dir}/authorized_keys.%u");
    config.push_str(DEFAULTS);
    for line in blocks {
        let _ = writeln!(config, "{line}");
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_test_win_and_match_blocks_come_last() {
        let lines = ["AllowTcpForwarding no", "Match User x", "  ForceCommand /bin/false"].map(String::from);
        let config = sshd_config(Path::new("/d"), Ipv4Addr::LOCALHOST, 22, &[KeyType::Ed25519], &lines);
        let at = |text: &str| config.find(text).unwrap_or_else(|| panic!("{text} in {config}"));
        assert!(at("AllowTcpForwarding no") < at("StrictModes"));
        assert!(at("UseDNS") < at("Match User x"));
        assert!(config.ends_with("Match User x\n  ForceCommand /bin/false\n"));
    }
}
