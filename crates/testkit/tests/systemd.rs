//! The systemd is a real one, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::systemd::{Machine, Options, Unit};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_unit_is_started_restarted_after_a_kill_and_stopped() {
    let text =
        "[Service]\nExecStart=/bin/sh -c 'echo said to the journal; exec sleep 1000'\nRestart=always\nRestartSec=0\n";
    let machine = Machine::start(Options { units: vec![Unit::new("x.service", text)], ..Options::default() }).await;
    assert_eq!(machine.run(["cat", "/proc/1/comm"]).await, "systemd\n");
    assert_eq!(machine.show("x", "ActiveState").await, "inactive", "nothing starts by itself");

    machine.systemctl(["start", "x"]).await;
    machine.shows("x", "SubState", "running", SOON).await;
    let first = machine.show("x", "MainPID").await;
    machine.run(["kill", "-9", &first]).await;
    machine.shows("x", "NRestarts", "1", SOON).await;
    machine.shows("x", "SubState", "running", SOON).await;
    assert_ne!(machine.show("x", "MainPID").await, first);
    assert!(machine.journal("x").await.contains("said to the journal"));

    machine.systemctl(["stop", "x"]).await;
    assert_eq!(machine.show("x", "ActiveState").await, "inactive");
    let failed = machine.output(["systemctl", "start", "no-such"]).await;
    assert!(!failed.status.success());
}

#[tokio::test]
async fn what_is_written_inside_stays_inside_and_binds_are_shared() {
    let shared = TestDir::new();
    shared.write("here", "from outside");
    let binds = vec![(shared.path().to_owned(), PathBuf::from("/srv/shared"))];
    let machine = Machine::start(Options { binds, private_network: true, ..Options::default() }).await;
    assert_eq!(machine.run(["cat", "/srv/shared/here"]).await, "from outside");
    machine.write("/opt/new/file", "text", 0o640);
    assert_eq!(machine.run(["stat", "-c", "%a %U %s", "/opt/new/file"]).await, "640 root 4\n");
    assert!(!Path::new("/opt/new/file").exists());
    let addresses = machine.run(["ip", "-brief", "address"]).await;
    assert_eq!(addresses.lines().count(), 1, "only loopback: {addresses}");
    assert!(machine.output(["sysctl", "-w", "kernel.domainname=x"]).await.status.code() != Some(0));
}

#[tokio::test]
async fn its_disk_and_what_is_enabled_outlive_a_reboot_and_a_power_cut() {
    let text = "[Service]\nExecStart=/bin/sleep 1000\nExecStop=/bin/sh -c 'echo stopped >> /opt/stops'\n[Install]\nWantedBy=multi-user.target\n";
    let mut machine = Machine::start(Options { units: vec![Unit::new("x.service", text)], ..Options::default() }).await;
    machine.systemctl(["enable", "--now", "x"]).await;
    machine.write("/opt/file", "kept", 0o600);
    machine.write("/run/file", "not kept", 0o600);

    machine.reboot().await;
    machine.shows("x", "SubState", "running", SOON).await;
    assert_eq!(machine.run(["cat", "/opt/file", "/opt/stops"]).await, "keptstopped\n");
    assert!(!machine.path("/run/file").exists());

    machine.power_cut().await;
    machine.shows("x", "SubState", "running", SOON).await;
    assert_eq!(machine.run(["cat", "/opt/stops"]).await, "stopped\n", "nobody stopped it a second time");
}

#[tokio::test]
async fn nothing_of_it_is_left_when_it_is_dropped() {
    let text = "[Service]\nExecStart=/bin/sleep 1000\n";
    let machine = Machine::start(Options { units: vec![Unit::new("x.service", text)], ..Options::default() }).await;
    machine.systemctl(["start", "x"]).await;
    let inside = machine.path("/");
    let (dir, cgroup) = (machine.dir().to_owned(), machine.cgroup().to_owned());
    assert!(inside.exists() && cgroup.exists());
    drop(machine);
    assert!(!inside.exists(), "its first process has ended");
    assert!(!dir.exists());
    assert!(!cgroup.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("procfs");
    assert!(!mounts.contains(dir.to_str().expect("a short name")), "{mounts}");
}
