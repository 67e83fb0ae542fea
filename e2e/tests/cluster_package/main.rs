//! What is delivered for clusters, in operation: the container files are built, the chart and the kustomize base are
//! installed in a real cluster, and their pod runs as the cluster has it, with just the rights that it is given.
#![allow(clippy::unwrap_used, clippy::panic)]

mod worker;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use interlink_e2e::node::NODE;
use interlink_e2e::{Site, pods, site};
use interlink_testkit::binaries::{self, workspace};
use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::{self, ControlPlane};
use interlink_testkit::sshd::KeyType;
use interlink_testkit::wait;
use serde_json::{Value, json};

use worker::RunningPod;
use worker::images::Images;

const SOON: Duration = Duration::from_secs(60);
/// Where chart and base are installed.
const NAMESPACE: &str = "interlink";
/// The site's SSH server, as the pod knows it.
const LOGIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 22);
/// What the pod of a cluster runs.
const PROGRAMS: [&str; 3] = ["virtual-kubelet", "interlink", "ssh-tunnel"];

fn packaging() -> PathBuf {
    workspace().join("packaging").canonicalize().unwrap()
}

/// The name that chart and base give a program's image.
fn image(program: &str) -> String {
    format!("localhost/interlink/{program}:{}", env!("CARGO_PKG_VERSION"))
}

fn good(output: Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout.into_owned()
}

fn helm(dir: &TestDir) -> Command {
    let tool = good(Command::new(workspace().join("scripts/tool")).arg("helm").output().unwrap());
    let mut command = Command::new(tool.lines().last().unwrap());
    command.env("HOME", dir.path()).env_remove("KUBECONFIG");
    command
}

#[test]
fn each_container_file_makes_an_image_whose_program_starts() {
    let programs = ["virtual-kubelet", "interlink", "ssh-tunnel", "interlink-plugin", "interlinkctl"];
    let images = Images::build(&packaging().join("containers"), &programs, image);
    for program in programs {
        let said = images.run(&image(program), "--version");
        assert_eq!(said, format!("{program} {}", env!("CARGO_PKG_VERSION")));
    }
}

/// Values as they are written for the existing chart, and what comes of them: lines of the objects, or the word that it can't be.
const WRITTEN: [(&str, Result<&[&str], &str>); 9] = [
    (
        "interlink.enabled=true,interlink.socket=unix:///var/run/interlink.sock,plugin.enabled=true,plugin.image=x/plugin,\
         plugin.socket=unix:///var/run/plugin.sock",
        // one volume, at the place that each program expects
        Ok(&[
            "InterlinkURL: \"unix:///run/interlink/interlink.sock\"",
            "InterlinkAddress: \"unix:///run/interlink/interlink.sock\"",
            "SidecarURL: \"unix:///run/interlink/plugin.sock\"",
            "mountPath: /var/run",
            "runAsNonRoot: true",
        ]),
    ),
    (
        "interlink.address=http://edge,interlink.port=30443",
        Ok(&["InterlinkURL: \"http://edge\"", "InterlinkPort: \"30443\""]),
    ),
    (
        "interlink.enabled=true,interlink.pluginEndpoint.url=http://plugin,interlink.pluginEndpoint.port=4000",
        Ok(&["SidecarURL: \"http://plugin\"", "SidecarPort: \"4000\""]),
    ),
    (
        "interlink.enabled=true,tunnel.enabled=true,tunnel.addr=login:22,plugin.socket=/var/run/slurm.sock",
        Ok(&["SidecarURL: \"unix:///run/interlink/slurm.sock\"", "- \"/run/interlink/slurm.sock\""]),
    ),
    // a socket lets in the account that made it
    (
        "interlink.enabled=true,plugin.enabled=true,plugin.privileged=true,plugin.socket=p",
        Ok(&["runAsUser: 0", "privileged: true"]),
    ),
    (
        "plugin.socket=null,interlink.tracing.enabled=true,virtualNode.HTTP.insecure=false",
        Ok(&["NodeName: \"virtual-node\""]),
    ),
    ("virtualNode.HTTPProxies.HTTPs=http://proxy", Err("virtualNode.HTTPProxies is not served")),
    ("interlink.address=https://edge", Err("use the tunnel")),
    ("virtualNode.JobScriptBuilderURL=https://x", Err("the plugin makes the job script")),
];

