//! Pings: what the plugin says, what we can serve with it, and which hop is to blame.
#![allow(clippy::unwrap_used, clippy::panic)]

use interlink_testkit::dirs::TestDir;
use interlink_testkit::wait;
use interlink_transport::{Client, Endpoint};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::peers::{Api, Plugin, SOON, ok, our_ping, say, send};

#[tokio::test]
async fn our_plugin_is_announced_hop_by_hop() {
    let (api, plugin) = Api::with_plugin(|_| async { our_ping() }).await;
    let got = api.call_with("POST", "/pinglink", "", &[("interlink-http-session", "PingInterLink#7")]).await;
    let said = got.json();
    assert_eq!((got.status, &said["status"], &said["resources"]["cpu"]), (200, &json!("ok"), &json!("8")));
    assert!(said.get("capabilities").is_none());
    assert_eq!(
        said["interlinkAPI"]["capabilities"],
        json!(["idempotentCreate", "podList"]),
        "statusWatch is not served here"
    );
    let hops: Vec<_> = said["hops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| (h["hop"].as_str().unwrap(), h["state"].as_str().unwrap()))
        .collect();
    assert_eq!(hops, [("plugin", "up"), ("slurm", "up")]);
    let ping = plugin.pings().into_iter().find(|p| p.header("interlink-http-session") == "PingInterLink#7").unwrap();
    assert_eq!((ping.method.as_str(), &ping.body[..]), ("GET", &b"[]"[..]), "and the session is kept");
}

#[tokio::test]
async fn what_foreign_plugins_answer_goes_on_as_it_is() {
    for (case, body) in
        [("Kubernetes plugin", "[]"), ("Go nil", "null"), ("text", "alive"), ("HTML", "<p>ok</p>"), ("nothing", "")]
    {
        let (api, _plugin) = Api::with_plugin(move |_| async move { say(200, body) }).await;
        let got = api.call("GET", "/pinglink", "").await;
        assert_eq!((got.status, got.body.as_str()), (200, body), "{case}");
    }
    let (api, _plugin) = Api::with_plugin(|_| async { ok(json!({"message": "m", "status": "healthy", "x": 1})) }).await;
    let said = api.call("GET", "/pinglink", "").await.json();
    assert_eq!(
        (&said["status"], &said["x"], &said["interlinkAPI"]["capabilities"]),
        (&json!("healthy"), &json!(1), &json!([]))
    );
}

#[tokio::test]
async fn a_plugin_that_refuses_the_ping_is_quoted_in_plain_words() {
    let (api, _plugin) =
        Api::with_plugin(|_| async { say(503, json!({"error": "proxy file is missing", "timestamp": 1}).to_string()) })
            .await;
    api.call("POST", "/pinglink", "").await.assert_refused(
        503,
        "hop=plugin;code=http-503;retry=yes",
        "proxy file is missing",
    );
    api.said("proxy file is missing").await;
}

#[tokio::test]
async fn each_way_of_not_getting_through_names_its_hop() {
    let api = Api::start().await;
    let socket = Api::plugin_socket(&api.dir);
    let ping = || api.call("POST", "/pinglink", "");
    ping().await.assert_refused(
        503,
        "hop=tunnel;code=tunnel-down;retry=yes",
        "(SidecarURL) is not there; start ssh-tunnel with -lsock on that path",
    );

    // A socket whose owner was killed.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    ping().await.assert_refused(503, "hop=tunnel;code=tunnel-down;retry=yes", "refuses");
    std::fs::remove_file(&socket).unwrap();

    // A tunnel with nobody behind it.
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let hangs_up = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    ping().await.assert_refused(503, "hop=plugin;code=plugin-closed;retry=yes", "no plugin listens behind the tunnel");
    hangs_up.abort();
    let _ = hangs_up.await;
    std::fs::remove_file(&socket).unwrap();

    // And back again: one line a change.
    let _plugin = Plugin::start(&socket, |_| async { our_ping() }).await;
    assert_eq!(ping().await.status, 200);
    api.said("the plugin answers").await;
    let changes = api
        .daemon
        .log()
        .lines()
        .filter(|l| l.contains("the plugin does not answer") || l.contains("the plugin answers"))
        .count();
    assert_eq!(changes, 4, "{}", api.daemon.log());
}

#[tokio::test]
async fn the_state_socket_says_the_same() {
    let api = Api::start().await;
    api.call("POST", "/pinglink", "").await;
    let state = Client::new(Endpoint::unix(&api.dir.join("interlink.state")).unwrap());
    let said = send(&state, "GET", "/", "", &[]).await.json();
    let hops: Vec<_> =
        said["hops"].as_array().unwrap().iter().map(|h| (h["hop"].clone(), h["state"].clone())).collect();
    assert_eq!(hops, [(json!("api"), json!("up")), (json!("tunnel"), json!("down"))]);
    assert!(
        said["hops"][1]["cause"].as_str().unwrap().contains("is not there") && said["hops"][1]["since"].is_string()
    );
}

#[tokio::test]
async fn the_tunnels_own_words_are_quoted() {
    let dir = TestDir::new();
    let listens = format!("unix://{}", Api::plugin_socket(&dir).display());
    let state = json!({"program": "ssh-tunnel", "version": "1", "pid": 1, "startedAt": "2026-01-01T00:00:00Z", "details": {"listens": listens},
        "hops": [{"hop": "tunnel", "state": "down", "since": "2026-01-01T00:00:00Z", "cause": "the server refused the key", "remedy": "add it to authorized_keys"}]});
    let _tunnel = Plugin::start(&dir.join("ssh-tunnel.state"), move |_| {
        let state = state.clone();
        async move { ok(state) }
    })
    .await;
    let api = Api::start_in(dir).await;
    let got = api.call("POST", "/pinglink", "").await;
    got.assert_refused(
        503,
        "hop=tunnel;code=tunnel-down;retry=yes",
        "the tunnel is down: the server refused the key; add it to authorized_keys",
    );
}

#[tokio::test]
async fn a_plugin_that_never_answers_is_given_up_in_time() {
    let (api, _plugin) = Api::with_plugin(|_| async { std::future::pending::<axum::response::Response>().await }).await;
    let got = tokio::time::timeout(SOON, api.call("POST", "/pinglink", "")).await.unwrap();
    got.assert_refused(503, "hop=plugin;code=timeout;retry=yes", "did not answer within");
}

#[tokio::test]
async fn pods_are_listed_where_the_plugin_can() {
    let (api, plugin) = Api::with_plugin(|asked| async move {
        if asked.path == "/pods" {
            ok(json!([{"UID": "u", "owner": asked.header("interlink-owner")}]))
        } else {
            our_ping()
        }
    })
    .await;
    let got = api.call_with("GET", "/pods", "", &[("interlink-owner", "o/n")]).await;
    assert_eq!((got.status, got.json()), (200, json!([{"UID": "u", "owner": "o/n"}])));
    assert_eq!(plugin.asked("/pods").len(), 1);

    let (api, plugin) = Api::with_plugin(|_| async { ok(json!({})) }).await;
    api.call("GET", "/pods", "").await.assert_refused(404, "hop=api;code=unsupported;retry=no", "podList");
    assert!(plugin.asked("/pods").is_empty());
}

#[tokio::test]
async fn the_plugin_is_watched_also_while_no_kubelet_asks() {
    let api = Api::start().await;
    api.said("the plugin does not answer").await;
    let plugin = Plugin::start(&Api::plugin_socket(&api.dir), |_| async { our_ping() }).await;
    api.said("the plugin answers").await;
    wait::until("a ping", SOON, async || if plugin.pings().is_empty() { Err("none") } else { Ok(()) }).await;
    let session = plugin.pings()[0].header("interlink-http-session").to_owned();
    assert!(session.starts_with("Request-"), "{session}");
    let _: Value = api.call("POST", "/pinglink", "").await.json();
}

/// Answers the first ping of a connection, and hangs up over the second.
async fn answer_once(mut stream: UnixStream) {
    for last in [false, true] {
        let mut asked = Vec::new();
        while !asked.ends_with(b"[]") {
            if stream.read_buf(&mut asked).await.unwrap_or(0) == 0 {
                return;
            }
        }
        if !last {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_under_a_ping_as_when_the_tunnel_is_restarted_is_not_the_callers_business() {
    let dir = TestDir::new();
    let listener = UnixListener::bind(Api::plugin_socket(&dir)).unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_once(stream));
        }
    });
    let api = Api::start_in(dir).await;
    for _ in 0..10 {
        let got = api.call("POST", "/pinglink", "").await;
        assert_eq!((got.status, got.body.as_str()), (200, "[]"));
    }
    serving.abort();
}
