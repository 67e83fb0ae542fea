//! What is delivered for clusters: the chart and the kustomize base against a real API server, the container files, the
//! Debian package, and the programs in a root file system that has nothing for them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use interlink_testkit::binaries::{self, workspace};
use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::{self, ControlPlane};
use interlink_testkit::systemd::{self, Machine};

/// A tool of `scripts/tool`.
fn tool(name: &str) -> PathBuf {
    let output = Command::new(workspace().join("scripts/tool")).arg(name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).lines().last().unwrap())
}

fn packaging() -> PathBuf {
    workspace().join("packaging").canonicalize().unwrap()
}

fn helm(dir: &TestDir, args: &[&str]) -> Output {
    let mut command = Command::new(tool("helm"));
    command.env("HOME", dir.path()).env_remove("KUBECONFIG");
    command.args(args).output().unwrap()
}

fn good(output: Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout.into_owned()
}

/// Variants of the chart's values that must render and be accepted.
const VALUES: [&[&str]; 4] = [
    &[],
    &["interlink.enabled=true", "tunnel.enabled=true", "tunnel.addr=login.example.org:22", "nodeName=my-hpc"],
    &[
        "interlink.enabled=true",
        "interlink.socket=interlink.sock",
        "plugin.enabled=true",
        "plugin.socket=plugin.sock",
        "plugin.config=Scheduler: local",
        "plugin.privileged=true",
    ],
    &[
        "virtualNode.nodeLabels={accelerator=a100,site=x}",
        "virtualNode.nodeTaints[0].key=accelerator",
        "virtualNode.nodeTaints[0].value=a100",
        "virtualNode.nodeTaints[0].effect=NoSchedule",
        "virtualNode.resources.accelerators[0].resourceType=nvidia.com/gpu",
        "virtualNode.resources.accelerators[0].model=a100",
        "virtualNode.resources.accelerators[0].available=4",
        "podScheduling.nodeSelector.zone=a",
    ],
];

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_and_the_kustomize_base_are_accepted_by_a_real_api_server() {
    let dir = TestDir::new();
    let chart = packaging().join("helm/interlink");
    let chart = chart.to_str().unwrap();
    good(helm(&dir, &["lint", "--strict", chart]));

    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let kubectl = cluster.kubectl();
    kubectl.ok(["create", "namespace", "interlink"]).await;
    let accepted = async |manifests: &Path| {
        let file = manifests.to_str().unwrap();
        let said = kubectl.ok(["apply", "--dry-run=server", "-n", "interlink", "-f", file]).await;
        for kind in ["serviceaccount/", "clusterrole.", "clusterrolebinding.", "configmap/", "deployment.apps/"] {
            assert!(said.contains(kind), "{said}");
        }
    };
    for (number, values) in VALUES.into_iter().enumerate() {
        let mut args = vec!["template", "site", chart, "--namespace", "interlink", "--kube-version", "1.33.0"];
        for value in values {
            args.extend(["--set", *value]);
        }
        accepted(&dir.write(format!("chart-{number}.yaml"), good(helm(&dir, &args)))).await;
    }
    let base = packaging().join("kustomize/base");
    let rendered = kubectl.ok(["kustomize", base.to_str().unwrap()]).await;
    accepted(&dir.write("base.yaml", rendered)).await;
}

#[test]
fn the_chart_refuses_what_is_not_served_in_words() {
    let dir = TestDir::new();
    let chart = packaging().join("helm/interlink");
    for (value, words) in [
        ("OAUTH.enabled=true", "OAUTH.enabled is not served"),
        ("sshBastion.enabled=true", "set tunnel.enabled instead"),
        ("interlink.tls.enabled=true", "interlink.tls.enabled is not served"),
        ("virtualNode.network.enableTunnel=true", "are not served"),
        ("tunnel.enabled=true", "needs interlink.enabled"),
    ] {
        let args = ["template", "x", chart.to_str().unwrap(), "--kube-version", "1.33.0", "--set", value];
        let output = helm(&dir, &args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{value}: {said}");
    }
}

#[test]
fn the_container_files_have_nothing_to_complain_about() {
    let files = std::fs::read_dir(packaging().join("containers")).unwrap();
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 5, "one for each program: {files:?}");
    let output = Command::new(tool("hadolint")).args(&files).output().unwrap();
    assert_eq!(good(output), "");
}

#[test]
fn the_programs_start_where_there_is_a_c_library_and_nothing_else() {
    good(Command::new(workspace().join("scripts/roots")).arg("--bare").arg(programs()).output().unwrap());
}

/// The folder of the programs at hand: which those are makes no difference to the package's form.
fn programs() -> PathBuf {
    binaries::path("interlinkctl").parent().expect("a file is in a folder").to_owned()
}

/// Packs them into that directory.
fn debian_package(dir: &TestDir, lint: &str) -> PathBuf {
    let mut command = Command::new(workspace().join("scripts/release"));
    command.arg("--debian").arg(programs()).env("DIST", dir.path()).env("SOURCE_DATE_EPOCH", "1700000000");
    // packing them tightly takes longer than all else
    good(command.env("LINT", lint).env("DEB_LEVEL", "0").output().unwrap());
    let mut found = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.extension().is_some_and(|end| end == "deb")).unwrap()
}

#[test]
fn the_debian_package_is_clean_and_the_same_bytes_each_time() {
    let (first, second) = (TestDir::new(), TestDir::new());
    let packages =
        [(&first, "yes"), (&second, "no")].map(|(dir, lint)| std::fs::read(debian_package(dir, lint)).unwrap());
    assert!(packages[0] == packages[1], "two packages of the same programs differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_debian_packages_services_run_from_its_own_paths_and_go_with_it() {
    let dir = TestDir::new();
    let package = debian_package(&dir, "no");
    let binds = vec![(dir.path().to_owned(), PathBuf::from("/srv/release"))];
    let machine = Machine::start(systemd::Options { binds, ..systemd::Options::default() }).await;
    let package = Path::new("/srv/release").join(package.file_name().unwrap());
    machine.run(["dpkg", "--install", package.to_str().unwrap()]).await;
    // both ends on one machine need no tunnel
    machine.run(["sed", "-i", "s/^Scheduler: .*/Scheduler: local/", "/etc/interlink/plugin-config.yaml"]).await;
    machine.run(["sed", "-i", "s|/plugin.sock|/interlink-plugin.sock|", "/etc/interlink/InterLinkConfig.yaml"]).await;
    let services = ["interlink-local-pod.socket", "interlink-remote-plugin", "interlink-api"];
    machine.systemctl(["start"].into_iter().chain(services)).await;
    for service in services {
        assert_eq!(machine.show(service, "ActiveState").await, "active", "{}", machine.journal(service).await);
    }
    let curl = ["curl", "-sS", "--fail", "-m", "10", "-X", "POST", "--unix-socket"];
    machine.run(curl.into_iter().chain(["/run/interlink/api.sock", "http://interlink/pinglink"])).await;
    // what needs a person's word says which
    machine.output(["systemctl", "start", "interlink-virtual-kubelet"]).await;
    let said = machine.journal("interlink-virtual-kubelet").await;
    assert!(said.contains("/etc/interlink/kubeconfig"), "{said}");

    machine.systemctl(["stop"].into_iter().chain(services)).await;
    machine.run(["dpkg", "--purge", "interlink"]).await;
    let left = machine.run(["find", "/etc", "/usr", "-iname", "*interlink*"]).await;
    assert_eq!(left, "");
}
