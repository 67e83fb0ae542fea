//! What a client notices of a restart: nothing. What systemd notices of a program that hangs: everything.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, Options};

const SOON: Duration = Duration::from_secs(60);

/// Connects without a pause, until it is asked what it has seen: connections, and refusals in words.
struct Clients {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, Vec<String>)>,
}

impl Clients {
    fn of(socket: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut connected, mut refused) = (0, Vec::new());
            while !asked.load(Ordering::Relaxed) {
                match UnixStream::connect(&socket) {
                    Ok(_) => connected += 1,
                    Err(error) => refused.push(error.to_string()),
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            (connected, refused)
        });
        Self { stop, thread }
    }

    fn saw(self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_is_refused_while_a_service_is_restarted_or_killed() {
    let deployed = Deployed::new(Options::alone(Form::Rsock)).await;
    let machine = &deployed.machine;
    let services = [
        ("interlink-remote-plugin", "interlink-plugin.sock"),
        ("interlink-tunnel", "plugin.sock"),
        ("interlink-api", "api.sock"),
    ];
    for (unit, _) in services {
        machine.systemctl(["start", unit]).await;
    }
    deployed.answers().await;
    for (unit, socket) in services {
        let clients = Clients::of(machine.path("/run/interlink").join(socket));
        machine.systemctl(["restart", unit]).await;
        let pid = machine.show(unit, "MainPID").await;
        machine.run(["kill", "-9", &pid]).await;
        machine.shows(unit, "NRestarts", "1", SOON).await;
        machine.shows(unit, "ActiveState", "active", SOON).await;
        deployed.answers().await;
        let (connected, refused) = clients.saw();
        assert!(
            connected > 0 && refused.is_empty(),
            "{unit}: {connected} connected, {} refused: {refused:?}",
            refused.len()
        );

        machine.systemctl(["stop", unit]).await;
        let after = UnixStream::connect(machine.path("/run/interlink").join(socket));
        assert!(after.is_err(), "{unit} is stopped, but its socket still takes connections");
        machine.systemctl(["start", unit]).await;
    }
    deployed.answers().await;
}

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
