//! Several forwards of one tunnel under systemd: each keeps its socket, and one that is gone is let go.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, Options};
use interlink_testkit::systemd::Machine;
use interlink_testkit::wait;

const SOON: Duration = Duration::from_secs(60);
const UNIT: &str = "interlink-tunnel";
const FILE: &str = "/opt/interlink/config/tunnel.yaml";

/// The unit with a list of forwards instead of one.
const DROP_IN: &str = "[Service]
ExecStart=
ExecStart=/opt/interlink/bin/ssh-tunnel -addr ${TUNNEL_ADDR} -user ${TUNNEL_USER} -keyfile ${TUNNEL_KEY} \
    -hostkeyfile /opt/interlink/.ssh/host_key -config /opt/interlink/config/tunnel.yaml
";

/// Forwards to the plugin by their names; each listens on `<socket>.sock`.
fn list(forwards: &[(&str, &str)]) -> String {
    let entry = |(name, socket): &(&str, &str)| {
        format!(
            "  - {{name: {name}, lsock: /run/interlink/{socket}.sock, rsock: /run/interlink/interlink-plugin.sock}}\n"
        )
    };
    format!("forwards:\n{}", forwards.iter().map(entry).collect::<String>())
}

/// Connects without a pause while `work` is done, and gives the refusals.
async fn refusals(socket: PathBuf, work: impl Future<Output = ()>) -> Vec<String> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let clients = std::thread::spawn(move || {
        let mut refused = Vec::new();
        while !asked.load(Ordering::Relaxed) {
            refused.extend(UnixStream::connect(&socket).err().map(|error| error.to_string()));
            std::thread::sleep(Duration::from_millis(2));
        }
        refused
    });
    work.await;
    stop.store(true, Ordering::Relaxed);
    clients.join().unwrap()
}

async fn kept(machine: &Machine, count: &str) {
    machine.shows(UNIT, "NFileDescriptorStore", count, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_forward_keeps_its_socket_and_one_that_is_gone_is_let_go() {
    let deployed = Deployed::new(Options::alone(Form::Rsock)).await;
    let machine = &deployed.machine;
    machine.write("/run/systemd/system/interlink-tunnel.service.d/several.conf", DROP_IN, 0o644);
    machine.write(FILE, list(&[("plugin", "plugin"), ("second", "second")]), 0o644);
    machine.systemctl(["daemon-reload"]).await;
    for unit in ["interlink-remote-plugin", UNIT, "interlink-api"] {
        let started = machine.output(["systemctl", "start", unit]).await;
        assert!(started.status.success(), "{unit}: {}", machine.journal(unit).await);
    }
    deployed.answers().await;
    kept(machine, "2").await;
    let path = |name: &str| machine.path("/run/interlink").join(name);

    let (first, second) = tokio::join!(
        refusals(path("plugin.sock"), async {
            machine.systemctl(["restart", UNIT]).await;
            let pid = machine.show(UNIT, "MainPID").await;
            machine.run(["kill", "-9", &pid]).await;
            machine.shows(UNIT, "NRestarts", "1", SOON).await;
            machine.shows(UNIT, "ActiveState", "active", SOON).await;
            deployed.answers().await;
        }),
        refusals(path("second.sock"), async {
            // until the other has seen it all
            machine.shows(UNIT, "NRestarts", "1", SOON).await;
            machine.shows(UNIT, "ActiveState", "active", SOON).await;
        }),
    );
    assert!(first.is_empty() && second.is_empty(), "{first:?} {second:?}");
    kept(machine, "2").await;

    // one less while it runs, and another name for the other
    let refused = refusals(path("plugin.sock"), async {
        machine.write(FILE, list(&[("renamed", "plugin")]), 0o644);
        machine.systemctl(["reload", UNIT]).await;
        kept(machine, "1").await;
        machine.systemctl(["restart", UNIT]).await;
        deployed.answers().await;
    })
    .await;
    assert!(refused.is_empty(), "{refused:?}");
    kept(machine, "1").await;
    assert!(UnixStream::connect(path("second.sock")).is_err());

    // the same name for another socket
    machine.write(FILE, list(&[("renamed", "plugin"), ("third", "other")]), 0o644);
    machine.systemctl(["reload", UNIT]).await;
    kept(machine, "2").await;
    machine.write(FILE, list(&[("renamed", "plugin"), ("third", "third")]), 0o644);
    machine.systemctl(["reload", UNIT]).await;
    wait::until("the other socket", SOON, async || UnixStream::connect(path("third.sock")).map(drop)).await;
    let refused = refusals(path("third.sock"), async {
        machine.systemctl(["restart", UNIT]).await;
        deployed.answers().await;
    })
    .await;
    assert!(refused.is_empty(), "{refused:?}");

    // one less while it is being restarted
    kept(machine, "2").await;
    machine.write(FILE, list(&[("renamed", "plugin")]), 0o644);
    machine.systemctl(["restart", UNIT]).await;
    deployed.answers().await;
    kept(machine, "1").await;
    assert!(UnixStream::connect(path("third.sock")).is_err());
}
