//! The health check under its timer: it says what is wrong, and starts nothing that an operator stopped.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::deployed::health::{HEALTH, next_report, programs, reports};
use interlink_e2e::deployed::{Deployed, Form, LOCAL, Options};
use interlink_testkit::kubernetes::{self, ControlPlane};

const SOON: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_is_reported_as_stopped_and_stays_so_for_two_periods() {
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let programs = programs();
    let options = Options { cluster: Some(&cluster), ..Options::alone(Form::Rexec) };
    let deployed = Deployed::with_programs(options, programs.path()).await;
    let machine = &deployed.machine;
    deployed.health("*:*:0/2").await;

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
        "✓ chain           services        systemd has 6 units of ours",
    ] {
        assert!(far.contains(part), "no {part} in {far}");
    }
    assert!(far.ends_with("every hop works\n") && !far.contains("  ! "), "{far}");

    // A line that the guide has: it shows only when something is restarted.
    let guides = "/run/systemd/system/interlink-api.service.d/guide.conf";
    machine.write(guides, "[Unit]\nRequires=interlink-tunnel.service\n", 0o644);
    machine.systemctl(["daemon-reload"]).await;
    let said = machine.run(check).await;
    assert!(
        said.contains("by the units of interlink-api (Requires=interlink-tunnel.service) a kill or restart"),
        "{said}"
    );
    machine.run(["rm", guides]).await;
    machine.systemctl(["daemon-reload"]).await;

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
