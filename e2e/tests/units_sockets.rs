//! What systemd notices of a program that hangs, and what of a site that does.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, Options};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_is_replaced_and_one_with_a_dead_site_behind_it_is_not() {
    let deployed = Deployed::new(Options::alone(Form::Rsock)).await;
    let machine = &deployed.machine;
    let services = ["interlink-remote-plugin", "interlink-tunnel", "interlink-api"];
    for unit in services {
        machine.write(format!("/run/systemd/system/{unit}.service.d/fast.conf"), "[Service]\nWatchdogSec=2\n", 0o644);
    }
    machine.systemctl(["daemon-reload"]).await;
    for unit in services {
        machine.systemctl(["start", unit]).await;
    }
    deployed.answers().await;
    for unit in services {
        let pid = machine.show(unit, "MainPID").await;
        machine.run(["kill", "-STOP", &pid]).await;
        machine.shows(unit, "NRestarts", "1", SOON).await;
        machine.shows(unit, "ActiveState", "active", SOON).await;
        let journal = machine.journal(unit).await;
        assert!(journal.contains("Watchdog timeout"), "{unit}: {journal}");
        deployed.answers().await;
    }

    // with its sessions
    machine.systemctl(["kill", "--kill-whom=all", "-s", "KILL", "test-sshd"]).await;
    // three times what a program has to show that it turns
    tokio::time::sleep(Duration::from_secs(6)).await;
    for unit in services {
        assert_eq!(machine.show(unit, "NRestarts").await, "1", "{unit}: {}", machine.journal(unit).await);
    }
}
