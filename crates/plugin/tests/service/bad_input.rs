//! What is wrong is said in one sentence, and the process lives on.

use http::Method;
use interlink_testkit::process::Launch;
use serde_json::json;

use crate::support::{PATIENCE, Plugin, container, pod, pod_of};

#[tokio::test]
async fn every_path_answers_nonsense_with_a_sentence() {
    let plugin = Plugin::start("Scheduler: local").await;
    for path in ["/create", "/delete", "/status", "/getLogs"] {
        for body in ["{", "\u{0}", "[1,2]", "\"x\"", "{\"pod\": 7}"] {
            if path == "/status" && body.starts_with("{\"") {
                continue;
            }
            let said = plugin.call(Method::POST, path, body).await;
            assert_eq!(said.code, 400, "{path} {body}: {said:?}");
            assert!(said.body.lines().count() == 1 && said.body.len() > 10, "{path} {body}: {said:?}");
            assert!(said.headers["interlink-error"].starts_with("hop=plugin;code=invalid;retry=no"), "{said:?}");
            assert!(said.headers["interlink-version"].starts_with("interlink-plugin/"), "{said:?}");
        }
    }
    assert_eq!(plugin.call(Method::GET, "/nothing", "").await.code, 404);
    // A ping has many faces.
    for body in ["", "[]", "null", " "] {
        let said = plugin.call(Method::GET, "/status", body).await.json();
        assert_eq!(said["status"], "ok", "{body:?}");
        assert_eq!(said["capabilities"], json!(["idempotentCreate", "podList"]));
    }
    // What is not known is left out, deleted already, or not found.
    let stranger = pod("true");
    assert_eq!(plugin.call(Method::GET, "/status", &stranger).await.json(), json!([]));
    assert_eq!(plugin.delete(&stranger).await.code, 200);
    let logs = json!({"Namespace": "ns", "PodUID": stranger["metadata"]["uid"], "ContainerName": "c", "Opts": {}});
    assert_eq!(plugin.call(Method::GET, "/getLogs", logs).await.code, 404);
}

#[tokio::test]
async fn a_pod_that_cannot_be_run_here_is_refused_and_leaves_nothing() {
    let plugin = Plugin::start("Scheduler: local").await;
    let with_volume = |volume: serde_json::Value| {
        let mut main = container("c", "true");
        main["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        pod_of(json!({"containers": [main], "volumes": [volume]}))
    };
    let mut scripted = pod("true");
    scripted["metadata"]["annotations"]["slurm-job.vk.io/pre-exec"] = json!("id");
    let mut traveller = pod("true");
    traveller["metadata"]["namespace"] = json!("../../tmp");
    let cases = [
        (with_volume(json!({"name": "v", "configMap": {"name": "settings"}})), 400, "ConfigMap \"settings\""),
        (with_volume(json!({"name": "v", "persistentVolumeClaim": {"claimName": "x"}})), 400, "persistentVolumeClaim"),
        (with_volume(json!({"name": "v", "hostPath": {"path": "/etc"}})), 403, "HostPaths"),
        (scripted, 403, "PodScripts: allow"),
        (traveller, 400, "metadata.namespace"),
    ];
    for (pod, code, said) in cases {
        let answer = plugin.create(&pod, json!({})).await;
        assert_eq!(answer.code, code, "{answer:?}");
        assert!(answer.body.contains(said), "{answer:?}");
        assert!(plugin.status(&pod).await.is_none());
    }
    let left = std::fs::read_dir(plugin.data())
        .unwrap()
        .flatten()
        .filter(|e| !e.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_wrong_configuration_ends_with_78_and_names_the_key() {
    let dir = interlink_testkit::dirs::TestDir::new();
    let cases = [
        ("Scheduler: pbs", "Scheduler must be local or slurm"),
        ("SidecarPort: [1]", "SidecarPort"),
        ("Socket: /no/scheme", "Socket must begin with unix://"),
        ("a: b: c", "line 1"),
        ("DataRootFolder: /proc/none\nScheduler: local", "/proc/none"),
    ];
    for (text, said) in cases {
        let file = dir.write("c.yaml", text);
        let log = dir.join("log");
        let _ = std::fs::remove_file(&log);
        let launch = Launch::new(env!("CARGO_BIN_EXE_interlink-plugin"), &log).arg("-SlurmConfigpath").arg(&file);
        let daemon = launch.env("RUNTIME_DIRECTORY", dir.path()).start();
        assert_eq!(daemon.exited(PATIENCE).await.code(), Some(78), "{text}: {}", daemon.log());
        assert!(daemon.log().contains(said), "{text}: {}", daemon.log());
    }
}

#[tokio::test]
async fn a_second_plugin_on_the_same_jobs_is_refused_by_name() {
    let first = Plugin::start("Scheduler: local").await;
    let text = format!(
        "Socket: unix://{}/other.sock\nScheduler: local\nDataRootFolder: {}",
        first.dir().path().display(),
        first.data().display()
    );
    let file = first.dir().write("second.yaml", text);
    let launch = Launch::new(env!("CARGO_BIN_EXE_interlink-plugin"), first.dir().join("second.log"));
    let second = launch.arg("-SlurmConfigpath").arg(&file).env("RUNTIME_DIRECTORY", first.dir().path()).start();
    assert_eq!(second.exited(PATIENCE).await.code(), Some(78));
    assert!(second.log().contains("another interlink-plugin"), "{}", second.log());
}
