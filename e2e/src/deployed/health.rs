//! The health check as it is installed: its script beside the programs, its timer, its log.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::systemd::Machine;
use interlink_testkit::{binaries, wait};

use super::{Deployed, read};

/// The unit that looks at the others, and its timer.
pub const HEALTH: &str = "interlink-tunneled-health-check";
/// Where its reports are.
pub const LOG: &str = "/opt/interlink/logs/health-check.log";

const SOON: Duration = Duration::from_secs(90);

/// The programs as they are installed, with the script beside them.
///
/// # Panics
/// When one is missing.
#[must_use]
pub fn programs() -> TestDir {
    let dir = TestDir::new();
    for program in ["ssh-tunnel", "interlink", "virtual-kubelet", "interlink-plugin", "interlinkctl"] {
        let copied = std::fs::copy(binaries::path(program), dir.join(program));
        copied.unwrap_or_else(|error| panic!("{program}: {error}"));
    }
    let script = dir.write("tunneled-health-check.sh", read("tunneled-health-check.sh"));
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(script, executable).expect("the mode of one's own file can be set");
    dir
}

/// The reports of the checks that have ended since the log was last rotated, one text each.
#[must_use]
pub fn reports(machine: &Machine) -> Vec<String> {
    let log = std::fs::read_to_string(machine.path(LOG)).unwrap_or_default();
    let (ended, _) = log.rsplit_once("interLink health check completed").unwrap_or_default();
    ended.split("Starting interLink health check").skip(1).map(str::to_owned).collect()
}

/// Waits for a check that began after this and is as wanted.
///
/// # Panics
/// When there is none in time; the message has the last report.
pub async fn next_report(machine: &Machine, what: &str, wanted: impl Fn(&str) -> bool) -> String {
    let begun = reports(machine).len() + 1;
    wait::until(what, SOON, async || {
        let all = reports(machine);
        let found = all.iter().skip(begun).rfind(|report| wanted(report)).cloned();
        found.ok_or_else(|| format!("{} reports, the last: {}", all.len(), all.last().cloned().unwrap_or_default()))
    })
    .await
}

impl Deployed {
    /// Has the check look as often as `calendar` (`*:*:0/2`) says, from the start of its timer on.
    ///
    /// # Panics
    /// When systemd does not take it.
    pub async fn health(&self, calendar: &str) {
        self.log_folders().await;
        let period = format!("[Timer]\nOnCalendar=\nOnCalendar={calendar}\nAccuracySec=1ms\n");
        self.machine.write(format!("/etc/systemd/system/{HEALTH}.timer.d/period.conf"), period, 0o644);
        // oftener than systemd lets a service be started
        let limit = "[Unit]\nStartLimitIntervalSec=0\n";
        self.machine.write(format!("/etc/systemd/system/{HEALTH}.service.d/limit.conf"), limit, 0o644);
        self.machine.systemctl(["daemon-reload"]).await;
    }
}
