//! The systemd units: checked by systemd's own tools, and run by a real systemd with the real programs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, LOCAL, Options, UNITS, units};
use interlink_testkit::systemd::{self, Machine};

const SOON: Duration = Duration::from_secs(60);
/// What `systemd-analyze security` may say at most; its scale ends at 10.
const EXPOSURE: f64 = 2.0;
const HEALTH: &str = "interlink-tunneled-health-check";
/// The only service that is not rated: it is a pod of `Scheduler: local`, which has no sandbox, as a job of a batch
/// system has none. It is the plugin that is kept in one.
const POD: &str = "interlink-local-pod@";

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
    let rated: Vec<&str> = UNITS.into_iter().chain([HEALTH]).collect();
    let mut services: Vec<String> =
        units().into_iter().filter_map(|unit| unit.name.strip_suffix(".service").map(str::to_owned)).collect();
    services.retain(|name| name != POD && !rated.contains(&name.as_str()));
    assert_eq!(services, [""; 0], "services that nobody rates");
    for unit in rated {
        let path = service(unit);
        let rated = machine.run(["systemd-analyze", "security", "--offline=true", "--no-pager", &path]).await;
        let level = rated.rsplit_once(": ").and_then(|(_, rest)| rest.split(' ').next()).unwrap();
        assert!(level.parse::<f64>().unwrap() <= EXPOSURE, "{unit}: {rated}");
    }
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
