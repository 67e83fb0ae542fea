//! The system's `ssh` as the engine.

use std::collections::BTreeSet;
use std::sync::Arc;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::ports::free_port;
use interlink_testkit::process::{Signal, leftovers};
use interlink_testkit::wait;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::rexec::far_end;
use crate::rig::{Habit, SOON, Service, Site, Tunnel, ask, flags, me, run};

const ENGINE: &str = "-engine=openssh";

fn start(site: &Site, more: &[String]) -> Tunnel {
    Tunnel::start(|dir| [site.flags(dir), vec![ENGINE.to_owned()], more.to_vec()].concat())
}

/// The processes that the tunnel has started.
fn children(tunnel: &Tunnel) -> BTreeSet<u32> {
    let mut all = leftovers::with_descendants(vec![tunnel.daemon.pid()]);
    all.remove(&tunnel.daemon.pid());
    all
}

fn runs(pid: u32) -> bool {
    // One that has ended but is not reaped yet has no arguments.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|args| !args.is_empty())
}

async fn gone(pids: &BTreeSet<u32>) {
    wait::until("every ssh to end", SOON, async || match pids.iter().find(|pid| runs(**pid)) {
        None => Ok(()),
        Some(pid) => Err(format!("{pid} runs")),
    })
    .await;
}

#[tokio::test]
async fn connections_reach_ports_and_sockets_and_keep_their_ends_apart() {
    let (site, dir) = (Site::new().await, TestDir::new());
    for service in [Service::tcp(Habit::Count).await, Service::unix(dir.join("far:end.sock"), Habit::Count)] {
        let tunnel = start(&site, std::slice::from_ref(&service.flag));
        let state = tunnel.up().await;
        assert_eq!(state.details["peer"], format!("127.0.0.1:{}", site.sshd.port()), "{state:?}");
        assert_eq!(tunnel.ask("12345").await, "5");
        assert_eq!(tunnel.ask("").await, "0");
        tunnel.becomes("the service to be known", |s| s.hops.iter().any(|h| h.hop == "remote")).await;
    }
}

#[tokio::test]
async fn many_connections_at_once_are_all_served() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = Arc::new(start(&site, std::slice::from_ref(&service.flag)));
    tunnel.up().await;
    let mut clients = JoinSet::new();
    for n in 0..300 {
        let tunnel = tunnel.clone();
        clients.spawn(async move { (n.to_string(), tunnel.ask(&n.to_string()).await) });
    }
    while let Some(done) = clients.join_next().await {
        let (sent, received) = done.unwrap();
        assert_eq!(sent, received, "{}", tunnel.daemon.log_tail(5));
    }
}

#[tokio::test]
async fn a_service_that_is_away_is_told_from_a_forward_that_is_forbidden() {
    let port = free_port();
    let site = Site::new().await;
    let tunnel = start(&site, &[format!("-rport={port}")]);
    tunnel.up().await;
    let state = tunnel.becomes("the service to be missed", |s| s.hops.len() > 1).await;
    assert!(state.hops[1].cause.contains(&format!("nothing listens at localhost:{port}")), "{state:?}");
    let _service = Service::on_port(port, Habit::Echo).await;
    tunnel.becomes("the service to be found", |s| s.hops.len() > 1 && s.hops[1].state.to_string() == "up").await;

    let site = Site::with("", &["AllowTcpForwarding no"]).await;
    let tunnel = start(&site, &[format!("-rport={port}")]);
    let state = tunnel.down().await;
    assert!(state.hops[0].cause.contains("forbids forwarding"), "{state:?}");
    assert!(state.hops[0].remedy.contains("AllowTcpForwarding"), "{state:?}");
}

#[tokio::test]
async fn in_reverse_the_server_listens_and_a_taken_port_is_asked_for_again() {
    let (site, dir) = (Site::new().await, TestDir::new());
    let service = Service::unix(dir.join("service.sock"), Habit::Count);
    let local = service.flag.replace("-rsock=", "-lsock=");
    let (port, socket) = (free_port(), dir.join("far.sock"));
    for far in [format!("-rport={port}"), format!("-rsock={}", socket.display())] {
        let taken = match far.starts_with("-rport") {
            // Of either kind: sshd listens on what it can have.
            true => Some((
                tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap(),
                tokio::net::TcpListener::bind(("::1", port)).await,
            )),
            false => None,
        };
        let tunnel = Tunnel::start(|dir| {
            let mut all = site.flags(dir);
            all.retain(|f| !f.starts_with("-lsock"));
            [all, vec![ENGINE.into(), "-reverse".into(), local.clone(), far.clone()]].concat()
        });
        if let Some(taken) = taken {
            let state = tunnel.down().await;
            assert!(state.hops[0].cause.contains(&format!("does not listen on localhost:{port}")), "{state:?}");
            drop(taken);
        }
        tunnel.up().await;
        let answer = match far.starts_with("-rport") {
            true => ask(TcpStream::connect(("127.0.0.1", port)).await.unwrap(), "12345").await,
            false => ask(UnixStream::connect(&socket).await.unwrap(), "12345").await,
        };
        assert_eq!(answer, "5", "{}", tunnel.daemon.log_tail(5));
        site.sshd.kill_sessions();
        // A server that was killed leaves its file, and takes no other's place.
        let _ = std::fs::remove_file(&socket);
        tunnel.becomes("a new session", |s| s.hops[0].state.to_string() == "up" && s.details["reconnects"] == 1).await;
    }
}