#[test]
fn values_of_the_existing_chart_mean_the_same_or_are_refused_in_words() {
    let dir = TestDir::new();
    for (values, expected) in WRITTEN {
        let mut render = helm(&dir);
        render.arg("template").arg("x").arg(packaging().join("helm/interlink")).args(["--kube-version", "1.33.0"]);
        let output = render.args(["--set", values]).output().unwrap();
        match expected {
            Ok(lines) => {
                let rendered = good(output);
                let has = |wanted: &str| {
                    rendered.lines().any(|line| line.trim() == wanted || line.trim() == format!("- {wanted}"))
                };
                for line in lines {
                    assert!(has(line), "{values}: no line {line:?} in\n{rendered}");
                }
            }
            Err(words) => {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(!output.status.success() && said.contains(words), "{values}: {said}");
            }
        }
    }
}

/// A site, a cluster with an ordinary node, and images: what a chart is installed into.
struct Stage {
    images: Images,
    cluster: ControlPlane,
    site: Site,
    dir: TestDir,
}

impl Stage {
    async fn start() -> Self {
        let images = Images::build(&packaging().join("containers"), &PROGRAMS, image);
        let site = Site::start(site::Options::default()).await;
        let cluster = ControlPlane::start(kubernetes::Options::default()).await;
        Self { images, cluster, site, dir: TestDir::new() }
    }

