//! With interlink-plugin and its local scheduler instead of a script.
#![allow(clippy::unwrap_used, clippy::panic)]

use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::{binaries, wait};
use serde_json::{Value, json};

use crate::peers::{Api, SOON, pod, uid};

const OWNER: [(&str, &str); 1] = [("interlink-owner", "local/test")];

fn start_plugin(dir: &TestDir) -> Daemon {
    let config = dir.write(
        "plugin.yaml",
        format!(
            "Socket: unix://{}\nDataRootFolder: {}\nScheduler: local\nContainerRuntime: host\n",
            Api::plugin_socket(dir).display(),
            dir.join("jobs").display()
        ),
    );
    Launch::new(binaries::path("interlink-plugin"), dir.join("plugin.log"))
        .arg("-SlurmConfigpath")
        .arg(config)
        .env("RUNTIME_DIRECTORY", dir.path())
        .start()
}

async fn answers(api: &Api, plugin: &Daemon) -> Value {
    wait::until("the plugin to answer", SOON, async || {
        let got = api.call("POST", "/pinglink", "").await;
        if got.status == 200 { Ok(got.json()) } else { Err(format!("{} {}", got.body, plugin.log_tail(5))) }
    })
    .await
}

#[tokio::test]
async fn a_pod_is_submitted_once_followed_listed_and_deleted_across_kills() {
    let dir = TestDir::new();
    let plugin = start_plugin(&dir);
    let api = Api::start_in(dir).await;
    assert_eq!(answers(&api, &plugin).await["interlinkAPI"]["capabilities"], json!(["idempotentCreate", "podList"]));

    let mut sent = pod(1);
    sent["spec"] = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "host", "command": ["sh", "-c", "echo hello; sleep 1; exit 3"]}]});
    let create = json!({"pod": sent}).to_string();
    let first = api.call_with("POST", "/create", create.clone(), &OWNER).await;
    assert_eq!((first.status, &first.json()["PodUID"]), (200, &json!(uid(1))), "{first:?}");
    plugin.kill9();
    plugin.start_again();
    api.daemon.kill9();
    api.daemon.start_again();
    api.listens().await;
    answers(&api, &plugin).await;
    let second = api.call_with("POST", "/create", create, &OWNER).await;
    assert_eq!(second.json()["PodUID"], json!(uid(1)), "{second:?}");

    let state = wait::until("the container's end", SOON, async || {
        let got = api.call_with("GET", "/status", json!([sent]).to_string(), &OWNER).await;
        let state = got.json()[0]["containers"][0]["state"]["terminated"].clone();
        if state.is_null() { Err(got.body) } else { Ok(state) }
    })
    .await;
    assert_eq!(state["exitCode"], 3);
    let logs = json!({"Namespace": "default", "PodUID": uid(1), "PodName": "p1", "ContainerName": "c", "Opts": {"Follow": true}});
    assert_eq!(api.call_with("GET", "/getLogs", logs.to_string(), &OWNER).await.body, "hello\n", "it ran once");

    let listed = |headers: &'static [(&'static str, &'static str)]| api.call_with("GET", "/pods", "", headers);
    assert_eq!(listed(&OWNER).await.json()[0]["UID"], json!(uid(1)));
    assert_eq!(listed(&[("interlink-owner", "local/another")]).await.json(), json!([]));
    assert_eq!(api.call_with("DELETE", "/delete", sent.to_string(), &OWNER).await.status, 200);
    wait::until("the list to be empty", SOON, async || {
        let got = listed(&OWNER).await;
        if got.json() == json!([]) { Ok(()) } else { Err(got.body) }
    })
    .await;
}
