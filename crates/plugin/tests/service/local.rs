//! Pods on this machine.

use http::Method;
use interlink_testkit::wait;
use interlink_wire::JobId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{PATIENCE, Plugin, container, file, pod, pod_of, uid};

const LOCAL: &str = "Scheduler: local";

#[tokio::test]
async fn a_pod_runs_to_its_end_with_its_files_and_says_how_each_container_ended() {
    let plugin = Plugin::start(LOCAL).await;
    let mut main = container("c", "cat /etc/m/deep/a.txt /etc/s/k; cat /scratch/from-init; exit 3");
    main["volumeMounts"] = json!([{"name": "m", "mountPath": "/etc/m"}, {"name": "s", "mountPath": "/etc/s"}, {"name": "e", "mountPath": "/scratch"}]);
    let mut init = container("i", "echo prepared > /scratch/from-init; echo init says");
    init["volumeMounts"] = json!([{"name": "e", "mountPath": "/scratch"}]);
    let pod = pod_of(json!({"initContainers": [init], "containers": [main, container("d", "echo $WHO")],
        "volumes": [{"name": "m", "configMap": {"name": "m", "items": [{"key": "a", "path": "deep/a.txt"}]}}, {"name": "s", "secret": {"secretName": "s"}}, {"name": "e", "emptyDir": {}}]}));
    let objects = json!({"configMaps": [{"metadata": {"name": "m"}, "data": {"a": "map\n"}}], "secrets": [{"metadata": {"name": "s"}, "data": {"k": "c2VjcmV0Cg=="}}]});

    let job = plugin.create(&pod, objects).await.job();
    assert!(job.starts_with("local-"), "{job}");
    assert_eq!(plugin.ends(&pod).await, [(0, "Completed".into()), (3, "Error".into()), (0, "Completed".into())]);
    assert_eq!(plugin.logs(&pod, "c", json!({})).await, "map\nsecret\nprepared\n");
    assert_eq!(plugin.logs(&pod, "i", json!({})).await, "init says\n");
    let status = plugin.status(&pod).await.unwrap();
    assert_eq!((status.jid, status.name, status.containers[0].image.as_str()), (job, "p".into(), "busybox"));
}

#[tokio::test]
async fn a_second_create_returns_the_first_job_even_when_they_come_together() {
    let plugin = Plugin::start(LOCAL).await;
    let pod = pod("sleep 300");
    let (a, b, c) =
        tokio::join!(plugin.create(&pod, json!({})), plugin.create(&pod, json!({})), plugin.create(&pod, json!({})));
    plugin.running(&pod).await;
    let later = plugin.create(&pod, json!({})).await;
    let job = a.job();
    assert_eq!([b.job(), c.job(), later.job()], [job.clone(), job.clone(), job]);
    assert_eq!(plugin.daemon.log().matches("message=submitted").count(), 1);
}

#[tokio::test]
async fn a_pod_outlives_the_plugin_and_ends_while_it_is_away() {
    let plugin = Plugin::start(LOCAL).await;
    let pod = pod("echo one; while [ ! -e ../go ]; do sleep 0.05; done; echo two; exit 7");
    let pod_dir = plugin.pod_dir(uid(&pod));
    let mut pod = pod;
    pod["spec"]["containers"][0]["workingDir"] = json!(pod_dir.join("volumes"));
    pod["spec"]["volumes"] = json!([{"name": "e", "emptyDir": {}}]);
    let job = plugin.create(&pod, json!({})).await.job();
    let before = plugin.running(&pod).await.sequence.unwrap();
    plugin.daemon.kill9();
    std::fs::write(pod_dir.join("go"), "").unwrap();
    file(&pod_dir.join("run-c.status")).await;
    plugin.daemon.start_again();
    plugin.ready().await;
    assert_eq!(plugin.ends(&pod).await, [(7, "Error".to_owned())]);
    let after = plugin.status(&pod).await.unwrap();
    assert!(after.sequence.unwrap() > before, "{after:?}");
    assert_eq!(after.jid, job);
    assert_eq!(plugin.logs(&pod, "c", json!({})).await, "one\ntwo\n");
}

#[tokio::test]
async fn a_user_that_cannot_be_had_is_said_and_the_pod_runs() {
    let plugin = Plugin::start("Scheduler: local").await;
    let mut pod = pod("id -u");
    pod["spec"]["securityContext"] = json!({"runAsUser": 54321});
    plugin.create(&pod, json!({})).await;
    assert_eq!(plugin.ends(&pod).await, [(0, "Completed".to_owned())]);
    let status = plugin.status(&pod).await.unwrap();
    let message = &status.containers[0].state.terminated().unwrap().message;
    assert!(message.starts_with("runAsUser 54321 has no effect"), "{message}");
    assert_eq!(plugin.logs(&pod, "c", json!({})).await, format!("{}\n", nix::unistd::geteuid()));
    assert!(plugin.daemon.log().contains("runAsUser 54321"));
    plugin.delete(&pod).await;
    plugin.gone(&pod).await;
}

