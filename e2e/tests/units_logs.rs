//! The logrotate fragment, with the real logrotate and the real programs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Duration;

use interlink_e2e::deployed::health::{HEALTH, programs};
use interlink_e2e::deployed::logs::{LOGS, numbered};
use interlink_e2e::deployed::{Deployed, Form, Options, UNITS};
use interlink_e2e::load::{Client, Question};
use interlink_testkit::systemd::Machine;
use interlink_testkit::wait;

const SOON: Duration = Duration::from_secs(30);
const CLIENTS: usize = 8;
/// Before each rotation, and after the last.
const CHECKS: usize = 4;

/// What the programs say of the signal that logrotate sends them, by their places in [`UNITS`]. Without a cluster there
/// is no virtual kubelet.
const TOLD: [(usize, &str); 3] =
    [(1, "configuration reloaded"), (2, "read the key and host key files again"), (3, "configuration read again")];

/// A check by its service that is told from all others by what it does not find.
async fn check(machine: &Machine, number: usize) {
    let arguments = format!("HEALTH_ARGS=--api-config /nowhere/{number}.yaml\n");
    machine.write("/opt/interlink/config/health.env", arguments, 0o644);
    // it fails, for it finds that
    machine.output(["systemctl", "start", HEALTH]).await;
}

/// The numbers of the checks in all files.
async fn checked(machine: &Machine) -> Vec<usize> {
    let all = machine.run(["sh", "-c", "cd /opt/interlink/logs && zcat -f health-check.log*"]).await;
    let reports: Vec<&str> = all.split("Starting interLink health check").skip(1).collect();
    let number = |report: &&str| {
        assert_eq!(report.matches("interLink health check completed").count(), 1, "a report in pieces: {report}");
        let after = report.split("/nowhere/").nth(1).unwrap_or_else(|| panic!("no number in {report}"));
        after.split('.').next().unwrap().parse().unwrap()
    };
    reports.iter().map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_there_once_after_three_rotations_and_every_running_program_is_told() {
    let programs = programs();
    let deployed = Deployed::with_programs(Options::alone(Form::Rsock), programs.path()).await;
    let machine = &deployed.machine;
    deployed.log_to_files().await;
    deployed.health("*:*:0").await;
    for (unit, _) in TOLD {
        let started = machine.output(["systemctl", "start", UNITS[unit]]).await;
        assert!(started.status.success(), "{}", machine.journal(UNITS[unit]).await);
    }
    deployed.answers().await;
    let before = deployed.pids().await;

    let start = |number: usize| {
        let socket = machine.path("/run/interlink/api.sock");
        let path = |client: usize, number: usize| format!("/numbered/{client}-{number}");
        Client::start("the API server", number, Question { socket, path, good: 404 })
    };
    let clients: Vec<Client> = (0..CLIENTS).map(start).collect();
    let mut checks = 0..;
    for _ in 0..3 {
        for number in checks.by_ref().take(CHECKS) {
            check(machine, number).await;
        }
        let one_more = checks.next().unwrap();
        tokio::join!(deployed.rotate_logs(), check(machine, one_more));
        for (unit, said) in TOLD {
            let log = LOGS[unit].2;
            wait::until(&format!("{} to go on in a new file", UNITS[unit]), SOON, async || {
                let text = std::fs::read_to_string(machine.path(log)).unwrap_or_default();
                if text.contains(said) { Ok(()) } else { Err(text) }
            })
            .await;
            assert_eq!(machine.run(["stat", "-c", "%a %U %G", log]).await, "640 interlink interlink\n", "{log}");
        }
        for client in &clients {
            client.goes_on().await;
        }
    }
    check(machine, checks.next().unwrap()).await;

    let mut wanted = BTreeSet::new();
    for client in clients {
        let number = client.number();
        let tally = client.end().await;
        assert_eq!(tally.unanswered, [0; 0], "whoever asks does not notice a rotation");
        wanted.extend((0..tally.asked).map(|question| format!("{number}-{question}")));
    }
    let logged = numbered(machine).await;
    let missing: Vec<&String> = wanted.iter().filter(|number| !logged.contains_key(*number)).collect();
    let doubled: Vec<_> = logged.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missing.is_empty() && doubled.is_empty(), "missing {missing:?}, doubled {doubled:?}");
    let mut reports = checked(machine).await;
    reports.sort_unstable();
    assert_eq!(reports, (0..checks.next().unwrap()).collect::<Vec<_>>(), "each check has one report");

    let files = machine.run(["sh", "-c", "cd /opt/interlink/logs && ls api.log*"]).await;
    assert_eq!(files, "api.log\napi.log.1\napi.log.2.gz\napi.log.3.gz\n");
    assert_eq!(deployed.pids().await, before, "one that is stopped stays stopped");
    assert_eq!(machine.show(UNITS[0], "ActiveState").await, "inactive");
    eprintln!("{} numbered lines, {} reports", wanted.len(), reports.len());
}
