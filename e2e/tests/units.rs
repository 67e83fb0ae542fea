//! The systemd units: checked by systemd's own tools, and run by a real systemd with the real programs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, LOCAL, Options, UNITS, units};
use interlink_testkit::kubernetes::{self, ControlPlane};
use interlink_testkit::systemd::{self, Machine};

const SOON: Duration = Duration::from_secs(60);
/// What `systemd-analyze security` may say at most; its scale ends at 10.
const EXPOSURE: f64 = 2.0;
const HEALTH: &str = "interlink-tunneled-health-check";

fn service(unit: &str) -> String {
    format!("/etc/systemd/system/{unit}.service")
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_finds_nothing_to_say_about_the_units_and_little_exposed() {
    let machine = Machine::start(systemd::Options { units: units(), ..systemd::Options::default() }).await;
    // verify wants to see what a unit starts
    for program in ["ssh-tunnel", "interlink", "virtual-kubelet", "tunneled-health-check.sh"] {
        machine.write(format!("/opt/interlink/bin/{program}"), "#!/bin/sh\n", 0o755);
    }
    machine.write("/opt/interlink-plugin/bin/plugin", "#!/bin/sh\n", 0o755);
    for unit in units() {
        let path = format!("/etc/systemd/system/{}", unit.name);
        // its exit code alone says nothing: unknown keys are only printed
        let verified = machine.output(["systemd-analyze", "verify", "--man=no", &path]).await;
        let said = [verified.stdout, verified.stderr].concat();
        assert_eq!((verified.status.code(), String::from_utf8_lossy(&said)), (Some(0), "".into()), "{path}");
    }
    for unit in UNITS.into_iter().chain([HEALTH]) {
        let path = service(unit);
        let rated = machine.run(["systemd-analyze", "security", "--offline=true", "--no-pager", &path]).await;
        let level = rated.rsplit_once(": ").and_then(|(_, rest)| rest.split(' ').next()).unwrap();
        assert!(level.parse::<f64>().unwrap() <= EXPOSURE, "{unit}: {rated}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_stopping_restarting_or_reloading_one_leaves_the_others_alone_and_the_chain_answers_again() {
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let deployed = Deployed::new(Options { cluster: Some(&cluster), ..Options::alone(Form::Rsock) }).await;
    let machine = &deployed.machine;
    deployed.start().await;
    for pair in LOCAL.windows(2) {
        let dependencies = machine.systemctl(["list-dependencies", "--plain", pair[0]]).await;
        assert!(dependencies.contains(pair[1]), "{dependencies}");
    }

    for unit in UNITS {
        let before = deployed.pids().await;
        machine.systemctl(["reload", unit]).await;
        deployed.answers().await;
        assert_eq!(deployed.pids().await, before, "reload of {unit}");
        assert_eq!(machine.show(unit, "ActiveState").await, "active");
    }

    for (killed, unit) in UNITS.into_iter().enumerate() {
        let before = deployed.pids().await;
        machine.run(["kill", "-9", &before[killed]]).await;
        machine.shows(unit, "NRestarts", "1", SOON).await;
        machine.shows(unit, "ActiveState", "active", SOON).await;
        deployed.answers().await;
        let after = deployed.pids().await;
        for (other, name) in UNITS.into_iter().enumerate() {
            assert_eq!(before[other] == after[other], other != killed, "kill of {unit}: {name}");
        }
    }

    for (restarted, unit) in UNITS.into_iter().enumerate() {
        let before = deployed.pids().await;
        machine.systemctl(["restart", unit]).await;
        deployed.answers().await;
        let after = deployed.pids().await;
        for (other, name) in UNITS.into_iter().enumerate() {
            assert_eq!(before[other] == after[other], other != restarted, "restart of {unit}: {name}");
        }
    }

    let sockets = [None, Some("api.sock"), Some("plugin.sock"), Some("interlink-plugin.sock")];
    for (stopped, unit) in UNITS.into_iter().enumerate() {
        let before = deployed.pids().await;
        machine.systemctl(["stop", unit]).await;
        is_stopped(machine, unit).await;
        for (other, socket) in sockets.iter().enumerate().filter(|(other, _)| *other != stopped) {
            let Some(socket) = socket else { continue };
            let there = machine.output(["test", "-S", &format!("/run/interlink/{socket}")]).await;
            assert!(there.status.success(), "stop of {unit} took the socket of {}", UNITS[other]);
        }
        machine.systemctl(["start", unit]).await;
        deployed.answers().await;
        let after = deployed.pids().await;
        for (other, name) in UNITS.into_iter().enumerate() {
            assert_eq!(before[other] == after[other], other != stopped, "stop and start of {unit}: {name}");
        }
    }

    machine.systemctl(["stop", LOCAL[0], LOCAL[1], LOCAL[2]]).await;
    for unit in LOCAL {
        is_stopped(machine, unit).await;
    }
    assert_eq!(machine.show(UNITS[3], "ActiveState").await, "active");
}

/// Ended well, and nothing is scheduled that would start it again.
async fn is_stopped(machine: &Machine, unit: &str) {
    let state = [
        machine.show(unit, "ActiveState").await,
        machine.show(unit, "SubState").await,
        machine.show(unit, "Result").await,
    ];
    assert_eq!(state, ["inactive", "dead", "success"], "{unit}: {}", machine.journal(unit).await);
    let jobs = machine.systemctl(["list-jobs", "--no-legend"]).await;
    assert_eq!(jobs, "", "after the stop of {unit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_must_mend_is_said_once_and_not_tried_again() {
    let deployed = Deployed::new(Options::alone(Form::Rsock)).await;
    let machine = &deployed.machine;
    let cases = [
        (LOCAL[0], "/opt/interlink/config/VirtualKubeletConfig.yaml", "NodeName: x\n", "78", "InterlinkURL"),
        (
            LOCAL[1],
            "/opt/interlink/config/InterLinkConfig.yaml",
            "InterlinkAddress: nowhere\n",
            "78",
            "InterlinkAddress",
        ),
        (LOCAL[2], "/opt/interlink/.ssh/host_key", "", "78", "host_key"),
        (LOCAL[2], "/opt/interlink/config/tunnel.env", "TUNNEL_USER=x\n", "2", "-addr"),
        (UNITS[3], "/opt/interlink-plugin/config/plugin-config.yaml", "Scheduler: none\n", "78", "Scheduler"),
    ];
    for (unit, file, wrong, code, said) in cases {
        let right = std::fs::read(machine.path(file)).unwrap();
        machine.write(file, wrong, 0o644);
        // an earlier one has started those that it wants
        machine.systemctl(["stop", unit]).await;
        let started = machine.output(["systemctl", "start", unit]).await;
        let journal = machine.journal(unit).await;
        assert!(!started.status.success(), "{unit}: {journal}");
        assert_eq!(machine.show(unit, "ExecMainStatus").await, code, "{unit}: {journal}");
        machine.shows(unit, "SubState", "failed", SOON).await;
        assert_eq!(machine.show(unit, "NRestarts").await, "0", "{unit}: {journal}");
        assert!(journal.contains(said), "{unit}: {journal}");
        machine.write(file, right, 0o644);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_out_of_reach_keeps_no_unit_from_starting() {
    let deployed = Deployed::new(Options::alone(Form::Rsock)).await;
    let machine = &deployed.machine;
    machine.systemctl(["stop", "test-sshd"]).await;
    machine.systemctl(["start", LOCAL[2], LOCAL[1], UNITS[3]]).await;
    for unit in [LOCAL[2], LOCAL[1]] {
        assert_eq!(machine.show(unit, "ActiveState").await, "active", "{}", machine.journal(unit).await);
    }
    machine.shows(LOCAL[1], "NRestarts", "0", SOON).await;
    machine.systemctl(["start", "test-sshd"]).await;
    deployed.answers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_three_keys_carries_the_chain() {
    for form in [Form::Rexec, Form::Rport, Form::Rsock] {
        let deployed = Deployed::new(Options::alone(form)).await;
        deployed.machine.systemctl(["start", UNITS[3], LOCAL[2], LOCAL[1]]).await;
        deployed.answers().await;
    }
}
