//! A machine with nothing of ours on it but the programs, as from an archive: what `interlinkctl install` begins with.
//!
//! - [`door`]: the way from a machine with a network of its own to a control plane outside.
#![allow(clippy::panic, reason = "a test's harness reports by panicking")]

pub mod door;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use interlink_testkit::kubernetes::ControlPlane;
use interlink_testkit::systemd::{self, Machine};
use interlink_testkit::{binaries, wait};

/// Where the programs are unpacked.
const PROGRAMS: &str = "/srv/interlink";
/// The operator's command.
pub const CTL: &str = "/srv/interlink/interlinkctl";

/// What one command of `interlinkctl` came to.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed, standard output first.
    pub text: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = [output.stdout, output.stderr].concat();
        Self { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }
}

impl Said {
    /// Itself, where it is as expected.
    ///
    /// # Panics
    /// When it ended otherwise, or a part is missing in what it printed.
    #[track_caller]
    pub fn has(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for part in parts {
            assert!(self.text.contains(part), "no {part:?} in {}", self.text);
        }
        self
    }
}

/// Runs `interlinkctl` on the machine as root.
pub async fn ctl(machine: &Machine, args: &[&str]) -> Said {
    machine.output(std::iter::once(CTL).chain(args.iter().copied())).await.into()
}

/// A machine with sshd as its packages bring it, on that port.
///
/// # Panics
/// When a part of it does not start.
pub async fn machine(mut options: systemd::Options, port: u16) -> Machine {
    let bin = binaries::path("interlinkctl").parent().expect("a file is in a folder").to_owned();
    options.binds.push((bin, PathBuf::from(PROGRAMS)));
    let machine = Machine::start(options).await;
    machine.run(["ssh-keygen", "-A"]).await;
    let config = format!(
        "Include /etc/ssh/sshd_config.d/*.conf\nPort {port}\nListenAddress 127.0.0.1\nUsePAM no\nSubsystem sftp /usr/lib/openssh/sftp-server\n"
    );
    machine.write("/etc/ssh/sshd_config", config, 0o644);
    machine.systemctl(["start", "ssh"]).await;
    machine
}

/// Every file and directory that an installation could have touched, with mode, owner and content.
pub async fn everything(machine: &Machine) -> String {
    let script = "find /opt -maxdepth 1; \
                  find /opt/interlink* /etc /var/lib/interlink /var/log/interlink /run/interlink -path /etc/machine-id -prune -o -printf '%p %M %u %g %l\\n' 2>/dev/null | sort; \
                  find /opt/interlink* /etc -type f ! -path '/etc/*-' -exec sha256sum {} + 2>/dev/null | sort; \
                  systemctl list-unit-files --no-legend 'interlink*' || true";
    machine.run(["sh", "-c", script]).await
}

/// What is in one and not in the other.
pub fn changes(before: &str, after: &str) -> Vec<String> {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, after) = (lines(before), lines(after));
    let gone = before.difference(&after).map(|line| format!("- {line}"));
    gone.chain(after.difference(&before).map(|line| format!("+ {line}"))).collect()
}

/// The tunnel's public key.
pub async fn public_key(machine: &Machine) -> String {
    machine.run(["cat", "/opt/interlink/.ssh/id_ed25519.pub"]).await.trim().to_owned()
}

/// Waits until a ping goes through the chain to the plugin.
///
/// # Panics
/// When it does not in time.
pub async fn answers(machine: &Machine) {
    wait::until("a ping through the chain", Duration::from_secs(60), async || {
        let curl = ["curl", "-s", "-m", "10", "-w", " %{http_code}", "-X", "POST", "--unix-socket"];
        let args = curl.into_iter().chain(["/run/interlink/api.sock", "http://interlink/pinglink"]);
        let said = String::from_utf8_lossy(&machine.output(args).await.stdout).into_owned();
        if said.ends_with(" 200") { Ok(()) } else { Err(said) }
    })
    .await;
}

/// Waits until the node that the machine registers is Ready.
///
/// # Panics
/// When it is not in time.
pub async fn ready(cluster: &ControlPlane) {
    wait::until("the node to be Ready", Duration::from_secs(60), async || {
        // it fails at once as long as nobody has registered the node
        let ready = ["wait", "--for=condition=Ready", "node/interlink-node", "--timeout=10s"];
        let output = cluster.kubectl().run(ready).await;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    })
    .await;
}
