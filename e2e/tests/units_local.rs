//! Pods of `Scheduler: local` below the plugin's unit: outside of its sandbox, and not ended with it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, Options, UNITS};
use interlink_testkit::wait;

const SOON: Duration = Duration::from_secs(60);
const PODS: &str = "interlink-local-pod.socket";

const MANIFEST: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: m}
data: {word: from-the-map}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  restartPolicy: Never
  volumes: [{name: v, configMap: {name: m}}]
  containers:
  - name: c
    image: none
    command: [/bin/sh, -c, \"cat /mnt/v/word /proc/self/cgroup; grep Seccomp: /proc/self/status; env; echo UMASK; \
while [ ! -e /root-of-test/go ]; do sleep 0.2; done; exit 7\"]
    volumeMounts: [{name: v, mountPath: /mnt/v}]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_the_machine_itself_has_a_unit_of_its_own_and_outlives_the_plugin() {
    let deployed = Deployed::new(Options::alone(Form::Rexec)).await;
    let machine = &deployed.machine;
    let config = "/opt/interlink-plugin/config/plugin-config.yaml";
    let lines = machine.run(["cat", config]).await;
    machine.write(config, format!("{lines}ContainerRuntime: host\n"), 0o644);
    machine.run(["install", "-d", "-m", "755", "/root-of-test"]).await;
    machine.write("/root/pod.yaml", MANIFEST, 0o600);
    for unit in &UNITS[1..] {
        machine.systemctl(["start", unit]).await;
    }
    deployed.answers().await;
    let run = "/opt/interlink/bin/interlinkctl run -f /root/pod.yaml --api unix:///run/interlink/api.sock; echo $? > /root/code";
    let client = format!("({run}) > /root/out 2>&1");
    machine.run(["systemd-run", "--unit=client", "-q", "sh", "-c", &client]).await;
    let says = async |words: &str| {
        wait::until(words, SOON, async || {
            let said = String::from_utf8_lossy(&machine.output(["cat", "/root/out"]).await.stdout).into_owned();
            if said.contains(words) { Ok(said) } else { Err(said) }
        })
        .await
    };
    // Until somebody who may start pods is there, none is, and the reason is where the user looks.
    let waiting = says("is interlink-local-pod.socket active?").await;
    assert!(!waiting.contains("from-the-map"), "{waiting}");

    machine.systemctl(["start", PODS]).await;
    let said = says("UMASK").await;
    assert!(said.contains("from-the-map") && said.contains("Seccomp:\t0"), "{said}");
    assert!(said.contains("interlink-local-pod@") && !said.contains("interlink-remote-plugin.service"), "{said}");
    for leaked in ["NOTIFY_SOCKET", "LISTEN_", "INVOCATION_ID", "JOURNAL_STREAM", "RUNTIME_DIRECTORY"] {
        assert!(!said.contains(leaked), "{leaked} in {said}");
    }

    machine.systemctl(["restart", UNITS[3]]).await;
    machine.systemctl(["stop", UNITS[3]]).await;
    machine.write("/root-of-test/go", "", 0o644);
    wait::until("the pod's own end, without the plugin", SOON, async || {
        let units = machine.systemctl(["list-units", "--plain", "--no-legend", "interlink-local-pod@*"]).await;
        if units.is_empty() { Ok(()) } else { Err(units) }
    })
    .await;
    machine.systemctl(["start", UNITS[3]]).await;
    machine.shows("client", "ActiveState", "inactive", SOON).await;
    assert_eq!(machine.run(["cat", "/root/code"]).await, "7\n", "{}", machine.run(["cat", "/root/out"]).await);
}
