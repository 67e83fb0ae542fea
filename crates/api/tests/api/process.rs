//! The program itself: start, bad configuration, bad input, two owners of a socket, kill, reload, stop.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::Launch;
use interlink_testkit::{ports, wait};
use interlink_transport::{Client, Endpoint};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::peers::{Api, SOON, ok, our_ping, pod, running, say, send, uid};

#[tokio::test]
async fn malformed_input_is_a_400_on_every_path_and_nothing_dies() {
    let (api, plugin) = Api::with_plugin(|_| async { our_ping() }).await;
    let bodies = ["{broken", "\"text\"", "7", "[1]", "<html>"];
    let cases = [
        ("/create", ["", "null", "[]", "{}"]),
        ("/delete", ["", "null", "[]", "{}"]),
        ("/getLogs", ["", "null", "[]", "{}"]),
        ("/updateCache", ["", "null", "{}", "x"]),
    ];
    for (path, more) in cases {
        for body in bodies.iter().chain(&more).filter(|b| path != "/updateCache" || **b != "\"text\"") {
            for method in ["GET", "POST", "DELETE"] {
                api.call(method, path, *body).await.assert_refused(400, "hop=api;code=bad-request;retry=no", "");
            }
        }
    }
    for body in bodies {
        api.call("GET", "/status", body).await.assert_refused(400, "hop=api;code=bad-request;retry=no", "");
        assert_eq!(api.call("POST", "/pinglink", body).await.status, 200, "a ping's body says nothing");
    }
    for path in ["/", "/status/", "/Status", "/create/x", "/system-info"] {
        api.call("GET", path, "").await.assert_refused(404, "hop=api;code=no-such-path;retry=no", "/getLogs");
    }
    let huge = vec![b' '; interlink_transport::BODY_LIMIT + 1];
    api.call("POST", "/create", huge).await.assert_refused(413, "hop=api;code=too-large;retry=no", "16 MiB");
    assert!(plugin.asked("/create").is_empty() && api.daemon.is_running());
}