    /// The Secret that the book has an operator make, and the line in `authorized_keys` that belongs to it.
    async fn tunnel_secret(&self) {
        let (site, kubectl) = (&self.site, self.cluster.kubectl());
        let key = site.sshd.key_pair("in-cluster", KeyType::Ed25519);
        let plugin = binaries::path("interlink-plugin");
        let config = site.dir.join("plugin.yaml");
        let command = format!("{} -SlurmConfigpath={} dial-stdio", plugin.display(), config.display());
        site.sshd.authorize(&site.user.name, &format!("restrict,command=\"{command}\""), &key);
        // as ssh-keyscan prints it, which was told the name that the pod uses
        let hosts = site.sshd.known_hosts();
        let hosts: Vec<String> = hosts
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(_, key)| format!("{} {key}\n", LOGIN.ip()))
            .collect();
        let hosts = self.dir.write("host_key", hosts.concat());
        let key = format!("--from-file=id_ed25519={}", key.private().display());
        let hosts = format!("--from-file=host_key={}", hosts.display());
        kubectl.ok(["create", "secret", "generic", "interlink-tunnel", "-n", NAMESPACE, &key, &hosts]).await;
    }

    async fn pod(&self) -> RunningPod {
        let sshd: SocketAddr = (self.site.sshd.address(), self.site.sshd.port()).into();
        RunningPod::start(&self.cluster, NAMESPACE, &self.images, &[(LOGIN, sshd)]).await
    }

    async fn node_is_ready(&self, pod: &RunningPod) {
        wait::until("the virtual node to be Ready", SOON, async || {
            let output = self.cluster.kubectl().run(["get", "node", NODE, "-o", "json"]).await;
            let node: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is = |kind: &str, status: &str| conditions.iter().any(|c| c["type"] == kind && c["status"] == status);
            if is("Ready", "True") && is("NetworkUnavailable", "False") {
                return Ok(());
            }
            let logs = pod.containers.iter().map(|(name, daemon)| format!("\n{name}: {}", daemon.log_tail(4)));
            Err(format!("{}{}", Value::from(conditions), logs.collect::<String>()))
        })
        .await;
    }

    /// A pod that needs most of what a virtual kubelet may do: what it reads, its token, its log, its end.
    async fn a_pod_runs(&self) {
        let kubectl = self.cluster.kubectl();
        kubectl.ok(["create", "configmap", "greeting", "--from-literal=word=hello"]).await;
        kubectl.ok(["create", "secret", "generic", "hidden", "--from-literal=word=secret"]).await;
        let script = "cat /greeting/word; echo; test \"$WORD\" = secret && echo known; \
             test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo token";
        let mut pod = pods::pod("packaged", &["/bin/sh", "-c", script], true);
        pod["spec"]["containers"][0]["env"] =
            json!([{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "word"}}}]);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "greeting", "mountPath": "/greeting"}]);
        pod["spec"]["volumes"] = json!([{"name": "greeting", "configMap": {"name": "greeting"}}]);
        kubectl.apply(&pod.to_string()).await;
        kubectl.apply(&pods::pod("intolerant", &["true"], false).to_string()).await;
        pods::in_phase(kubectl, "packaged", &["Succeeded"], SOON).await;
        assert_eq!(kubectl.ok(["logs", "packaged"]).await, "hello\nknown\ntoken\n");
        kubectl.apply(&pods::pod("ended", &["sleep", "3600"], true).to_string()).await;
        pods::in_phase(kubectl, "ended", &["Running"], SOON).await;
        kubectl.ok(["delete", "pod", "ended", "--wait=false"]).await;
        pods::gone(kubectl, "ended", SOON).await;
        pods::event(kubectl, "intolerant", "virtual-node.interlink/no-schedule", SOON).await;
        for kind in ["pod/packaged", "pod/intolerant", "configmap/greeting", "secret/hidden"] {
            kubectl.ok(["delete", kind]).await;
        }
        pods::gone(kubectl, "packaged", SOON).await;
    }

    /// From the objects in the cluster to a pod that has run, and a virtual kubelet that was refused nothing. What `remove`
    /// takes away again leaves no trace of the node.
    async fn works(&self, remove: impl AsyncFnOnce()) -> Value {
        let kubectl = self.cluster.kubectl();
        let pod = self.pod().await;
        pod.ready().await;
        kubectl.ok(["rollout", "status", "deployment", "-n", NAMESPACE, "--timeout=60s"]).await;
        self.node_is_ready(&pod).await;
        self.a_pod_runs().await;
        let log = pod.log("vk");
        assert!(!log.to_lowercase().contains("forbidden"), "{log}");
        let role = kubectl.json(["get", "clusterrole", &format!("interlink-{NODE}")]).await;
        assert_eq!(kubectl.ok(["get", "lease", NODE, "-n", "kube-node-lease", "-o", "name"]).await.lines().count(), 1);

        remove().await;
        pod.end_when_told().await;
        for kind in ["node", "clusterrole", "clusterrolebinding", "lease"] {
            let name = if kind.starts_with("cluster") { format!("interlink-{NODE}") } else { NODE.to_owned() };
            wait::until(&format!("{kind} {name} to be gone"), SOON, async || {
                let args = ["get", kind, &name, "-n", "kube-node-lease", "-o", "name", "--ignore-not-found"];
                let left = kubectl.ok(args).await;
                if left.is_empty() { Ok(()) } else { Err(left) }
            })
            .await;
        }
        role["rules"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chart_and_base_run_pods_with_the_same_rights_and_nothing_else_and_leave_no_node() {
    let stage = Stage::start().await;
    let _worker = stage.cluster.healthy_node("worker").await;
    let kubectl = stage.cluster.kubectl();
    kubectl.ok(["create", "namespace", NAMESPACE]).await;
    stage.tunnel_secret().await;

    let (node, user) = (format!("nodeName={NODE}"), format!("tunnel.user={}", stage.site.user.name));
    let address = format!("tunnel.addr={LOGIN}");
    let mut install = helm(&stage.dir);
    install.args(["install", "my-hpc", packaging().join("helm/interlink").to_str().unwrap(), "-n", NAMESPACE]);
    for value in [&node, "interlink.enabled=true", "tunnel.enabled=true", &address, &user] {
        install.args(["--set", value]);
    }
    install.args(["--set", "interlink.logging.verboseLogging=true"]);
    good(install.env("KUBECONFIG", kubectl.kubeconfig()).output().unwrap());
    let of_chart = stage
        .works(async || {
            let mut uninstall = helm(&stage.dir);
            uninstall.args(["uninstall", "my-hpc", "-n", NAMESPACE]).env("KUBECONFIG", kubectl.kubeconfig());
            good(uninstall.output().unwrap());
        })
        .await;

    let overlay = overlay(&stage);
    let overlay = overlay.to_str().unwrap();
    kubectl.ok(["apply", "-k", overlay]).await;
    // it is the base's, too, and goes with it
    let namespace = kubectl.json(["get", "namespace", NAMESPACE]).await;
    assert!(namespace["metadata"]["annotations"].is_object(), "{namespace}");
    let of_base = stage.works(async || drop(kubectl.ok(["delete", "-k", overlay, "--wait=false"]).await)).await;
    assert_eq!(of_base, of_chart, "chart and base give different rights");
}

/// The base with the two words in it that are an operator's.
fn overlay(stage: &Stage) -> PathBuf {
    let copied =
        Command::new("cp").arg("-r").arg(packaging().join("kustomize/base")).arg(stage.dir.join("base")).output();
    good(copied.unwrap());
    let tunnel = 2;
    let patch = json!([
        {"op": "test", "path": format!("/spec/template/spec/containers/{tunnel}/args/0"), "value": "-addr"},
        {"op": "replace", "path": format!("/spec/template/spec/containers/{tunnel}/args/1"), "value": LOGIN.to_string()},
        {"op": "test", "path": format!("/spec/template/spec/containers/{tunnel}/args/2"), "value": "-user"},
        {"op": "replace", "path": format!("/spec/template/spec/containers/{tunnel}/args/3"), "value": stage.site.user.name},
    ]);
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": NAMESPACE,
        "resources": ["../base"],
        "patches": [{"target": {"kind": "Deployment"}, "patch": patch.to_string()}],
    });
    stage.dir.write("overlay/kustomization.yaml", kustomization.to_string()).parent().unwrap().to_owned()
}
