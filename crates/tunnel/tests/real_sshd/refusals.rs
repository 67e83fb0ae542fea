//! What the tunnel does not accept, and how it says so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::sshd::{KeyType, Options, Sshd};

use crate::rig::{Habit, Service, Site, Tunnel, flags, run};

fn without(mut flags: Vec<String>, name: &str) -> Vec<String> {
    flags.retain(|f| !f.starts_with(&format!("-{name}=")));
    flags
}

/// `SHA256:…` of the server's Ed25519 key, as ssh-keygen prints it.
fn fingerprint(sshd: &Sshd) -> String {
    let output = std::process::Command::new("ssh-keygen").arg("-lf").arg(sshd.host_keys()[0].private()).output();
    let text = String::from_utf8_lossy(&output.expect("ssh-keygen is there").stdout).into_owned();
    text.split(' ').nth(1).expect("bits, fingerprint, comment").to_owned()
}

#[tokio::test]
async fn a_wrong_host_key_is_refused_with_both_fingerprints_and_the_tunnel_stays() {
    let (site, other) = (Site::new().await, Sshd::start(Options::default()).await);
    let others = other.known_hosts().replace(&other.port().to_string(), &site.sshd.port().to_string());
    let tunnel = Tunnel::start(|dir| {
        let flags = [site.flags(dir), vec!["-rport=1".into()]].concat();
        dir.write("hosts", &others);
        flags
    });
    let state = tunnel.down().await;
    for fingerprint in [fingerprint(&site.sshd), fingerprint(&other)] {
        assert!(state.hops[0].cause.contains(&fingerprint), "{fingerprint}: {state:?}");
    }
    assert!(state.hops[0].remedy.contains("ssh-keygen -R"), "{state:?}");
    assert!(tunnel.daemon.is_running());
    assert_eq!(tunnel.daemon.terminate(crate::rig::SOON).await.code(), Some(0));
}

#[tokio::test]
async fn only_the_types_of_keys_on_record_are_asked_for() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    for kind in ["ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519"] {
        let line: String = site.sshd.known_hosts().lines().filter(|l| l.contains(kind)).collect();
        let bare = line.split_once(' ').unwrap().1.to_owned();
        for hosts in [line, bare] {
            let tunnel = Tunnel::start(|dir| {
                let flags = [site.flags(dir), vec![service.flag.clone()]].concat();
                dir.write("hosts", &hosts);
                flags
            });
            tunnel.up().await;
            assert_eq!(tunnel.ask("hello").await, "hello", "{hosts}");
        }
    }
}

