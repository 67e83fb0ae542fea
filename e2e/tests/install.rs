//! `interlinkctl install` and `uninstall` on machines with a real systemd and a real sshd.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use interlink_e2e::fresh::{CTL, Said, answers, changes, ctl, everything, machine, public_key, ready};
use interlink_e2e::pods;
use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::{self, ControlPlane};
use interlink_testkit::slurm::{self, Cluster};
use interlink_testkit::systemd::{self, Machine, Unit};
use interlink_testkit::users::hpcuser;
use interlink_testkit::{ports, wait};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_are_installed_once_and_go_without_a_trace() {
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let port = ports::free_port();
    let kubeconfig = cluster.kubeconfig().parent().unwrap().to_owned();
    let binds = vec![(kubeconfig.clone(), kubeconfig)];
    let machine = machine(systemd::Options { binds, ..systemd::Options::default() }, port).await;
    let machine = &machine;
    let untouched = everything(machine).await;
    let (addr, kubelet_port) = (format!("127.0.0.1:{port}"), ports::free_port().to_string());
    let admin = cluster.kubeconfig().display().to_string();
    let local =
        ["install", "--role", "local", "--addr", &addr, "--kubeconfig", &admin, "--kubelet-port", &kubelet_port];
    let remote = ["install", "--role", "remote", "--scheduler", "local"];

    // a dry run shows everything and changes nothing
    let dry = |args: &[&str]| args.iter().copied().chain(["--dry-run"]).map(str::to_owned).collect::<Vec<_>>();
    for args in [dry(&local), dry(&remote)] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let parts = ["would make   account interlink", "+ [Service]", "a dry run: "];
        ctl(machine, &args).await.has(0, &parts);
    }
    assert_eq!(changes(&untouched, &everything(machine).await), [""; 0]);

    ctl(machine, &local)
        .await
        .has(0, &["made      account interlink", "done: ", "install --role remote --public-key 'ssh-ed25519 "]);
    let key = public_key(machine).await;
    let mut with_key = remote.to_vec();
    with_key.extend(["--public-key", &key]);
    // what fails half way says how far it came, leaves sshd as it was, and a second run goes on there
    let fragment = "/etc/ssh/sshd_config.d/00-site.conf";
    machine.write(fragment, "Nonsense yes\n", 0o644);
    let said = ctl(machine, &with_key).await;
    said.has(
        1,
        &[
            "made      the tunnel's key in",
            "sshd refuses",
            "Nonsense",
            "steps are done; run this again and it goes on there",
        ],
    );
    assert!(!machine.path("/etc/ssh/sshd_config.d/interlink.conf").exists());
    machine.write(fragment, "Match User *\n    ForceCommand /bin/true\n", 0o644);
    let said = ctl(machine, &with_key).await;
    said.has(1, &["ForceCommand /bin/true wins over the key's own command", "Match User *,!interlink"]);
    machine.run(["rm", fragment]).await;
    let said = ctl(machine, &with_key).await.has(0, &["sshd: Match User interlink", "done: ", "SHA256:"]);
    assert!(!said.text.contains("the tunnel's key in"), "that was done before: {}", said.text);
    answers(machine).await;
    ready(&cluster).await;

    for (path, mode) in [
        ("/opt/interlink/bin/ssh-tunnel", "755 root root"),
        ("/opt/interlink/config/tunnel.env", "640 root interlink"),
        ("/opt/interlink/.ssh", "700 interlink interlink"),
        ("/opt/interlink/.ssh/id_ed25519", "600 interlink interlink"),
        ("/opt/interlink/.ssh/authorized_keys", "600 interlink interlink"),
        ("/opt/interlink/.kube/config", "600 interlink interlink"),
        ("/opt/interlink-plugin/config/plugin-config.yaml", "640 root interlink"),
        ("/opt/interlink-plugin/jobs", "700 interlink interlink"),
        ("/etc/systemd/system/interlink-tunnel.service", "644 root root"),
    ] {
        assert_eq!(machine.run(["stat", "-c", "%a %U %G", path]).await.trim(), mode, "{path}");
    }

    // a second run changes nothing and says so, and needs no options
    let installed = everything(machine).await;
    let again = [&["install", "--role", "local", "--kubeconfig", &admin][..], &["install", "--role", "remote"]];
    for args in again {
        ctl(machine, args).await.has(0, &["nothing to do: all "]);
    }
    assert_eq!(changes(&installed, &everything(machine).await), [""; 0]);

    // what an operator has edited stays
    let edited = "/opt/interlink/config/InterLinkConfig.yaml";
    let text = std::fs::read_to_string(machine.path(edited)).unwrap();
    let tunnel = std::fs::read_to_string(machine.path("/opt/interlink/config/tunnel.env")).unwrap();
    machine.write("/opt/interlink/config/tunnel.env", format!("# mine\n{tunnel}"), 0o640);
    machine.write(edited, format!("# mine\n{text}"), 0o640);
    let moved = ["install", "--role", "local", "--kubeconfig", &admin, "--login", "other"];
    let said =
        ctl(machine, &moved).await.has(0, &["tunnel.env was edited and stays; the new version is laid beside it"]);
    assert!(!said.text.contains("InterLinkConfig.yaml was edited"), "its template is the same: {}", said.text);
    assert!(std::fs::read_to_string(machine.path("/opt/interlink/config/tunnel.env")).unwrap().starts_with("# mine"));
    let beside = std::fs::read_to_string(machine.path("/opt/interlink/config/tunnel.env.new")).unwrap();
    assert!(beside.contains("TUNNEL_USER=other\n"), "{beside}");
    ctl(machine, again[0]).await.has(0, &["nothing to do: all "]);

    // and everything goes again
    ctl(machine, &["uninstall", "--role", "local", "--kubeconfig", &admin])
        .await
        .has(0, &["done: the local end is gone"]);
    let node = cluster.kubectl().run(["get", "node", "interlink-node"]).await;
    assert!(!node.status.success());
    for gone in ["clusterrole/interlink-interlink-node", "clusterrolebinding/interlink-interlink-node"] {
        assert!(!cluster.kubectl().run(["get", gone]).await.status.success(), "{gone}");
    }
    assert_eq!(machine.show("interlink-remote-plugin", "ActiveState").await, "active");
    ctl(machine, &["uninstall", "--role", "remote"]).await.has(0, &["done: the remote end is gone"]);
    assert_eq!(changes(&untouched, &everything(machine).await), [""; 0]);
    ctl(machine, &["uninstall", "--role", "remote"]).await.has(0, &["nothing to do: there is no "]);
}

