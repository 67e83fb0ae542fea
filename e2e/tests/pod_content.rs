//! What a pod brings along, on real Kubernetes and Slurm: ConfigMaps, Secrets, variables, init containers, a container
//! image; and what is said where something of it is missing.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use interlink_e2e::{Link, Node, Site, pods, site};
use interlink_testkit::dirs::TestDir;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

/// A root file system of busybox alone, as a directory that apptainer takes for an image.
fn busybox_image(path: &Path) {
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev", "usr", "var", "root", "home", "mnt"] {
        std::fs::create_dir_all(path.join(folder)).unwrap();
    }
    std::fs::copy("/bin/busybox", path.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "echo", "sleep", "true", "ls"] {
        std::os::unix::fs::symlink("busybox", path.join("bin").join(applet)).unwrap();
    }
    std::fs::write(path.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    for file in ["group", "hosts", "resolv.conf"] {
        std::fs::write(path.join("etc").join(file), "").unwrap();
    }
}

/// Runs the same pod under one runtime.
async fn bring_everything(plugin_lines: &str) {
    let site = Site::start(site::Options { plugin_lines: plugin_lines.to_owned(), ..site::Options::default() }).await;
    let link = Link::start(&site).await;
    let cluster = Node::start(&link).await;
    let kubectl = cluster.kubectl();
    let mut pod = pods::pod(
        "whole",
        &["/bin/sh", "-c", "cat /etc/conf/greeting /etc/hidden/word /shared/left; echo $NAME; echo \"$ODD\"; exit 5"],
        true,
    );
    pod["spec"]["volumes"] = json!([
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "hidden", "secret": {"secretName": "hidden"}},
        {"name": "shared", "emptyDir": {}},
    ]);
    let odd = "a 'b' \"c\" $d `e`\nsecond line";
    pod["spec"]["containers"][0]["env"] = json!([
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ODD", "value": odd},
    ]);
    let mounts = json!([
        {"name": "conf", "mountPath": "/etc/conf"},
        {"name": "hidden", "mountPath": "/etc/hidden", "readOnly": true},
        {"name": "shared", "mountPath": "/shared"},
    ]);
    pod["spec"]["containers"][0]["volumeMounts"] = mounts.clone();
    pod["spec"]["initContainers"] = json!([
        {"name": "first", "image": "busybox", "command": ["/bin/sh", "-c", "echo first; echo left behind > /shared/left"], "volumeMounts": mounts},
    ]);
    kubectl.apply(&pod.to_string()).await;

    // Without its ConfigMap the pod waits, and says for what; nothing was submitted.
    let said = pods::event(kubectl, "whole", "conf", SOON).await;
    assert!(said.contains("ConfigMap"), "{said}");
    let waiting = pods::get(kubectl, "whole").await;
    assert_eq!(waiting["status"]["phase"], "Pending");
    let state = &waiting["status"]["containerStatuses"][0]["state"]["waiting"];
    assert!(state["message"].as_str().unwrap_or_default().contains("conf"), "{}", waiting["status"]);
    assert!(site.slurm.submitted().await.is_empty());

    // Once it is there, the pod runs by itself.
    for object in [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"greeting": "hello\n"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"}, "stringData": {"word": "swordfish\n"}}),
    ] {
        kubectl.apply(&object.to_string()).await;
    }
    let ended = pods::in_phase(kubectl, "whole", &["Failed"], Duration::from_secs(120)).await;
    let status = &ended["status"];
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 5, "{status}");
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0, "{status}");
    assert_eq!(kubectl.ok(["logs", "whole"]).await, format!("hello\nswordfish\nleft behind\nwhole\n{odd}\n"));
    assert_eq!(kubectl.ok(["logs", "whole", "-c", "first"]).await, "first\n");
    assert_eq!(site.slurm.submitted().await.len(), 1);
    for log in [cluster.kubelet.log(), link.api.log(), link.tunnel.log(), site.plugin.log()] {
        assert!(!log.contains("swordfish"), "a secret in a log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_volumes_on_the_node_itself() {
    bring_everything("ContainerRuntime: host\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_volumes_in_an_apptainer_image() {
    let images = TestDir::new();
    busybox_image(&images.join("busybox"));
    bring_everything(&format!("ContainerRuntime: apptainer\nImagePrefix: {}/\n", images.path().display())).await;
}