#[tokio::test]
async fn a_new_host_is_accepted_once_and_recorded_privately() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = Tunnel::start(|dir| [without(site.flags(dir), "hostkeyfile"), vec![service.flag.clone()]].concat());
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    let record = tunnel.dir.join(".ssh/known_hosts");
    assert_eq!(fs::metadata(&record).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&record).unwrap();
    assert!(site.sshd.known_hosts().contains(text.trim().split_once(' ').unwrap().1), "{text}");
    assert!(tunnel.daemon.log().contains(&fingerprint(&site.sshd)), "{}", tunnel.daemon.log());

    // From now on another key is refused.
    let other = site.sshd.key_pair("other", KeyType::Ed25519);
    let (host, _) = text.split_once(' ').unwrap();
    fs::write(&record, format!("{host} {}\n", other.public())).unwrap();
    site.sshd.kill_sessions();
    tunnel.becomes("the other key to be refused", |s| s.hops[0].cause.contains("not the one on record")).await;
    assert_eq!(fs::read_to_string(&record).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn a_host_that_cannot_be_recorded_is_refused() {
    let site = Site::new().await;
    let tunnel = Tunnel::start(|dir| {
        // Files where the directories would have to be: even root can't write there.
        dir.write(".ssh", "");
        dir.write(".local", "");
        [without(site.flags(dir), "hostkeyfile"), vec!["-rport=1".into()]].concat()
    });
    let state = tunnel.down().await;
    assert!(state.hops[0].cause.contains("can't be recorded"), "{state:?}");
    assert!(state.hops[0].remedy.contains("-hostkeyfile"), "{state:?}");
}

#[tokio::test]
async fn a_server_that_forbids_the_forward_is_named_with_the_options_to_change() {
    let service = Service::tcp(Habit::Echo).await;
    for (restrictions, lines, option) in [
        ("", &["AllowTcpForwarding no"][..], "AllowTcpForwarding"),
        ("no-port-forwarding", &[], "no-port-forwarding"),
        ("permitopen=\"localhost:9\"", &[], "permitopen"),
    ] {
        let site = Site::with(restrictions, lines).await;
        let tunnel = Tunnel::start(|dir| [site.flags(dir), vec![service.flag.clone()]].concat());
        let state = tunnel.down().await;
        assert!(state.hops[0].cause.contains("forbids forwarding"), "{option}: {state:?}");
        assert!(state.hops[0].remedy.contains(option), "{option}: {state:?}");
    }
}

#[tokio::test]
async fn a_forbidden_socket_can_not_be_told_from_an_absent_one_so_both_are_named() {
    let dir = TestDir::new();
    let socket = Service::unix(dir.join("service.sock"), Habit::Echo);
    let site = Site::with("", &["AllowStreamLocalForwarding no"]).await;
    let tunnel = site.tunnel(&socket.flag).await;
    let state = tunnel.becomes("the far end to be missed", |s| s.hops.len() > 1).await;
    assert!(state.hops[1].cause.contains("nothing listens there, or the server forbids it"), "{state:?}");
    assert!(state.hops[1].remedy.contains("AllowStreamLocalForwarding"), "{state:?}");
}

#[tokio::test]
async fn what_a_person_must_mend_ends_the_program_with_its_code_and_one_sentence() {
    let site = Site::new().await;
    let dir = TestDir::new();
    let empty = dir.write("empty", "");
    let open = dir.join("open");
    fs::copy(site.key.private(), &open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let good = || [site.flags(&dir), vec!["-rport=1".into()]].concat();
    let with = |name: &str, value: &str| [without(good(), name), flags(&[(name, value)])].concat();
    for (flags, code, expected) in [
        (with("hostkeyfile", empty.to_str().unwrap()), 78, "holds no key"),
        (with("hostkeyfile", "/nonexistent/hosts"), 78, "can't be read"),
        (with("keyfile", open.to_str().unwrap()), 78, "chmod 600"),
        (with("keyfile", "~/none"), 78, "can't be read"),
        (with("keyfile", empty.to_str().unwrap()), 78, ""),
        (with("lsock", dir.join("hosts").to_str().unwrap()), 78, "is not a socket"),
        (without(good(), "user"), 2, "-user is missing"),
        (with("rsock", "/a.sock"), 2, "exclude each other"),
        (with("colour", "red"), 2, "'--colour'"),
    ] {
        let fresh = TestDir::new();
        let (exit, log) = run(&fresh, flags).await;
        assert_eq!(exit, Some(code), "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.starts_with("ssh-tunnel: ") && last.contains(expected), "{log}");
    }
}

#[tokio::test]
async fn a_path_in_use_names_its_owner_and_the_ways_out() {
    let site = Site::new().await;
    let tunnel = site.tunnel("-rport=1").await;
    let flags = [
        without(site.flags(&tunnel.dir), "state"),
        vec!["-rport=1".into(), format!("-state={}", tunnel.dir.join("second.state").display())],
    ]
    .concat();
    let (code, log) = run(&TestDir::new(), flags).await;
    assert_eq!(code, Some(78));
    for part in [
        &format!("ssh-tunnel (process {})", tunnel.daemon.pid()),
        &*tunnel.dir.join("t.sock").to_string_lossy(),
        "plugin.sock",
        "-lsock",
        "-reverse",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(tunnel.daemon.is_running());
}
