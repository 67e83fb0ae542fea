//! A plugin under test, and the words to talk to it.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::users::User;
use interlink_testkit::wait;
use interlink_transport::{Call, Client, Endpoint};
use interlink_wire::status::ContainerState;
use interlink_wire::{Envelope, PodStatus, header};
use serde_json::{Value, json};

/// Long enough for a machine that builds and tests at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A plugin with a directory of its own.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) daemon: Daemon,
    client: Client,
    // dropped last: it ends what jobs have left
    dir: TestDir,
}

/// An answer, whatever it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    pub(crate) code: u16,
    pub(crate) body: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The job id of a create's answer.
    pub(crate) fn job(&self) -> String {
        assert_eq!(self.code, 200, "{self:?}");
        self.json()["PodJID"].as_str().unwrap().to_owned()
    }
}

impl Plugin {
    /// A plugin with this configuration beside socket and data root.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, |launch| launch, None).await
    }

    /// On a TCP port, given by flag, with the configuration named by the environment.
    pub(crate) async fn start_on(config: &str, port: u16) -> Self {
        let change =
            |launch: Launch, file: &Path| launch.env("PLUGIN_CONFIG", file).args(["--port", &port.to_string()]);
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port };
        Self::begin(config, change, None, Some(endpoint)).await
    }

    /// As another user, where there is one, and with more in its environment.
    pub(crate) async fn start_with(config: &str, change: impl FnOnce(Launch) -> Launch, user: Option<&User>) -> Self {
        Self::begin(config, |launch, file| change(launch.arg("-SlurmConfigpath").arg(file)), user, None).await
    }

    async fn begin(
        config: &str,
        change: impl FnOnce(Launch, &Path) -> Launch,
        user: Option<&User>,
        endpoint: Option<Endpoint>,
    ) -> Self {
        let dir = TestDir::new();
        let home = dir.folder("plugin");
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
        if let Some(user) = user {
            chown(&home, Some(user.uid), Some(user.gid)).unwrap();
        }
        let socket = home.join("plugin.sock");
        let text = format!(
            "Socket: unix://{}\nDataRootFolder: {}/\n{config}\n",
            socket.display(),
            home.join("data").display()
        );
        let file = dir.write("SlurmConfig.yaml", text);
        let launch = Launch::new(env!("CARGO_BIN_EXE_interlink-plugin"), dir.join("plugin.log"))
            .arg("-verbose")
            .cwd(dir.path())
            .env("RUNTIME_DIRECTORY", &home)
            .env("HOME", &home);
        let launch = user.map_or(launch.clone(), |user| launch.user(&user.name).env("USER", &user.name));
        let daemon = change(launch, &file).start();
        let plugin =
            Self { daemon, client: Client::new(endpoint.unwrap_or_else(|| Endpoint::unix(&socket).unwrap())), dir };
        plugin.ready().await;
        plugin
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&self) {
        wait::until("the plugin to answer", PATIENCE, async || {
            assert!(self.daemon.is_running(), "{}", self.daemon.log_tail(20));
            match self.client.send(Call::new(Method::GET, "/status", "")).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{answer:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Kills it without a warning and starts it again.
    pub(crate) async fn killed_and_restarted(&self) {
        self.daemon.kill9();
        self.daemon.start_again();
        self.ready().await;
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("plugin/data")
    }

    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.data().join(format!("ns-{uid}"))
    }

    pub(crate) fn dir(&self) -> &TestDir {
        &self.dir
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: impl ToString) -> Said {
        self.call_as(None, method, path, body).await
    }

    pub(crate) async fn call_as(&self, owner: Option<&str>, method: Method, path: &str, body: impl ToString) -> Said {
        let mut call = Call::new(method, path, body.to_string()).timeout(PATIENCE);
        if let Some(owner) = owner {
            call = call.header(header::OWNER, owner);
        }
        let answer = self.client.send(call).await.unwrap();
        let headers = answer.headers.iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned())).collect();
        let code = answer.status.as_u16();
        let body = answer.bytes(64 << 20, PATIENCE).await.unwrap();
        Said { code, body: String::from_utf8(body.to_vec()).unwrap(), headers }
    }

    pub(crate) async fn create(&self, pod: &Value, objects: Value) -> Said {
        let name = pod["spec"]["containers"][0]["name"].clone();
        let mut container = objects;
        container["name"] = name;
        self.call(Method::POST, "/create", json!({"pod": pod, "container": [container]})).await
    }

    pub(crate) async fn delete(&self, pod: &Value) -> Said {
        self.call(Method::POST, "/delete", pod).await
    }

    /// The status of a pod; `None` when the plugin knows nothing of it.
    pub(crate) async fn status(&self, pod: &Value) -> Option<PodStatus> {
        let said = self.call(Method::GET, "/status", json!([pod])).await;
        assert_eq!(said.code, 200, "{said:?}");
        PodStatus::decode_list(said.body.as_bytes()).unwrap().pop()
    }

    /// Waits until the status satisfies `wanted`.
    pub(crate) async fn status_when(&self, pod: &Value, what: &str, wanted: impl Fn(&PodStatus) -> bool) -> PodStatus {
        wait::until(what, PATIENCE, async || match self.status(pod).await {
            Some(status) if wanted(&status) => Ok(status),
            other => Err(format!("{other:?}; the log ends:\n{}", self.daemon.log_tail(10))),
        })
        .await
    }

    /// Waits until all containers have ended; their exit codes and reasons, init containers first.
    pub(crate) async fn ends(&self, pod: &Value) -> Vec<(i32, String)> {
        let status =
            self.status_when(pod, "the end of the pod", |status| all(status).all(|s| s.terminated().is_some())).await;
        all(&status).filter_map(ContainerState::terminated).map(|t| (t.exit_code, t.reason.clone())).collect()
    }

    pub(crate) async fn running(&self, pod: &Value) -> PodStatus {
        self.status_when(pod, "the pod to run", |status| status.containers.iter().all(|c| c.state.is_running())).await
    }

    /// Waits until the plugin knows nothing more of the pod and its directory is gone.
    pub(crate) async fn gone(&self, pod: &Value) {
        let dir = self.pod_dir(uid(pod));
        wait::until("the pod to be gone", PATIENCE, async || match self.status(pod).await {
            None if !dir.exists() => Ok(()),
            other => Err(format!("{other:?}; the log ends:\n{}", self.daemon.log_tail(10))),
        })
        .await;
    }

    pub(crate) async fn logs(&self, pod: &Value, container: &str, opts: Value) -> String {
        let request =
            json!({"Namespace": "ns", "PodUID": uid(pod), "PodName": "p", "ContainerName": container, "Opts": opts});
        let said = self.call(Method::GET, "/getLogs", request).await;
        assert_eq!(said.code, 200, "{said:?}");
        said.body
    }
}

/// The states of all containers, init containers first.
pub(crate) fn all(status: &PodStatus) -> impl Iterator<Item = &ContainerState> {
    assert!(!status.containers.is_empty(), "{status:?}");
    status.init_containers.iter().chain(&status.containers).map(|c| &c.state)
}

pub(crate) fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap()
}

/// A pod with one container that runs this line of shell.
pub(crate) fn pod(shell: &str) -> Value {
    pod_of(json!({"containers": [container("c", shell)]}))
}

pub(crate) fn pod_of(mut spec: Value) -> Value {
    if spec.get("terminationGracePeriodSeconds").is_none() {
        spec["terminationGracePeriodSeconds"] = json!(2);
    }
    json!({"metadata": {"name": "p", "namespace": "ns", "uid": uuid::Uuid::new_v4().to_string(), "annotations": {}}, "spec": spec})
}

pub(crate) fn container(name: &str, shell: &str) -> Value {
    json!({"name": name, "image": "busybox", "command": ["sh", "-c", shell]})
}

/// Waits for a file to appear.
pub(crate) async fn file(path: &Path) {
    wait::until(&format!("{} to appear", path.display()), PATIENCE, async || {
        if path.exists() { Ok(()) } else { Err("it is not there") }
    })
    .await;
}