#[tokio::test]
async fn a_command_carries_the_connections_where_forwarding_is_forbidden() {
    let dir = TestDir::new();
    let _service = Service::unix(dir.join("s.sock"), Habit::Echo);
    let command = format!("echo Welcome; exec {} {}", far_end().display(), dir.join("s.sock").display());
    let site = Site::with(&format!("restrict,command=\"{command}\""), &["AllowTcpForwarding no"]).await;
    let tunnel = start(&site, &["-rexec=interlink-plugin dial-stdio".into()]);
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    assert_eq!(site.sshd.sessions().len(), 1);
    site.sshd.kill_sessions();
    tunnel.becomes("a new session", |s| s.hops[0].state.to_string() == "up" && s.details["reconnects"] == 1).await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    let ssh = children(&tunnel);
    assert!(!ssh.is_empty());
    tunnel.daemon.kill9();
    gone(&ssh).await;

    let foreign = Site::with("", &["ForceCommand /bin/false"]).await;
    let tunnel = start(&foreign, &["-rexec=interlink-plugin dial-stdio".into()]);
    let state = tunnel.down().await;
    assert!(state.hops[0].remedy.contains("ForceCommand"), "{state:?}");
}

#[tokio::test]
async fn the_tunnel_outlives_its_server_and_its_ssh() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = start(&site, std::slice::from_ref(&service.flag));
    tunnel.up().await;
    let again = |n: u64| {
        move |s: &interlink_daemon::state::ProgramState| {
            s.hops[0].state.to_string() == "up" && s.details["reconnects"] == n
        }
    };
    let first = children(&tunnel);
    leftovers::signal(&first, Signal::SIGKILL);
    tunnel.becomes("another ssh", again(1)).await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    assert!(children(&tunnel).is_disjoint(&first));

    site.sshd.restart().await;
    site.sshd.kill_sessions();
    tunnel.becomes("another session", again(2)).await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    assert_eq!(site.sshd.sessions().len(), 1);
    assert!(tunnel.daemon.log().contains("ssh says: Connection"), "{}", tunnel.daemon.log());
}

#[tokio::test]
async fn no_ssh_outlives_the_tunnel() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let jump = Site::new().await;
    jump.sshd.set_authorized_keys(&me(), &format!("{}\n", site.key.public()));
    let chain = format!("-proxyjump={}@127.0.0.1:{}", me(), jump.sshd.port());
    for killed in [true, false] {
        let tunnel = Tunnel::start(|dir| {
            let all = [site.flags(dir), vec![ENGINE.into(), chain.clone(), service.flag.clone()]].concat();
            dir.write("hosts", site.sshd.known_hosts() + &jump.sshd.known_hosts());
            all
        });
        tunnel.up().await;
        // In the middle of something.
        let _open = tunnel.connect().await;
        assert_eq!(tunnel.ask("hello").await, "hello");
        let ssh = children(&tunnel);
        // The one to the server and the one to the jump host.
        assert!(ssh.len() >= 2, "{ssh:?}");
        if killed {
            tunnel.daemon.kill9();
        } else {
            assert_eq!(tunnel.daemon.terminate(SOON).await.code(), Some(0));
        }
        gone(&ssh).await;
        wait::until("the servers to see it", SOON, async || match site.sshd.sessions().len() {
            0 => Ok(()),
            n => Err(format!("{n} sessions")),
        })
        .await;
    }
}

#[tokio::test]
async fn the_rules_of_ssh_config_count_and_a_new_host_is_recorded_there() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = Tunnel::start(|dir| {
        let config = dir.write(
            "ssh config",
            format!(
                "Host cluster\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile \"{}\"\n  \
                 UserKnownHostsFile {}\n  ForwardAgent yes\n  BatchMode no\n",
                site.sshd.port(),
                me(),
                site.key.private().display(),
                dir.join("known").display(),
            ),
        );
        let all = flags(&[
            ("addr", "cluster"),
            ("engine", "openssh"),
            ("F", &config.display().to_string()),
            ("lsock", &dir.join("t.sock").display().to_string()),
            ("state", &dir.join("t.state").display().to_string()),
        ]);
        [all, vec![service.flag.clone()]].concat()
    });
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    let known = std::fs::read_to_string(tunnel.dir.join("known")).unwrap();
    assert!(known.contains("ssh-ed25519"), "{known}");

    // A changed key is refused from now on, with its fingerprint.
    let other = Site::new().await;
    let key = other.sshd.host_keys()[0].public().to_owned();
    let host = known.split(' ').next().unwrap();
    std::fs::write(tunnel.dir.join("known"), format!("{host} {key}\n")).unwrap();
    site.sshd.kill_sessions();
    let state =
        tunnel.becomes("the other key to be refused", |s| s.hops[0].cause.contains("not the one on record")).await;
    assert!(state.hops[0].cause.contains("SHA256:"), "{state:?}");
    // Where it can't be recorded, it is refused.
    std::fs::remove_file(tunnel.dir.join("known")).unwrap();
    std::fs::create_dir(tunnel.dir.join("known")).unwrap();
    tunnel.daemon.signal(Signal::SIGHUP);
    tunnel.becomes("the record to be missed", |s| s.hops[0].cause.contains("can't be recorded")).await;
}

