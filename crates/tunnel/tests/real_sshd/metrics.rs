//! What Prometheus is told.

use std::collections::HashMap;
use std::time::Duration;

use interlink_testkit::ports::free_port;
use interlink_testkit::wait;
use interlink_transport::{Call, Client, Endpoint};

use crate::rig::{Habit, SOON, Service, Site, Tunnel, run};

/// A running tunnel with metrics at `at`, which is made of its directory.
async fn start(site: &Site, service: &Service, at: impl FnOnce(&std::path::Path) -> String) -> Tunnel {
    let tunnel = Tunnel::start(|dir| {
        [site.flags(dir), vec![service.flag.clone(), format!("-metrics={}", at(dir.path()))]].concat()
    });
    tunnel.up().await;
    tunnel
}

/// The content type and the text.
async fn scrape(at: &Endpoint) -> Result<(String, String), String> {
    let answer =
        Client::new(at.clone()).send(Call::new(http::Method::GET, "/metrics", "")).await.map_err(|e| e.to_string())?;
    let kind = answer.header("content-type").unwrap_or_default().to_owned();
    let body = answer.bytes(1 << 20, Duration::from_secs(5)).await.map_err(|e| e.to_string())?;
    Ok((kind, String::from_utf8(body.to_vec()).map_err(|e| e.to_string())?))
}

/// Samples by name and labels; every one must have its HELP and TYPE.
fn samples(text: &str) -> HashMap<String, f64> {
    let mut all = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
        let bare = name.split('{').next().expect("a text has a first part");
        for kind in ["HELP", "TYPE"] {
            assert!(text.contains(&format!("# {kind} {bare} ")), "{bare} has no {kind}:\n{text}");
        }
        all.insert(name.to_owned(), value.parse().expect("a value is a number"));
    }
    all
}

#[tokio::test]
async fn state_traffic_and_the_last_error_are_told_on_a_socket() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Count).await);
    let tunnel = start(&site, &service, |dir| dir.join("m.sock").display().to_string()).await;
    let at = Endpoint::unix(&tunnel.dir.join("m.sock")).unwrap();
    assert_eq!(tunnel.ask("12345").await, "5");
    let told = wait::until("a round trip to be measured", SOON, async || {
        let (kind, text) = scrape(&at).await?;
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        let samples = samples(&text);
        match samples.get("interlink_tunnel_round_trip_seconds{session=\"1\"}") {
            Some(trip) if *trip > 0.0 && *trip < 10.0 => Ok(samples),
            _ => Err(text),
        }
    });
    let told = told.await;
    for (name, value) in [
        ("interlink_tunnel_up", 1.0),
        ("interlink_tunnel_reconnects_total", 0.0),
        ("interlink_tunnel_session_up{session=\"1\"}", 1.0),
        ("interlink_tunnel_forward_up{forward=\"tunnel\"}", 1.0),
        ("interlink_tunnel_service_up{forward=\"tunnel\"}", 1.0),
        ("interlink_tunnel_connections_total{forward=\"tunnel\"}", 1.0),
        ("interlink_tunnel_bytes_total{direction=\"to_server\",forward=\"tunnel\"}", 5.0),
        ("interlink_tunnel_bytes_total{direction=\"from_server\",forward=\"tunnel\"}", 1.0),
    ] {
        assert_eq!(told.get(name), Some(&value), "{name}: {told:?}");
    }
    assert!(told["interlink_tunnel_state_seconds{state=\"up\"}"] >= 0.0);
    assert!(!told.keys().any(|name| name.contains("last_error")), "{told:?}");

    site.sshd.daemon().kill9();
    site.sshd.kill_sessions();
    tunnel.down().await;
    let (_, text) = scrape(&at).await.unwrap();
    let told = samples(&text);
    assert_eq!(told["interlink_tunnel_up"], 0.0);
    assert_eq!(told["interlink_tunnel_session_up{session=\"1\"}"], 0.0);
    site.sshd.restart().await;
    tunnel.up().await;
    let (_, text) = scrape(&at).await.unwrap();
    let told = samples(&text);
    assert_eq!(told["interlink_tunnel_reconnects_total"], 1.0, "{text}");
    assert!(told.keys().any(|name| name.starts_with("interlink_tunnel_last_error_info{cause=\"")), "{text}");
}

#[tokio::test]
async fn metrics_are_for_this_machine_alone() {
    let (site, service, port) = (Site::new().await, Service::tcp(Habit::Echo).await, free_port());
    let tunnel = start(&site, &service, |_| format!("localhost:{port}")).await;
    let at = Endpoint::parse("http://127.0.0.1", &port.to_string()).unwrap();
    assert!(scrape(&at).await.unwrap().1.contains("interlink_tunnel_up 1"));
    for address in ["0.0.0.0:9000", "metrics.example.org:9000"] {
        let flags = [site.flags(&tunnel.dir), vec![service.flag.clone(), format!("-metrics={address}")]].concat();
        let (code, said) = run(&tunnel.dir, flags).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("would offer the metrics to the network"), "{said}");
    }
}
