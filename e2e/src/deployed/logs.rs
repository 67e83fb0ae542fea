//! Log files of the programs' own, and logrotate with the fragment of `deploy/`.

use std::collections::BTreeMap;

use interlink_testkit::systemd::Machine;

use super::{Deployed, read};

/// Which file has the further flags of which unit, and where that one's log is then; in the order of
/// [`super::UNITS`].
pub const LOGS: [(&str, &str, &str); 4] = [
    ("/opt/interlink/config/virtual-kubelet.env", "KUBELET_ARGS", "/opt/interlink/logs/virtual-kubelet.log"),
    ("/opt/interlink/config/api.env", "API_ARGS", "/opt/interlink/logs/api.log"),
    ("/opt/interlink/config/tunnel.env", "TUNNEL_ARGS", "/opt/interlink/logs/tunnel.log"),
    ("/opt/interlink-plugin/config/plugin.env", "PLUGIN_ARGS", "/var/log/interlink/plugin.log"),
];

/// The numbers of the questions `/numbered/NUMBER` that the API server has logged, in all its files, and how often each.
///
/// # Panics
/// When a line is in pieces.
pub async fn numbered(machine: &Machine) -> BTreeMap<String, usize> {
    let all = machine.run(["sh", "-c", "cd /opt/interlink/logs && zcat -f api.log*"]).await;
    let mut found = BTreeMap::new();
    for line in all.lines().filter(|line| line.contains("path=/numbered/")) {
        assert!(line.starts_with("ts=") && line.contains(" status=404 "), "a line in pieces: {line}");
        let number = line.split("path=/numbered/").nth(1).unwrap_or_default().split(' ').next().unwrap_or_default();
        *found.entry(number.to_owned()).or_default() += 1;
    }
    found
}

impl Deployed {
    /// Makes the directories that `install` makes for log files.
    ///
    /// # Panics
    /// When it can't.
    pub async fn log_folders(&self) {
        let account = self.account.as_str();
        let make = ["install", "-d", "-o", account, "-g", account, "-m", "750"];
        self.machine.run(make.into_iter().chain(["/opt/interlink/logs", "/var/log/interlink"])).await;
    }

    /// Has each program write to a file of its own ([`LOGS`]) from its next start on, and the API server a line for each
    /// request; installs the fragment.
    ///
    /// # Panics
    /// When it can't.
    pub async fn log_to_files(&self) {
        self.log_folders().await;
        for (file, variable, log) in LOGS {
            let before = std::fs::read_to_string(self.machine.path(file)).unwrap_or_default();
            let all = if variable == "API_ARGS" { "-verbose " } else { "" };
            self.machine.write(file, format!("{before}{variable}={all}-logfile {log}\n"), 0o644);
        }
        let both = format!("{0} {0}", self.account);
        let fragment = read("logrotate/interlink-tunneled").replace("interlink interlink", &both);
        self.machine.write("/etc/logrotate.d/interlink-tunneled", fragment, 0o644);
    }

    /// Rotates all logs now, as logrotate does once a day.
    ///
    /// # Panics
    /// When it fails or has something to say.
    pub async fn rotate_logs(&self) {
        let rotate = ["logrotate", "-f", "-s", "/run/logrotate.state", "/etc/logrotate.d/interlink-tunneled"];
        let rotated = self.machine.output(rotate).await;
        let said = String::from_utf8_lossy(&rotated.stderr).into_owned();
        assert!(rotated.status.success() && said.is_empty(), "logrotate has something to say: {said}");
    }
}
