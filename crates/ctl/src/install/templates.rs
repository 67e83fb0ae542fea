//! The files of `deploy/`, as they are there: the one place where units, fragments and configuration are written.

/// The tunnel's unit.
pub const TUNNEL_UNIT: &str = include_str!("../../../../deploy/systemd/interlink-tunnel.service");
/// The API server's unit.
pub const API_UNIT: &str = include_str!("../../../../deploy/systemd/interlink-api.service");
/// The virtual kubelet's unit.
pub const KUBELET_UNIT: &str = include_str!("../../../../deploy/systemd/interlink-virtual-kubelet.service");
/// The health check's unit.
pub const HEALTH_UNIT: &str = include_str!("../../../../deploy/systemd/interlink-tunneled-health-check.service");
/// Its timer.
pub const HEALTH_TIMER: &str = include_str!("../../../../deploy/systemd/interlink-tunneled-health-check.timer");
/// What it runs.
pub const HEALTH_SCRIPT: &str = include_str!("../../../../deploy/tunneled-health-check.sh");
/// The plugin's unit.
pub const PLUGIN_UNIT: &str = include_str!("../../../../deploy/systemd/interlink-remote-plugin.service");
/// A pod on the login node itself.
pub const LOCAL_POD_UNIT: &str = include_str!("../../../../deploy/systemd/interlink-local-pod@.service");
/// Where the plugin hands those over.
pub const LOCAL_POD_SOCKET: &str = include_str!("../../../../deploy/systemd/interlink-local-pod.socket");
/// What the tunnel is started with.
pub const TUNNEL_ENV: &str = include_str!("../../../../deploy/config/tunnel.env");
/// The API server's configuration.
pub const API_CONFIG: &str = include_str!("../../../../deploy/config/InterLinkConfig.yaml");
/// The virtual kubelet's configuration.
pub const KUBELET_CONFIG: &str = include_str!("../../../../deploy/config/VirtualKubeletConfig.yaml");
/// The plugin's configuration.
pub const PLUGIN_CONFIG: &str = include_str!("../../../../deploy/config/plugin-config.yaml");
/// Rotation of log files.
pub const LOGROTATE: &str = include_str!("../../../../deploy/logrotate/interlink-tunneled");

/// sshd's Match block for `-rexec`.
pub const SSHD_REXEC: &str = include_str!("../../../../deploy/sshd/interlink-rexec.conf");
/// sshd's Match block for `-rport`.
pub const SSHD_RPORT: &str = include_str!("../../../../deploy/sshd/interlink-rport.conf");
/// sshd's Match block for `-rsock`.
pub const SSHD_RSOCK: &str = include_str!("../../../../deploy/sshd/interlink-rsock.conf");
/// The key's restriction for `-rexec`.
pub const KEY_REXEC: &str = include_str!("../../../../deploy/sshd/authorized_keys.rexec");
/// The key's restriction for `-rport`.
pub const KEY_RPORT: &str = include_str!("../../../../deploy/sshd/authorized_keys.rport");
/// The key's restriction for `-rsock`.
pub const KEY_RSOCK: &str = include_str!("../../../../deploy/sshd/authorized_keys.rsock");

/// Sets `key` in a file of `key<separator>value` lines: the line that is there, commented out or not, else one more.
#[must_use]
pub fn set(text: &str, key: &str, separator: &str, value: &str) -> String {
    let wanted = format!("{key}{separator}");
    let line = format!("{wanted}{value}");
    let mut found = false;
    let mut lines: Vec<String> = Vec::new();
    for old in text.lines() {
        let bare = old.strip_prefix('#').unwrap_or(old);
        if !found && bare.starts_with(&wanted) {
            found = true;
            lines.push(line.clone());
        } else {
            lines.push(old.to_owned());
        }
    }
    if !found {
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

/// Takes the lines of `key` out.
#[must_use]
pub fn without(text: &str, key: &str) -> String {
    text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_where_it_stands_or_at_the_end() {
        let text = "# a comment\nA=1\n#B=2\n";
        assert_eq!(set(text, "A", "=", "9"), "# a comment\nA=9\n#B=2\n");
        assert_eq!(set(text, "B", "=", "9"), "# a comment\nA=1\nB=9\n");
        assert_eq!(set(text, "C", ": ", "9"), "# a comment\nA=1\n#B=2\nC: 9\n");
        assert_eq!(without(text, "A="), "# a comment\n#B=2\n");
    }

    #[test]
    fn the_templates_have_the_words_that_are_replaced() {
        for unit in [TUNNEL_UNIT, API_UNIT, KUBELET_UNIT, PLUGIN_UNIT, HEALTH_UNIT] {
            assert!(unit.contains("\nUser=interlink\nGroup=interlink\n") && unit.contains("\nProtectHome=yes\n"));
        }
        assert!(PLUGIN_UNIT.contains("\nReadWritePaths=-/opt/interlink-plugin/jobs\n"));
        for key in [KEY_REXEC, KEY_RPORT, KEY_RSOCK] {
            let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(lines.len() == 1 && lines[0].contains(" PUBLIC-KEY "), "{key}");
        }
        for block in [SSHD_REXEC, SSHD_RPORT, SSHD_RSOCK] {
            assert!(block.contains("\nMatch User interlink\n"), "{block}");
        }
        assert!(KUBELET_CONFIG.contains("\nNodeName: ") && PLUGIN_CONFIG.contains("\nDataRootFolder: "));
    }
}
