//! The health check under its timer: it says what is wrong, and starts nothing that an operator stopped.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, LOCAL, Options, read};
use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::{self, ControlPlane};
use interlink_testkit::systemd::Machine;
use interlink_testkit::{binaries, wait};

const SOON: Duration = Duration::from_secs(90);
const HEALTH: &str = "interlink-tunneled-health-check";
const LOG: &str = "/opt/interlink/logs/health-check.log";
const PERIOD: &str = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nAccuracySec=1ms\n";

/// The programs as they are installed, with the script beside them.
fn programs() -> TestDir {
    let dir = TestDir::new();
    for program in ["ssh-tunnel", "interlink", "virtual-kubelet", "interlink-plugin", "interlinkctl"] {
        std::fs::copy(binaries::path(program), dir.join(program)).unwrap();
    }
    let script = dir.write("tunneled-health-check.sh", read("tunneled-health-check.sh"));
    std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

/// The lines of the checks that have ended, one text each.
fn reports(machine: &Machine) -> Vec<String> {
    let log = std::fs::read_to_string(machine.path(LOG)).unwrap_or_default();
    let (ended, _) = log.rsplit_once("interLink health check completed").unwrap_or_default();
    ended.split("Starting interLink health check").skip(1).map(str::to_owned).collect()
}

/// Waits for a check that began after this and is as wanted.
async fn next_report(machine: &Machine, what: &str, wanted: impl Fn(&str) -> bool) -> String {
    let begun = reports(machine).len() + 1;
    wait::until(what, SOON, async || {
        let all = reports(machine);
        let found = all.iter().skip(begun).rfind(|report| wanted(report)).cloned();
        found.ok_or_else(|| format!("{} reports, the last: {}", all.len(), all.last().cloned().unwrap_or_default()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_is_reported_as_stopped_and_stays_so_for_two_periods() {
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let programs = programs();
    let options = Options { cluster: Some(&cluster), ..Options::alone(Form::Rexec) };
    let deployed = Deployed::with_programs(options, programs.path()).await;
    let machine = &deployed.machine;
    machine.run(["install", "-d", "-o", "interlink", "-g", "interlink", "-m", "750", "/opt/interlink/logs"]).await;
    machine.write(format!("/etc/systemd/system/{HEALTH}.timer.d/period.conf"), PERIOD, 0o644);
    machine.systemctl(["daemon-reload"]).await;

    // Alone it finds everything stopped, and leaves it so.
    machine.systemctl(["enable", "--now", &format!("{HEALTH}.timer")]).await;
    let report = next_report(machine, "a report of nothing", |_| true).await;
    assert!(report.contains("ERROR - tunnel process: ssh-tunnel is not running"), "{report}");
    for unit in LOCAL {
        assert_eq!(machine.show(unit, "ActiveState").await, "inactive", "{unit}");
    }

    deployed.start().await;
    let report = next_report(machine, "a report of a healthy chain", |report| !report.contains("ERROR")).await;
    assert!(report.contains("OK - kubernetes node ready") && !report.contains("WARNING"), "{report}");
    machine.shows(HEALTH, "Result", "success", SOON).await;

    // The far end, by root on its machine: with the key, the Match block and the files of deploy/.
    let check = ["/opt/interlink/bin/interlinkctl", "check", "--remote", "--sshd-config", "/etc/ssh/test/sshd_config"];
    let far = machine.run(check).await;
    for part in [
        "✓ plugin          configuration   /opt/interlink-plugin/config/plugin-config.yaml",
        "✓ sshd            authorized key  /opt/interlink/.ssh/authorized_keys: the tunnel's key runs",
        "✓ sshd            effective sshd  by sshd's effective values interlink runs the key's command",
        "✓ chain           file modes      no program can change itself or its configuration",
    ] {
        assert!(far.contains(part), "no {part} in {far}");
    }
    assert!(far.ends_with("every hop works\n") && !far.contains("  ! "), "{far}");

    // What the services may change, they could be made to run.
    machine.run(["chown", "interlink:", "/opt/interlink/config"]).await;
    let report = next_report(machine, "a warning", |report| report.contains("WARNING")).await;
    assert!(report.contains("file modes: the service can rewrite /opt/interlink/config"), "{report}");
    machine.run(["chown", "root:", "/opt/interlink/config"]).await;

    let before = deployed.pids().await;
    machine.systemctl(["stop", LOCAL[0], LOCAL[1], LOCAL[2]]).await;
    let mut report = String::new();
    for _ in 0..2 {
        report = next_report(machine, "two more reports", |_| true).await;
    }
    for (program, hop) in [("virtual-kubelet", "virtual-kubelet"), ("interlink", "api"), ("ssh-tunnel", "tunnel")] {
        assert!(report.contains(&format!("ERROR - {hop} process: {program} is not running")), "{report}");
    }
    for unit in LOCAL {
        let state = [machine.show(unit, "ActiveState").await, machine.show(unit, "SubState").await];
        assert_eq!(state, ["inactive", "dead"], "{unit}: {}", machine.journal(unit).await);
        assert_eq!(machine.show(unit, "NRestarts").await, "0", "{unit}");
    }
    machine.shows(HEALTH, "Result", "exit-code", SOON).await;
    assert_eq!(machine.show(HEALTH, "NRestarts").await, "0", "a check is not repeated but by its timer");
    assert_eq!(deployed.pids().await[3], before[3], "the other end goes on");

    // A stopped timer looks no more.
    machine.systemctl(["stop", &format!("{HEALTH}.timer")]).await;
    machine.shows(HEALTH, "SubState", "failed", SOON).await;
    let seen = reports(machine).len();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(reports(machine).len(), seen);
}
