//! `interlinkctl install` behind the real firewalls, the tunnel's key in another form behind each: what it opens, that
//! it suffices, and that it is shut again. The machine has a network of its own.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use interlink_e2e::fresh::door::Door;
use interlink_e2e::fresh::{self, answers, changes, ctl, public_key, ready};
use interlink_testkit::kubernetes::{self, ControlPlane};
use interlink_testkit::systemd::{self, Machine};
use interlink_testkit::{binaries, ports};

const SOON: Duration = Duration::from_secs(60);
const PACKAGES: &str = "/srv/firewalls";

/// The distribution's own packages.
fn packages() -> PathBuf {
    let said = Command::new(binaries::workspace().join("scripts/firewalls")).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    PathBuf::from(String::from_utf8(said.stdout).unwrap().trim())
}

/// Installs them as `apt` does, without manual pages.
async fn unpack(machine: &Machine) {
    let script = format!(
        "set -e; export DEBIAN_FRONTEND=noninteractive; cd {PACKAGES}; set -- *.deb; [ -e \"$1\" ] || exit 0; \
         dpkg --force-unsafe-io --no-triggers --path-exclude='/usr/share/man/*' --path-exclude='/usr/share/doc/*' -i \"$@\""
    );
    machine.run(["sh", "-c", &script]).await;
    machine.systemctl(["daemon-reload"]).await;
}

/// A firewall of the machine.
struct Firewall<'a> {
    /// Prints all its rules.
    list: &'a [&'a str],
    /// What of that is ours, with these for the kubelet's port, SSH in from that address, and SSH out.
    ours: &'a dyn Fn(&str) -> Vec<String>,
    /// The tunnel's key.
    via: &'a str,
    /// What `check --remote` says of the key, and of sshd.
    says: [&'a str; 2],
}

/// The site: one machine for both ends.
struct Site {
    cluster: ControlPlane,
    machine: Machine,
    port: u16,
}

impl Site {
    async fn rules(&self, firewall: &Firewall<'_>) -> String {
        self.machine.run(firewall.list).await
    }

    async fn connects(&self) -> bool {
        let port = self.port.to_string();
        self.machine.output(["nc", "-z", "-w", "1", "127.0.0.1", &port]).await.status.success()
    }

    fn local(&self, via: &str) -> Vec<String> {
        let (addr, admin) = (format!("127.0.0.1:{}", self.port), self.cluster.kubeconfig().display().to_string());
        // behind a closed firewall nobody can be asked for it
        let key = "/etc/ssh/ssh_host_ed25519_key.pub";
        let args = ["install", "--role", "local", "--addr", &addr, "--via", via, "--host-key", key];
        args.iter().chain(&["--kubeconfig", &admin]).map(|word| (*word).to_owned()).collect()
    }

    /// Both ends, to a Ready node and a green check; then everything again, and from elsewhere.
    async fn is_installed(&self, firewall: &Firewall<'_>) {
        let (machine, via) = (&self.machine, firewall.via);
        let local = self.local(via);
        let local: Vec<&str> = local.iter().map(String::as_str).collect();
        ctl(machine, &local).await.has(0, &["made      firewall: ", "done: "]);
        let key = public_key(machine).await;
        let remote = ["install", "--role", "remote", "--scheduler", "local", "--via", via, "--from", "127.0.0.1"];
        let remote = [&remote[..], &["--public-key", &key]].concat();
        ctl(machine, &remote).await.has(0, &["made      firewall: SSH for the tunnel to the plugin", "done: "]);
        answers(machine).await;
        ready(&self.cluster).await;
        let near = fresh::Said::from(machine.output([fresh::CTL, "check"]).await).text;
        assert!(near.contains("✓ plugin"), "{near}");
        let far = fresh::Said::from(machine.output([fresh::CTL, "check", "--remote"]).await).text;
        for says in firewall.says {
            assert!(far.contains(says), "no {says} in {far}");
        }

        let rules = self.rules(firewall).await;
        for ours in (firewall.ours)("127.0.0.1") {
            assert_eq!(rules.matches(&ours).count(), 1, "{ours}: {rules}");
        }
        for args in [&local, &remote] {
            ctl(machine, args).await.has(0, &["nothing to do: all "]);
        }
        assert_eq!(self.rules(firewall).await, rules, "a second time adds nothing");

        // the tunnel comes from elsewhere now
        let elsewhere = ["install", "--role", "remote", "--from", "127.0.0.0/8"];
        ctl(machine, &elsewhere).await.has(0, &["changed   firewall: SSH for the tunnel to the plugin"]);
        let rules = self.rules(firewall).await;
        for ours in (firewall.ours)("127.0.0.0/8") {
            assert_eq!(rules.matches(&ours).count(), 1, "{ours}: {rules}");
        }
        let before = (firewall.ours)("127.0.0.1");
        let gone = before.iter().filter(|rule| rule.contains("127.0.0.1")).all(|rule| !rules.contains(rule));
        assert!(gone && !rules.contains("4000"), "nor is the plugin's port ever opened: {rules}");
        assert!(self.connects().await);
    }

    async fn is_uninstalled(&self, role: &str) {
        let admin = self.cluster.kubeconfig().display().to_string();
        let mut args = vec!["uninstall", "--role", role];
        if role == "local" {
            args.extend(["--kubeconfig", &admin]);
        }
        ctl(&self.machine, &args).await.has(0, &["done: "]);
    }
}

