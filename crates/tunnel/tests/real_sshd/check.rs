//! `-check`: the first step that fails, in words.

use interlink_testkit::dirs::TestDir;
use interlink_testkit::ports::free_port;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::rig::{Habit, Service, Site, flags, run};

/// The flags of a check, some replaced.
fn with(site: &Site, dir: &TestDir, changes: &[(&str, &str)]) -> Vec<String> {
    let mut all = [site.flags(dir), vec!["-check".into()]].concat();
    all.retain(|flag| !changes.iter().any(|(name, _)| flag.starts_with(&format!("-{name}="))));
    [all, flags(changes)].concat()
}

/// Runs a check that fails at `step` with these words.
async fn fails(site: &Site, changes: &[(&str, &str)], step: &str, words: &[&str]) {
    let dir = TestDir::new();
    let (code, said) = run(&dir, with(site, &dir, changes)).await;
    assert_eq!(code, Some(1), "{said}");
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(failed.len(), 1, "{said}");
    assert!(failed[0].contains(step), "{step}: {said}");
    // One sentence at the end, for logs.
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("ssh-tunnel: {step}: ")), "{said}");
    for word in words {
        assert!(last.contains(word), "{word}: {said}");
    }
}

/// A listener that says `words` to whoever connects, then closes if told so.
async fn says(words: &'static str, close: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a port");
    let addr = listener.local_addr().expect("a bound socket has an address").to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(words.as_bytes()).await;
            if !close {
                open.push(stream);
            }
        }
    });
    addr
}

#[tokio::test]
async fn a_tunnel_that_would_work_is_measured() {
    let (site, service, dir) = (Site::new().await, Service::tcp(Habit::Echo).await, TestDir::new());
    let port = service.flag.trim_start_matches("-rport=").to_owned();
    let (code, said) = run(&dir, with(&site, &dir, &[("rport", &port)])).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 8, "{said}");
    assert!(said.contains("round trip") && said.contains(" ms"), "{said}");
    assert!(!dir.join("t.sock").exists());

    let far = free_port().to_string();
    let (code, said) = run(
        &dir,
        [with(&site, &dir, &[("rport", &far), ("lsock", &format!("localhost:{port}"))]), vec!["-reverse".into()]]
            .concat(),
    )
    .await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn the_step_that_fails_is_named_with_cause_and_remedy() {
    let site = Site::new().await;
    let port = free_port().to_string();
    let nobody = format!("127.0.0.1:{port}");
    let closing = says("", true).await;
    let silent = says("", false).await;
    let other = says("HTTP/1.0 400 Bad Request\r\n\r\n", true).await;
    // Bare keys count for any address.
    let (dir, known) = (TestDir::new(), site.sshd.known_hosts());
    let bare: String =
        known.lines().filter_map(|line| line.split_once(' ')).map(|(_, key)| format!("{key}\n")).collect();
    let keys = dir.write("bare", bare).display().to_string();
    fails(
        &site,
        &[("rport", "1"), ("hostkeyfile", &keys), ("addr", "no-such-host.invalid:22")],
        "DNS",
        &["no-such-host.invalid", "-addr"],
    )
    .await;
    fails(
        &site,
        &[("rport", "1"), ("hostkeyfile", &keys), ("addr", &nobody)],
        "TCP",
        &[&nobody, "sshd is not running"],
    )
    .await;
    fails(
        &site,
        &[("rport", "1"), ("hostkeyfile", &keys), ("addr", &closing)],
        "SSH banner",
        &[&closing, "MaxStartups"],
    )
    .await;
    let impatient = [("rport", "1"), ("hostkeyfile", &*keys), ("addr", &*silent), ("connect-timeout", "300ms")];
    fails(&site, &impatient, "SSH banner", &[&silent, "longer than 300ms"]).await;
    fails(&site, &[("rport", "1"), ("hostkeyfile", &keys), ("addr", &other)], "SSH banner", &["does not speak SSH"])
        .await;
    fails(&site, &[("rport", &port)], "service", &[&format!("nothing listens at localhost:{port}"), "-rport"]).await;
    fails(&site, &[("rsock", "/none.sock")], "service", &["/none.sock", "AllowStreamLocalForwarding"]).await;

    let stranger = Site::new().await;
    let key = stranger.key.private().display().to_string();
    fails(&site, &[("rport", "1"), ("keyfile", &key)], "login key", &["refused the key", "authorized_keys"]).await;
    let line = stranger.sshd.known_hosts().replace(&stranger.sshd.port().to_string(), &site.sshd.port().to_string());
    let hosts = dir.write("others", line).display().to_string();
    fails(&site, &[("rport", "1"), ("hostkeyfile", &hosts)], "host key", &["SHA256:", "ssh-keygen -R"]).await;
}

#[tokio::test]
async fn a_server_that_forbids_the_forward_is_told_from_a_service_that_is_away() {
    for (line, changes, words) in [
        ("AllowTcpForwarding no", [("rport", "1")], "AllowTcpForwarding"),
        ("PermitOpen none", [("rport", "1")], "PermitOpen"),
        ("ForceCommand /bin/false", [("rexec", "interlink-plugin dial-stdio")], "ForceCommand"),
    ] {
        let site = Site::with("", &[line]).await;
        fails(&site, &changes, "forwarding", &[words]).await;
    }
}

#[tokio::test]
async fn what_a_person_must_mend_has_the_code_of_a_wrong_configuration() {
    let (site, dir) = (Site::new().await, TestDir::new());
    let (code, said) = run(&dir, with(&site, &dir, &[("rport", "1"), ("keyfile", "/nonexistent/key")])).await;
    assert_eq!(code, Some(78), "{said}");
}
