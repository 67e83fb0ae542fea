//! Another unprivileged user of the machine: reaches no socket, reads no pod's words, no key and no kubeconfig, stops
//! nothing, and can't stand in for anybody. (What the tunnel's keys open is in `units_keys`.)
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use interlink_e2e::deployed::{Deployed, Form, Options, UNITS};
use interlink_testkit::wait;

const SOON: Duration = Duration::from_secs(60);
const WORD: &str = "a-word-of-the-pod";

const MANIFEST: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {word: a-word-of-the-pod}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  restartPolicy: Never
  volumes: [{name: v, secret: {secretName: s}}]
  containers:
  - name: c
    image: none
    command: [/bin/sh, -c, 'echo $WORD; exec sleep 1000']
    env: [{name: WORD, valueFrom: {secretKeyRef: {name: s, key: word}}}]
    volumeMounts: [{name: v, mountPath: /mnt/v}]
";

/// What the intruder's command prints, and whether it says that it succeeded.
async fn tries(deployed: &Deployed, command: &str) -> (bool, String) {
    let output = deployed.machine.output(["runuser", "-u", "mallory", "--", "sh", "-c", command]).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

async fn lines(deployed: &Deployed, command: &str) -> Vec<String> {
    let printed = deployed.machine.run(["sh", "-c", command]).await;
    printed.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_of_the_machine_finds_every_door_closed() {
    let deployed = Deployed::new(Options::alone(Form::Rport)).await;
    let machine = &deployed.machine;
    machine.run(["useradd", "-m", "mallory"]).await;
    machine.write("/opt/interlink/.kube/config", "token: a-word-of-the-cluster\n", 0o600);
    machine.run(["chown", "-R", "interlink:", "/opt/interlink/.kube"]).await;
    machine.run(["chmod", "700", "/opt/interlink/.kube"]).await;
    let config = "/opt/interlink-plugin/config/plugin-config.yaml";
    let lines_of_it = machine.run(["cat", config]).await;
    machine.write(config, format!("{lines_of_it}ContainerRuntime: host\n"), 0o644);
    machine.systemctl(["start", "interlink-local-pod.socket"]).await;
    for unit in &UNITS[1..] {
        machine.systemctl(["start", unit]).await;
    }
    deployed.answers().await;
    machine.write("/root/pod.yaml", MANIFEST, 0o600);
    let run =
        "/opt/interlink/bin/interlinkctl run -f /root/pod.yaml --api unix:///run/interlink/api.sock > /root/out 2>&1";
    machine.run(["systemd-run", "--unit=client", "-q", "sh", "-c", run]).await;
    wait::until("the pod's words in its log", SOON, async || {
        let said = String::from_utf8_lossy(&machine.output(["cat", "/root/out"]).await.stdout).into_owned();
        if said.contains(WORD) { Ok(()) } else { Err(said) }
    })
    .await;

    // Every socket that any of the programs listens on, whatever it is for.
    let sockets = lines(&deployed, "find /run/interlink* /opt/interlink* -type s").await;
    assert!(sockets.len() >= 5, "{sockets:?}");
    for socket in &sockets {
        let (_, said) = tries(&deployed, &format!("curl -sS -m 5 --unix-socket {socket} http://x/status")).await;
        assert!(said.contains("Permission denied") || said.contains("Couldn't connect"), "{socket}: {said}");
        assert!(!said.contains('{') && !said.contains('['), "{socket}: {said}");
    }
    // The plugin's port can be connected to by everybody here; nobody else is answered.
    let port = "http://127.0.0.1:4000";
    let answered = machine.run(["curl", "-sS", "-m", "5", "-w", " %{http_code}", &format!("{port}/status")]).await;
    assert!(answered.ends_with(" 200"), "{answered}");
    for call in ["/status", "/pods", "/pinglink -X POST", "/delete -X POST -d {}", "/create -X POST -d []"] {
        let (_, said) = tries(&deployed, &format!("curl -sS -m 5 -w ' %{{http_code}}' {port}{call}")).await;
        assert!(said.ends_with(" 000") || said.ends_with(" 403"), "{call}: {said}");
    }

    // No file of the account, of a pod or of a key; and nothing can be put in the place of one.
    for folder in ["/opt/interlink-plugin/jobs", "/opt/interlink/.ssh", "/opt/interlink/.kube"] {
        let files = lines(&deployed, &format!("find {folder} -type f ! -name '*.pub'")).await;
        assert!(!files.is_empty(), "{folder}");
        for file in files {
            let (done, said) = tries(&deployed, &format!("cat '{file}'")).await;
            assert!(!done && said.contains("Permission denied"), "{file}: {said}");
        }
        let (done, said) = tries(&deployed, &format!("ls {folder}")).await;
        assert!(!done, "{said}");
    }
    for folder in lines(&deployed, "find /opt/interlink /opt/interlink-plugin /run/interlink* -type d").await {
        let (done, said) = tries(&deployed, &format!("touch '{folder}/planted'")).await;
        assert!(!done, "{folder}: {said}");
    }

    // Neither the arguments nor the environment of a process has the pod's words; and none can be stopped.
    let (_, seen) =
        tries(&deployed, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2> /dev/null | tr '\\0' '\\n'").await;
    assert!(seen.contains("interlink-plugin"), "the programs are seen: {seen}");
    assert!(!seen.contains(WORD) && !seen.contains("a-word-of-the-cluster"), "{seen}");
    for process in lines(&deployed, "pgrep -u interlink").await {
        let (done, said) = tries(&deployed, &format!("kill {process}")).await;
        assert!(!done && said.to_lowercase().contains("not permitted"), "{process}: {said}");
    }
    machine.systemctl(["stop", "client"]).await;
}
