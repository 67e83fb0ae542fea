//! The logrotate fragment, with the real logrotate and the real programs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, Options, UNITS, read};
use interlink_testkit::wait;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_log_is_made_anew_and_every_running_program_is_told() {
    let deployed = Deployed::new(Options::alone(Form::Rsock)).await;
    let machine = &deployed.machine;
    let running = [
        ("interlink-remote-plugin", "configuration read again"),
        ("interlink-tunnel", "read the key and host key files again"),
        ("interlink-api", "configuration reloaded"),
    ];
    for (unit, _) in running {
        machine.systemctl(["start", unit]).await;
    }
    deployed.answers().await;
    let before = deployed.pids().await;

    machine.write("/etc/logrotate.d/interlink-tunneled", read("logrotate/interlink-tunneled"), 0o644);
    for folder in ["/opt/interlink/logs", "/var/log/interlink"] {
        machine.run(["install", "-d", "-o", "interlink", "-g", "interlink", "-m", "750", folder]).await;
    }
    let log = "/opt/interlink/logs/some.log";
    machine.write(log, "a line\n", 0o640);
    machine.run(["chown", "interlink:", log]).await;
    let rotate = ["logrotate", "-f", "-s", "/run/logrotate.state", "/etc/logrotate.d/interlink-tunneled"];
    let rotated = machine.output(rotate).await;
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    assert_eq!(String::from_utf8_lossy(&rotated.stderr), "", "logrotate has something to say");
    assert_eq!(machine.run(["cat", &format!("{log}.1")]).await, "a line\n");
    assert_eq!(machine.run(["stat", "-c", "%a %U %G %s", log]).await, "640 interlink interlink 0\n");

    for (unit, said) in running {
        wait::until(&format!("{unit} to have read its settings again"), SOON, async || {
            let journal = machine.journal(unit).await;
            if journal.contains(said) { Ok(()) } else { Err(journal) }
        })
        .await;
    }
    assert_eq!(deployed.pids().await, before, "one that is stopped stays stopped");
    assert_eq!(machine.show(UNITS[0], "ActiveState").await, "inactive");
}