/// Runs a check that fails at `step` with these words.
async fn fails(site: &Site, changes: &[(&str, &str)], step: &str, words: &[&str]) {
    let dir = TestDir::new();
    let mut all = [site.flags(&dir), vec!["-check".into(), ENGINE.into()]].concat();
    all.retain(|flag| !changes.iter().any(|(name, _)| flag.starts_with(&format!("-{name}="))));
    let (code, said) = run(&dir, [all, flags(changes)].concat()).await;
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("FAIL")).count(), 1, "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("ssh-tunnel: {step}: ")), "{step}: {said}");
    for word in words {
        assert!(last.contains(word), "{word}: {said}");
    }
}

#[tokio::test]
async fn a_check_names_the_step_that_fails() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let (port, dir) = (free_port().to_string(), TestDir::new());
    let (code, said) =
        run(&dir, [site.flags(&dir), vec!["-check".into(), ENGINE.into(), service.flag.clone()]].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{}", site.sshd.port())), "{said}");

    let nobody = format!("127.0.0.1:{port}");
    fails(&site, &[("rport", "1"), ("addr", "no-such-host.invalid:22")], "DNS", &["no-such-host.invalid"]).await;
    fails(&site, &[("rport", "1"), ("addr", &nobody)], "TCP", &["refused", "sshd is not running"]).await;
    fails(&site, &[("rport", &port)], "service", &[&format!("nothing listens at localhost:{port}")]).await;
    fails(&site, &[("rsock", "/none.sock")], "service", &["/none.sock", "AllowStreamLocalForwarding"]).await;
    let stranger = Site::new().await;
    let key = stranger.key.private().display().to_string();
    fails(&site, &[("rport", "1"), ("keyfile", &key)], "login key", &["Permission denied", "authorized_keys"]).await;
    let line = stranger.sshd.known_hosts().replace(&stranger.sshd.port().to_string(), &site.sshd.port().to_string());
    let hosts = dir.write("others", line).display().to_string();
    fails(&site, &[("rport", "1"), ("hostkeyfile", &hosts)], "host key", &["127.0.0.1"]).await;
    let bad = dir.write("bad", "Colour red\n").display().to_string();
    fails(&site, &[("rport", "1"), ("F", &bad)], "DNS", &["configuration", "-F"]).await;

    let forbids = Site::with("", &["PermitOpen none"]).await;
    fails(&forbids, &[("rport", "1")], "forwarding", &["forbids forwarding", "PermitOpen"]).await;
    let forbids = Site::with("", &["ForceCommand /bin/false"]).await;
    fails(&forbids, &[("rexec", "interlink-plugin dial-stdio")], "forwarding", &["ForceCommand"]).await;

    // At a jump host.
    let jump = Site::with("", &["AllowTcpForwarding no"]).await;
    jump.sshd.set_authorized_keys(&me(), &format!("{}\n", site.key.public()));
    let both = dir.write("both", site.sshd.known_hosts() + &jump.sshd.known_hosts()).display().to_string();
    let chain = format!("{}@127.0.0.1:{}", me(), jump.sshd.port());
    let through = [("rport", "1"), ("hostkeyfile", &*both), ("proxyjump", &*chain)];
    fails(&site, &through, "TCP", &["a jump host forbids forwarding", "AllowTcpForwarding"]).await;
}

#[tokio::test]
async fn an_open_connection_is_not_touched_by_another_that_is_refused() {
    let (site, dir) = (Site::new().await, TestDir::new());
    let path = dir.join("s.sock");
    let service = Service::unix(path.clone(), Habit::Flood);
    let tunnel = start(&site, std::slice::from_ref(&service.flag));
    tunnel.up().await;
    let mut open = tunnel.connect().await;
    let mut some = [0; 1 << 16];
    open.read_exact(&mut some).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_ne!(tunnel.ask("hello").await, "hello");
    tunnel.becomes("the service to be missed", |s| s.hops.len() > 1 && s.hops[1].state.to_string() == "down").await;
    for _ in 0..64 {
        open.read_exact(&mut some).await.unwrap();
    }
}