/// Row 10: `echo test | nc -U S`.
#[tokio::test]
async fn bytes_that_are_no_http_get_a_400() {
    let (api, _plugin) = Api::with_plugin(|_| async { our_ping() }).await;
    for bytes in [&b"test\n"[..], b"\n\n\n\x00\xff\xfe\n\n", b"GET /status HTTP/1.1\r\nContent-Length: 9\r\n\r\n[{"] {
        let mut stream = UnixStream::connect(api.socket()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        if bytes == b"test\n" {
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
    }
    assert_eq!(api.call("GET", "/pinglink", "").await.status, 200);
}

/// Row 10: `curl --unix-socket S http://unix/pinglink`.
#[tokio::test]
async fn a_person_with_curl_gets_an_answer() {
    let (api, _plugin) = Api::with_plugin(|_| async { our_ping() }).await;
    let mut curl = tokio::process::Command::new("curl");
    curl.args(["-sS", "-m", "20", "--unix-socket"]).arg(api.socket()).arg("http://unix/pinglink").kill_on_drop(true);
    let answer = curl.output().await.unwrap();
    assert!(
        answer.status.success() && String::from_utf8_lossy(&answer.stdout).contains("\"interlinkAPI\""),
        "{answer:?}"
    );
}

/// Row 1: the seed's one socket for two.
#[tokio::test]
async fn one_socket_for_api_and_plugin_is_refused_with_the_remedy() {
    let dir = TestDir::new();
    let same = format!("unix://{}", dir.join("interlink.sock").display());
    let api = Api::launch(&dir, &format!("InterlinkAddress: {same}\nSidecarURL: {same}\n")).start();
    assert_eq!(api.exited(SOON).await.code(), Some(78));
    for part in ["InterlinkAddress", "SidecarURL", "change two lines", "reverse tunnel", "-reverse"] {
        assert!(api.log().contains(part), "{part}: {}", api.log());
    }
    assert_eq!(api.log().lines().count(), 1, "{}", api.log());

    // The tunnel was first, and SidecarURL says something else, as in the seed.
    let _tunnel = tokio::net::UnixListener::bind(dir.join("interlink.sock")).unwrap();
    let api =
        Api::launch(&dir, &format!("InterlinkAddress: {same}\nSidecarURL: http://remote-plugin\nSidecarPort: 4000\n"))
            .start();
    assert_eq!(api.exited(SOON).await.code(), Some(78));
    for part in ["is already in use by", "InterlinkAddress", "SidecarURL", "-reverse"] {
        assert!(api.log().contains(part), "{part}: {}", api.log());
    }
}

/// Row 3: an address past the tunnel.
#[tokio::test]
async fn a_sidecar_host_that_does_not_resolve_bypasses_the_tunnel() {
    let dir = TestDir::new();
    let config = format!(
        "InterlinkAddress: unix://{}\nSidecarURL: http://remote-plugin.invalid\nSidecarPort: 4000\n",
        dir.join("api.sock").display()
    );
    let daemon = Api::launch(&dir, &config).start();
    let client = Client::new(Endpoint::unix(&dir.join("api.sock")).unwrap());
    let api = Api { dir, daemon, client };
    api.listens().await;
    api.said("bypasses the tunnel").await;
    let got = api.call("GET", "/pinglink", "").await;
    got.assert_refused(503, "hop=api;code=sidecar-unresolved;retry=yes", "remote-plugin.invalid");
}

#[tokio::test]
async fn a_second_instance_is_refused_by_name_and_the_first_goes_on() {
    let api = Api::start().await;
    let second = Api::launch(&api.dir, &Api::config(&api.dir)).start();
    assert_eq!(second.exited(SOON).await.code(), Some(78));
    let named = format!("interlink (process {})", api.daemon.pid());
    assert!(second.log().contains(&named) && second.log().contains("InterlinkAddress"), "{}", second.log());
    api.listens().await;
    assert_eq!(std::fs::metadata(api.socket()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn killed_it_starts_again_over_its_stale_socket_and_stopped_it_leaves_none() {
    let (api, _plugin) =
        Api::with_plugin(|asked| async move { if asked.is_ping() { our_ping() } else { ok(json!([running(1)])) } })
            .await;
    for _ in 0..2 {
        assert_eq!(api.status(&[pod(1)]).await.json()[0]["UID"], uid(1), "nothing that matters was lost");
        api.daemon.kill9();
        assert!(api.socket().exists());
        api.daemon.start_again();
        api.listens().await;
    }
    assert_eq!(api.daemon.terminate(SOON).await.code(), Some(0));
    assert!(!api.socket().exists() && !api.dir.join("interlink.state").exists());
}

#[tokio::test]
async fn a_stop_finishes_the_create_in_hand() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() {
            return our_ping();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        ok(json!({"PodUID": uid(1), "PodJID": "42"}))
    })
    .await;
    let (got, ()) = tokio::join!(api.create(pod(1)), async {
        wait::until("the create at the plugin", SOON, async || {
            if plugin.asked("/create").is_empty() { Err("none") } else { Ok(()) }
        })
        .await;
        // Two at once are one wish, as from timeout(1), which signals its child and then its whole group.
        api.daemon.signal(Signal::SIGTERM);
        api.daemon.signal(Signal::SIGINT);
    });
    assert_eq!(got.json()["PodJID"], "42");
    assert_eq!(api.daemon.exited(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn wrong_configuration_ends_with_78_and_one_sentence() {
    let cases = [
        ("InterlinkAddress: unix:///tmp/x.sock\n", "SidecarURL is not set"),
        ("InterlinkAddress: x\nSidecarURL: unix:///y\n", "InterlinkAddress: \"x\" has no known scheme"),
        ("InterlinkAddress: https://h\nSidecarURL: unix:///y\n", "https://"),
        ("InterlinkAddress: unix:///x\nSidecarURL: http://h\n", "SidecarPort"),
        ("InterlinkAddress: [unix\n", "line 1"),
        ("VerboseLogging: [1]\n", "VerboseLogging"),
    ];
    for (config, part) in cases {
        let dir = TestDir::new();
        let api = Api::launch(&dir, config).start();
        assert_eq!(api.exited(SOON).await.code(), Some(78), "{config}: {}", api.log());
        assert!(api.log().contains(part) && api.log().contains("InterLinkConfig.yaml"), "{config}: {}", api.log());
        assert_eq!(api.log().lines().count(), 1, "{}", api.log());
    }
}

fn plain(dir: &TestDir, args: &[&str]) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_interlink"), dir.join("api.log"))
        .clean_env()
        .cwd(dir.path())
        .env("RUNTIME_DIRECTORY", dir.path())
        .args(args.iter().copied())
}

#[tokio::test]
async fn every_flag_works_with_one_dash_or_two() {
    let dir = TestDir::new();
    for (args, code, part) in [
        (&["-version"][..], 0, "interlink "),
        (&["--version"], 0, env!("CARGO_PKG_VERSION")),
        (&["-nonsense"], 2, "see interlink --help"),
        (&["-interlinkconfigpath", "gone.yaml"], 78, "gone.yaml does not exist"),
    ] {
        let api = plain(&dir, args).start();
        assert_eq!(api.exited(SOON).await.code(), Some(code), "{args:?}: {}", api.log());
        assert!(api.log().contains(part), "{args:?}: {}", api.log());
    }
    // A relative path, and a flag over the file.
    dir.write(
        "sub/c.yaml",
        Api::config(&dir).replace("VerboseLogging: true", "VerboseLogging: true\nErrorsOnlyLogging: false"),
    );
    let api = plain(&dir, &["-interlinkconfigpath=sub/c.yaml", "-errorsonly"])
        .env("SIDECARURL", format!("unix://{}", dir.join("other.sock").display()))
        .start();
    let client = Client::new(Endpoint::unix(&dir.join("api.sock")).unwrap());
    wait::until("the socket", SOON, async || {
        UnixStream::connect(dir.join("api.sock")).await.map(drop).map_err(|e| format!("{e} {}", api.log()))
    })
    .await;
    let got = send(&client, "GET", "/pinglink", "", &[]).await;
    assert!(got.body.contains("other.sock"), "the environment wins over the file: {got:?}");
    assert!(!api.log().contains("level=info") && !api.log().contains("level=warn"), "{}", api.log());
}

#[tokio::test]
async fn a_reload_takes_what_it_can_and_keeps_the_old_on_an_error() {
    let (api, _plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() { our_ping() } else { ok(json!({"PodUID": uid(1), "PodJID": "1"})) }
    })
    .await;
    let base = Api::config(&api.dir);
    let reload = |config: String| {
        api.dir.write("InterLinkConfig.yaml", config);
        api.daemon.signal(Signal::SIGHUP);
    };
    reload("VerboseLogging: [".into());
    api.said("was not reloaded, the old one stays").await;
    assert_eq!(api.create(pod(1)).await.status, 200);
    reload(format!("{base}JobScriptTemplate: /t\n"));
    api.said("configuration reloaded").await;
    api.create(pod(1)).await.assert_refused(422, "hop=api;code=unsupported;retry=no", "JobScriptTemplate");
    reload(base.replace("plugin.sock", "elsewhere.sock"));
    api.said("SidecarURL/SidecarPort need a restart").await;
    assert_eq!(api.create(pod(1)).await.status, 200, "the template is gone, the plugin is still the old one");
}

#[tokio::test]
async fn it_serves_and_asks_over_loopback_tcp() {
    let dir = TestDir::new();
    let port = ports::free_port();
    let config = Api::config(&dir).replace(
        &format!("unix://{}", dir.join("api.sock").display()),
        &format!("http://127.0.0.1\nInterlinkPort: {port}"),
    );
    let api = Api::launch(&dir, &config).start();
    let client = Client::new(Endpoint::parse("http://127.0.0.1", &port.to_string()).unwrap());
    wait::until("the port", SOON, async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|e| format!("{e} {}", api.log()))
    })
    .await;
    send(&client, "POST", "/pinglink", "", &[]).await.assert_refused(
        503,
        "hop=tunnel;code=tunnel-down;retry=yes",
        "is not there",
    );
}

#[tokio::test]
async fn no_body_value_or_secret_is_ever_logged() {
    let (api, _plugin) = Api::with_plugin(|asked| async move {
        if asked.is_ping() { ok(json!([])) } else { say(500, "the plugin's own words") }
    })
    .await;
    let mut sent = pod(1);
    sent["spec"]["containers"][0]["env"] = json!([{"name": "TOKEN", "value": "hunter2-env"}]);
    let body = json!({"pod": sent, "secrets": [{"metadata": {"name": "s"}, "data": {"k": "aHVudGVyMi1zZWNyZXQ="}}]});
    api.call("POST", "/create", body.to_string()).await;
    api.call("GET", "/status", json!([sent]).to_string()).await;
    api.call("POST", "/create", "{\"pod\": \"hunter2-broken").await;
    for wrong in [json!({"pod": pod(1), "secrets": ["hunter2-string"]}), json!({"pod": "hunter2-string"})] {
        let got = api.call("POST", "/create", wrong.to_string()).await;
        got.assert_refused(400, "hop=api;code=bad-request;retry=no", "invalid type: string, expected");
        assert!(!got.body.contains("hunter2"), "{got:?}");
    }
    api.said("not created").await;
    let log = api.daemon.log();
    assert!(!log.contains("hunter2") && !log.contains("aHVudGVy"), "{log}");
}