/// Nothing passes, not even within the machine, but the way to the cluster. What rejects at the end of a chain closes
/// it as well as a policy does.
fn closed(api: u16) -> String {
    format!(
        "table inet site {{
            chain input {{
                type filter hook input priority filter; policy drop;
                ct state established,related accept
                tcp dport {api} accept comment \"the cluster\"
            }}
            chain output {{
                type filter hook output priority filter; policy accept;
                ct state established,related accept
                tcp dport {api} accept comment \"the cluster\"
                reject with icmpx type admin-prohibited
            }}
        }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_form_of_the_key_works_behind_a_real_firewall_which_is_as_it_was_afterwards() {
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let door = Door::to(&cluster);
    let kubeconfig = cluster.kubeconfig().parent().unwrap().to_owned();
    let binds = vec![(kubeconfig.clone(), kubeconfig), door.bind(), (packages(), PACKAGES.into())];
    let options = systemd::Options { binds, units: door.units(), private_network: true, ..systemd::Options::default() };
    let port = ports::free_port();
    let site = Site { machine: fresh::machine(options, port).await, cluster, port };
    let machine = &site.machine;
    unpack(machine).await;
    machine.systemctl(["start", "door.socket", "dbus"]).await;
    let before = fresh::everything(machine).await;

    // nftables alone, where nothing passes but by our rules
    machine.write("/srv/closed.nft", closed(door.port()), 0o644);
    machine.run(["nft", "-f", "/srv/closed.nft"]).await;
    assert!(!site.connects().await);
    let ours = |from: &str| {
        let saddr = if from.contains('/') { "127.0.0.0/8" } else { from };
        vec![
            "tcp dport 10250 accept comment \"interlink: the cluster to the virtual kubelet, for logs\"".to_owned(),
            format!("ip saddr {saddr} tcp dport {port} accept comment \"interlink: SSH for the tunnel to the plugin\""),
            format!("tcp dport {port} accept comment \"interlink: SSH for the tunnel\""),
        ]
    };
    let nftables = Firewall {
        list: &["nft", "list", "ruleset"],
        ours: &ours,
        via: "rsock",
        says: ["the tunnel's key opens forwards", "effective sshd"],
    };
    let rules = site.rules(&nftables).await;
    site.is_installed(&nftables).await;
    for role in ["remote", "local"] {
        site.is_uninstalled(role).await;
    }
    assert_eq!(site.rules(&nftables).await, rules);
    assert!(!site.connects().await);
    machine.run(["nft", "flush", "ruleset"]).await;

    // ufw, where an operator has let the cluster in already
    machine.run(["ufw", "--force", "enable"]).await;
    machine.run(["ufw", "allow", "10250/tcp"]).await;
    let ours = |from: &str| {
        vec![
            format!(
                "ufw allow from {from} to any port {port} proto tcp comment 'interlink: SSH for the tunnel to the plugin'"
            ),
            format!("ufw allow out {port}/tcp comment 'interlink: SSH for the tunnel'"),
            "ufw allow 10250/tcp\n".to_owned(),
        ]
    };
    let ufw = Firewall {
        list: &["ufw", "show", "added"],
        ours: &ours,
        via: "rport",
        says: ["the tunnel's key opens forwards", "effective sshd"],
    };
    let rules = site.rules(&ufw).await;
    site.is_installed(&ufw).await;
    for role in ["remote", "local"] {
        site.is_uninstalled(role).await;
    }
    assert_eq!(site.rules(&ufw).await, rules);
    machine.run(["ufw", "--force", "reset"]).await;
    machine.run(["nft", "flush", "ruleset"]).await;

    // firewalld, which is stopped by the time that the rule goes
    machine.systemctl(["start", "firewalld"]).await;
    machine.shows("firewalld", "ActiveState", "active", SOON).await;
    let ours = |from: &str| {
        vec![
            "rule port port=\"10250\" protocol=\"tcp\" accept".to_owned(),
            format!("rule family=\"ipv4\" source address=\"{from}\" port port=\"{port}\" protocol=\"tcp\" accept"),
        ]
    };
    let firewalld = Firewall {
        list: &["firewall-cmd", "--list-all"],
        ours: &ours,
        via: "rexec",
        says: ["the tunnel's key runs", "effective sshd"],
    };
    let rules = site.rules(&firewalld).await;
    site.is_installed(&firewalld).await;
    let now = site.rules(&firewalld).await;
    let later = machine.run(["firewall-cmd", "--permanent", "--list-all"]).await;
    for rule in ours("127.0.0.0/8") {
        assert!(now.contains(&rule) && later.contains(&rule), "{rule}: {now}{later}");
    }
    site.is_uninstalled("remote").await;
    machine.systemctl(["stop", "firewalld"]).await;
    site.is_uninstalled("local").await;
    machine.systemctl(["start", "firewalld"]).await;
    assert_eq!(site.rules(&firewalld).await, rules);

    let theirs = ["/etc/ufw", "/etc/default/ufw", "/etc/firewalld"];
    let left: Vec<String> = changes(&before, &fresh::everything(machine).await);
    let left: Vec<&String> = left.iter().filter(|line| !theirs.iter().any(|theirs| line.contains(theirs))).collect();
    assert_eq!(left, [""; 0]);
}