/// A login node beside a Slurm, whose account and job directories the compute nodes know.
struct Site {
    cluster: ControlPlane,
    slurm: Cluster,
    shared: TestDir,
    machine: Machine,
    port: u16,
}

impl Site {
    async fn new() -> Self {
        let cluster = ControlPlane::start(kubernetes::Options::default()).await;
        let slurm = Cluster::start(slurm::Options { nodes: 1, cpus: 8, ..slurm::Options::default() }).await;
        let shared = TestDir::new();
        let port = ports::free_port();
        let kubeconfig = cluster.kubeconfig().parent().unwrap();
        let same = |path: &Path| (path.to_owned(), path.to_owned());
        let binds = vec![same(kubeconfig), same(slurm.dir()), same(shared.path())];
        // what a test has below /tmp, which is the unit's own otherwise
        let (conf, jobs) = (slurm.dir().display(), shared.path().display());
        let text = format!("[Service]\nBindReadOnlyPaths={conf}\nBindPaths={jobs}\nReadWritePaths={jobs}\n");
        let units = vec![Unit::new("interlink-remote-plugin.service.d/cluster.conf", text)];
        let machine = machine(systemd::Options { binds, units, ..systemd::Options::default() }, port).await;
        // the kubelet's programs are root's own: the directories of the tests must be passable
        Self { cluster, slurm, shared, machine, port }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slurm_site_is_refused_what_its_nodes_do_not_know_and_runs_pods_through_upgrades() {
    let site = Site::new().await;
    let (machine, kubectl) = (&site.machine, site.cluster.kubectl());
    let account = hpcuser().name;
    let conf = site.slurm.conf().display().to_string();
    let jobs = site.shared.join("jobs").display().to_string();
    let remote = ["install", "--role", "remote", "--runtime", "host", "--slurm-conf", &conf];
    let before = everything(machine).await;

    let unknown = ctl(machine, &remote).await;
    unknown.has(
        78,
        &[
            "does not know the account interlink",
            "--account",
            "does not see what is written below",
            "--jobs",
            "nothing was changed",
        ],
    );
    let mut unseen = remote.to_vec();
    unseen.extend(["--account", &account]);
    let said = ctl(machine, &unseen).await.has(78, &["does not see what is written below /opt/interlink-plugin/jobs"]);
    assert!(!said.text.contains("does not know"), "{}", said.text);
    assert_eq!(changes(&before, &everything(machine).await), [""; 0]);

    let (addr, kubelet_port) = (format!("127.0.0.1:{}", site.port), ports::free_port().to_string());
    let admin = site.cluster.kubeconfig().display().to_string();
    let local = ["install", "--role", "local", "--addr", &addr, "--login", &account, "--kubeconfig", &admin];
    let mut first = local.to_vec();
    // both ends are one machine, and share its directory of sockets
    first.extend(["--kubelet-port", &kubelet_port, "--account", &account]);
    ctl(machine, &first).await.has(0, &["done: "]);
    let key = public_key(machine).await;
    let mut good = unseen.clone();
    good.extend(["--jobs", &jobs, "--public-key", &key]);
    ctl(machine, &good).await.has(0, &["done: "]);
    answers(machine).await;
    ready(&site.cluster).await;

    kubectl.apply(&pods::pod("short", &["/bin/sh", "-c", "echo here"], true).to_string()).await;
    pods::in_phase(kubectl, "short", &["Succeeded"], SOON).await;
    assert_eq!(kubectl.ok(["logs", "short"]).await, "here\n");
    kubectl.apply(&pods::pod("long", &["sleep", "3600"], true).to_string()).await;
    let running = pods::in_phase(kubectl, "long", &["Running"], SOON).await;

    // an upgrade: other bytes of each program, one restart each, and the pod goes on
    let upgrade = "mkdir /srv/newer && cp /srv/interlink/* /srv/newer/ 2>/dev/null; \
                   for p in ssh-tunnel interlink virtual-kubelet interlink-plugin; do echo >> /srv/newer/$p; done";
    machine.run(["sh", "-c", upgrade]).await;
    ctl(machine, &["install", "--role", "remote", "--bin-dir", "/srv/newer"])
        .await
        .has(0, &["changed   file /opt/interlink-plugin/bin/plugin", "changed   service interlink-remote-plugin"]);
    ctl(machine, &["install", "--role", "local", "--bin-dir", "/srv/newer", "--kubeconfig", &admin])
        .await
        .has(0, &["changed   service interlink-tunnel", "changed   service interlink-virtual-kubelet"]);
    answers(machine).await;
    let after = pods::in_phase(kubectl, "long", &["Running"], SOON).await;
    assert_eq!(after["status"]["containerStatuses"], running["status"]["containerStatuses"]);

    let refused = ctl(machine, &["uninstall", "--role", "local", "--kubeconfig", &admin]).await;
    refused.has(78, &["1 pod runs (default/long)", "--drain", "--abandon"]);
    let refused = ctl(machine, &["uninstall", "--role", "remote"]).await;
    refused.has(78, &["1 pod runs (default-", "--drain", "--abandon"]);
    ctl(machine, &["uninstall", "--role", "local", "--kubeconfig", &admin, "--drain"]).await.has(0, &["done: "]);
    pods::gone(kubectl, "long", SOON).await;
    ctl(machine, &["uninstall", "--role", "remote"]).await.has(0, &["done: "]);
    assert!(hpcuser().home.is_dir() && machine.output(["id", &account]).await.status.success());
    assert_eq!(changes(&before, &everything(machine).await), [""; 0]);

    // left to itself, a job goes on to its end; what it needs stays so long
    ctl(machine, &first).await.has(0, &["done: "]);
    let key = public_key(machine).await;
    good.truncate(good.len() - 1);
    good.push(&key);
    ctl(machine, &good).await.has(0, &["done: "]);
    ready(&site.cluster).await;
    let go = site.shared.join("go");
    let script = format!("until [ -e {} ]; do sleep 0.2; done; echo there", go.display());
    kubectl.apply(&pods::pod("left", &["/bin/sh", "-c", &script], true).to_string()).await;
    let left = pods::in_phase(kubectl, "left", &["Running"], SOON).await;
    let job = site.shared.join(format!("jobs/default-{}", left["metadata"]["uid"].as_str().unwrap()));
    let nowhere = ["uninstall", "--role", "local", "--kubeconfig", "/nonexistent"];
    ctl(machine, &nowhere).await.has(78, &["whether pods run on the node interlink-node can't be told", "--abandon"]);
    ctl(machine, &["uninstall", "--role", "local", "--kubeconfig", &admin, "--abandon"]).await.has(0, &["done: "]);
    assert!(!kubectl.run(["get", "node", "interlink-node"]).await.status.success());
    let said = ctl(machine, &["uninstall", "--role", "remote", "--abandon"]).await;
    said.has(0, &["stay for the jobs that go on: run this again when they have ended"]);
    assert_eq!(machine.show("interlink-remote-plugin", "LoadState").await, "not-found");
    ctl(machine, &["uninstall", "--role", "remote"]).await.has(78, &["1 pod runs (default-"]);
    std::fs::write(&go, "").unwrap();
    ctl(machine, &["uninstall", "--role", "remote", "--drain", "--abandon"]).await.has(2, &["--abandon"]);
    wait::until("the job to end", SOON, async || {
        let state = std::fs::read_to_string(job.join("state.json")).unwrap_or_default();
        if state.contains("\"finished\":true") { Ok(()) } else { Err(state) }
    })
    .await;
    assert_eq!(std::fs::read_to_string(job.join("run-test.out")).unwrap(), "there\n");
    ctl(machine, &["uninstall", "--role", "remote"]).await.has(0, &["done: the remote end is gone"]);
    assert_eq!(changes(&before, &everything(machine).await), [""; 0]);
}

/// Lets the operator, who is root here, log in as those.
async fn operator(machine: &Machine, accounts: &[&str]) {
    machine.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/operator"]).await;
    let key = machine.run(["cat", "/etc/ssh/operator.pub"]).await;
    let config = "IdentityFile /etc/ssh/operator\nIdentitiesOnly yes\nStrictHostKeyChecking accept-new\n";
    machine.write("/root/.ssh/config", config, 0o600);
    for account in accounts {
        let home = machine.run(["getent", "passwd", account]).await;
        let home = home.split(':').nth(5).unwrap().to_owned();
        machine.write(format!("{home}/.ssh/authorized_keys"), &key, 0o600);
        machine.run(["chown", "-R", &format!("{account}:"), &format!("{home}/.ssh")]).await;
        machine.run(["chmod", "700", &format!("{home}/.ssh")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_end_is_installed_from_here_with_root_there_or_without() {
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let port = ports::free_port();
    let kubeconfig = cluster.kubeconfig().parent().unwrap().to_owned();
    let binds = vec![(kubeconfig.clone(), kubeconfig)];
    let machine = machine(systemd::Options { binds, ..systemd::Options::default() }, port).await;
    let machine = &machine;
    machine.run(["useradd", "-m", "-p", "*", "-s", "/bin/bash", "me"]).await;
    operator(machine, &["root", "me"]).await;
    let (admin, kubelet_port) = (cluster.kubeconfig().display().to_string(), ports::free_port().to_string());
    let common =
        ["install", "--role", "local", "--kubeconfig", &admin, "--kubelet-port", &kubelet_port, "--scheduler", "local"];
    let both = |target: &str, more: &[&str]| {
        let remote = ["--remote", target];
        let words = common.iter().chain(&remote).chain(more).map(|word| (*word).to_owned());
        words.collect::<Vec<String>>()
    };
    let run = async |args: Vec<String>| ctl(machine, &args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let root = format!("root@127.0.0.1:{port}");

    let before = everything(machine).await;
    run(both(&root, &["--dry-run"])).await.has(0, &["at 127.0.0.1:", "here:", "a dry run: "]);
    assert_eq!(changes(&before, &everything(machine).await), [""; 0]);
    run(both(&root, &[])).await.has(0, &["the tunnel's key in", "done: both ends are installed"]);
    answers(machine).await;
    let said = run(both(&root, &[])).await.has(0, &[]);
    assert_eq!(said.text.matches("nothing to do: all ").count(), 3, "asked, here, there: {}", said.text);
    assert_eq!(machine.run(["sh", "-c", "ls -d /tmp/interlink-* 2>/dev/null | wc -l"]).await.trim(), "0");
    ctl(machine, &["uninstall", "--role", "remote"]).await.has(0, &["done: "]);

    // by somebody who is not root there: sudo asks, there is none, it asks nothing
    let mine = format!("me@127.0.0.1:{port}");
    let before = everything(machine).await;
    let said = run(both(&mine, &[])).await;
    said.has(78, &["me needs a password for sudo at 127.0.0.1", "NOPASSWD", "--remote-unprivileged"]);
    machine.run(["mv", "/usr/bin/sudo", "/usr/bin/no-sudo"]).await;
    run(both(&mine, &[]))
        .await
        .has(78, &["me is not root at 127.0.0.1, and there is no sudo", "--remote root@127.0.0.1"]);
    machine.run(["mv", "/usr/bin/no-sudo", "/usr/bin/sudo"]).await;
    assert_eq!(changes(&before, &everything(machine).await), [""; 0]);
    machine.write("/etc/sudoers.d/me", "me ALL=(ALL) NOPASSWD: ALL\n", 0o440);
    run(both(&mine, &[])).await.has(0, &["the tunnel's key in", "done: both ends are installed"]);
    answers(machine).await;
    ctl(machine, &["uninstall", "--role", "remote"]).await.has(0, &["done: "]);
    assert_eq!(machine.run(["sh", "-c", "ls -d /tmp/interlink-* 2>/dev/null | wc -l"]).await.trim(), "0");
    machine.run(["rm", "/etc/sudoers.d/me"]).await;

    // a user of the login node, with a service manager of her own
    machine.systemctl(["start", "dbus", "systemd-logind"]).await;
    machine.run(["loginctl", "enable-linger", "me"]).await;
    let uid = machine.run(["id", "-u", "me"]).await.trim().to_owned();
    machine.shows(&format!("user@{uid}.service"), "ActiveState", "active", SOON).await;
    run(both(&mine, &["--remote-unprivileged"]))
        .await
        .has(0, &["service interlink-remote-plugin.service", "done: both ends"]);
    answers(machine).await;
    let plugin = machine.run(["ps", "-o", "user=", "-C", "plugin"]).await;
    // the service, and what sshd runs for the tunnel
    assert!(plugin.lines().count() > 0 && plugin.lines().all(|user| user == "me"), "{plugin}");
    let as_me = async |args: &[&str]| {
        let words = ["runuser", "-u", "me", "--", CTL].into_iter().chain(args.iter().copied());
        Said::from(machine.output(words).await)
    };
    as_me(&["install", "--role", "remote", "--user"]).await.has(0, &["nothing to do: all "]);
    as_me(&["uninstall", "--role", "remote", "--user"]).await.has(0, &["done: the remote end is gone"]);

    // and without one
    machine.run(["loginctl", "disable-linger", "me"]).await;
    machine.shows(&format!("user@{uid}.service"), "ActiveState", "inactive", SOON).await;
    let said = run(both(&mine, &["--remote-unprivileged"])).await;
    said.has(0, &["background process of /home/me/.local/share/interlink-plugin", "@reboot", "done: both ends"]);
    answers(machine).await;
    let before = machine.run(["pidof", "plugin"]).await;
    machine.run(["kill", "-9"].into_iter().chain(before.split_whitespace())).await;
    answers(machine).await;
    as_me(&["install", "--role", "remote", "--user"]).await.has(0, &["nothing to do: all "]);
    as_me(&["uninstall", "--role", "remote", "--user"]).await.has(0, &["removed   background process", "done: "]);
    // sshd's own process for a session may go on until the tunnel, which is refused now, has noticed
    wait::until("nothing of hers to run", SOON, async || {
        let left = String::from_utf8_lossy(&machine.output(["pgrep", "-u", "me", "-a"]).await.stdout).into_owned();
        if left.lines().all(|line| line.contains("sshd")) { Ok(()) } else { Err(left) }
    })
    .await;
    let keys = std::fs::read_to_string(machine.path("/home/me/.ssh/authorized_keys")).unwrap();
    assert!(!keys.contains("interlink-tunnel") && keys.lines().count() == 1, "{keys}");
    let left = machine.run(["find", "/home/me", "-path", "*interlink*"]).await;
    assert_eq!(left, "");
}