#[tokio::test]
async fn a_delete_gives_the_pod_its_grace_and_leaves_nothing() {
    let plugin = Plugin::start(LOCAL).await;
    let mut pod = pod("trap 'echo bye > $OUT; exit 0' TERM; echo up; while :; do sleep 0.05; done");
    let out = plugin.dir().join("said");
    pod["spec"]["containers"][0]["env"] = json!([{"name": "OUT", "value": out}]);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(30);
    plugin.create(&pod, json!({})).await;
    plugin.running(&pod).await;
    wait::until("the container's trap", PATIENCE, async || match plugin.logs(&pod, "c", json!({})).await {
        text if text == "up\n" => Ok(()),
        text => Err(text),
    })
    .await;
    assert_eq!(plugin.call(Method::DELETE, "/delete", &pod).await.code, 200);
    plugin.gone(&pod).await;
    assert_eq!(std::fs::read_to_string(out).unwrap(), "bye\n");
    assert_eq!(plugin.delete(&pod).await.code, 200);
    // A create that was on its way meanwhile does not bring it back.
    let late = plugin.create(&pod, json!({})).await;
    assert_eq!((late.code, late.headers["interlink-error"].as_str()), (503, "hop=plugin;code=deleted;retry=yes"));
    assert_eq!(plugin.call(Method::GET, "/pods", "").await.json(), json!([]));
}

#[tokio::test]
async fn a_delete_goes_on_after_a_restart() {
    let plugin = Plugin::start(LOCAL).await;
    let pod = pod("trap '' TERM; while :; do sleep 0.05; done");
    plugin.create(&pod, json!({})).await;
    plugin.running(&pod).await;
    plugin.delete(&pod).await;
    plugin.killed_and_restarted().await;
    plugin.gone(&pod).await;
}

#[tokio::test]
async fn a_supervisor_that_is_killed_is_never_a_success() {
    let plugin = Plugin::start(LOCAL).await;
    let pod = pod("sleep 300");
    let job = plugin.create(&pod, json!({})).await.job();
    plugin.running(&pod).await;
    let pid = job.split('-').nth(1).unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let ends = plugin.ends(&pod).await;
    assert_eq!(ends, [(255, "JobLost".to_owned())]);
    plugin.killed_and_restarted().await;
    assert_eq!(plugin.ends(&pod).await, ends);
    assert!(JobId::parse(&job).is_ok());
}

#[tokio::test]
async fn logs_are_cut_stamped_and_followed() {
    let plugin = Plugin::start(LOCAL).await;
    let pod = pod("for i in 1 2 3; do echo line $i; sleep 0.3; done");
    let before = plugin.create(&pod, json!({})).await;
    assert_eq!(before.code, 200);
    // Begins before the container does, ends when it does.
    assert_eq!(plugin.logs(&pod, "c", json!({"Follow": true})).await, "line 1\nline 2\nline 3\n");
    for (opts, text) in [
        (json!({"Tail": 1}), "line 3\n"),
        (json!({"Tail": 1, "Follow": true}), "line 3\n"),
        (json!({"Bytes": 9}), "line 1\nli"),
        (json!({"SinceTime": "2000-01-01T00:00:00Z"}), "line 1\nline 2\nline 3\n"),
    ] {
        assert_eq!(plugin.logs(&pod, "c", opts.clone()).await, text, "{opts}");
    }
    let stamped = plugin.logs(&pod, "c", json!({"Timestamps": true})).await;
    for line in stamped.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && rest.starts_with("line "), "{line}");
    }
}

#[tokio::test]
async fn a_pod_belongs_to_its_owner() {
    let plugin = Plugin::start(LOCAL).await;
    let pod = pod("sleep 300");
    let create = json!({"pod": pod, "container": []});
    assert_eq!(plugin.call_as(Some("a/n"), Method::POST, "/create", &create).await.code, 200);
    assert_eq!(plugin.call_as(Some("b/n"), Method::POST, "/create", &create).await.code, 403);
    assert_eq!(plugin.call_as(Some("b/n"), Method::GET, "/status", json!([pod])).await.json(), json!([]));
    assert_eq!(plugin.call_as(Some("b/n"), Method::GET, "/pods", "").await.json(), json!([]));
    assert_eq!(plugin.call_as(Some("b/n"), Method::POST, "/delete", &pod).await.code, 403);
    let listed = plugin.call_as(Some("a/n"), Method::GET, "/pods", "").await.json();
    assert_eq!((listed[0]["UID"].as_str(), listed[0]["owner"].as_str()), (Some(uid(&pod)), Some("a/n")));
    assert_eq!(plugin.call_as(Some("a/n"), Method::POST, "/delete", &pod).await.code, 200);
    plugin.gone(&pod).await;
}

#[tokio::test]
async fn a_port_of_the_loopback_serves_what_a_socket_serves() {
    let port = interlink_testkit::ports::free_port();
    let config = format!("{LOCAL}\nSidecarPort: 1");
    let plugin = Plugin::start_on(&config, port).await;
    let answer = reply(port, "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"status\":\"ok\""), "{answer}");
    // Something that is no HTTP at all.
    let answer = reply(port, "test\n\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    plugin.ready().await;
    plugin.daemon.signal(Signal::SIGHUP);
    plugin.ready().await;
    assert_eq!(plugin.daemon.terminate(PATIENCE).await.code(), Some(0));
}

async fn reply(port: u16, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
