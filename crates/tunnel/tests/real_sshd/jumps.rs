//! A login through jump hosts.

use interlink_testkit::dirs::TestDir;
use interlink_testkit::ports::free_port;
use interlink_testkit::sshd::Sshd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::{Habit, Service, Site, Tunnel, flags, me, run};

/// A server behind a jump host, which may connect to it and to nothing else.
struct Pair {
    jump: Site,
    target: Site,
}

impl Pair {
    async fn new() -> Self {
        let target = Site::new().await;
        let jump = Site::new().await;
        let pair = Self { jump, target };
        pair.permit(&format!("permitopen=\"127.0.0.1:{}\"", pair.target.sshd.port()));
        pair
    }

    /// Lets the target's key into the jump host, with these restrictions.
    fn permit(&self, restrictions: &str) {
        self.jump
            .sshd
            .set_authorized_keys(&me(), format!("{restrictions} {}\n", self.target.key.public()).trim_start());
    }

    fn flags(&self, dir: &TestDir, service: &str) -> Vec<String> {
        let mut all = self.target.flags(dir);
        dir.write("hosts", self.target.sshd.known_hosts() + &self.jump.sshd.known_hosts());
        all.extend(flags(&[("proxyjump", &format!("{}@127.0.0.1:{}", me(), self.jump.sshd.port()))]));
        all.push(service.to_owned());
        all
    }

    fn tunnel(&self, service: &Service) -> Tunnel {
        Tunnel::start(|dir| self.flags(dir, &service.flag))
    }

    async fn check(&self, changes: &[(&str, &str)], hosts: Option<String>) -> (Option<i32>, String) {
        let dir = TestDir::new();
        let mut all = self.flags(&dir, "-check");
        all.retain(|flag| !changes.iter().any(|(name, _)| flag.starts_with(&format!("-{name}="))));
        if let Some(hosts) = hosts {
            dir.write("hosts", hosts);
        }
        run(&dir, [all, flags(changes)].concat()).await
    }
}

/// The line of sshd's log about a forward to `port`.
fn forwarded(sshd: &Sshd, port: u16) -> bool {
    sshd.log().contains("direct-tcpip") && sshd.log().contains(&port.to_string())
}

#[tokio::test]
async fn the_server_is_reached_through_the_jump_host_alone() {
    let (pair, service) = (Pair::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = pair.tunnel(&service);
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    assert!(forwarded(&pair.jump.sshd, pair.target.sshd.port()));
    assert_eq!(pair.jump.sshd.sessions().len(), 1);
    // More than all windows together, both ways at once.
    const LENGTH: usize = 24 << 20;
    let (mut reader, mut writer) = tunnel.connect().await.into_split();
    let write = async {
        writer.write_all(&vec![b'x'; LENGTH]).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, read) = tokio::join!(write, reader.read_to_end(&mut back));
    read.unwrap();
    assert!(back.len() == LENGTH && back.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn a_jump_host_that_dies_takes_the_session_along_and_both_come_back() {
    let (pair, service) = (Pair::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = pair.tunnel(&service);
    tunnel.up().await;
    pair.jump.sshd.kill_sessions();
    let reconnected = |s: &interlink_daemon::state::ProgramState| {
        s.hops[0].state.to_string() == "up" && s.details.get("reconnects").is_some_and(|n| n == 1)
    };
    tunnel.becomes("the session to be new", reconnected).await;
    assert!(tunnel.daemon.log().contains("the jump host 127.0.0.1:"), "{}", tunnel.daemon.log());
    assert_eq!(tunnel.ask("hello").await, "hello");
    // And the server behind it.
    pair.target.sshd.kill_sessions();
    tunnel
        .becomes("the session to be new again", |s| {
            s.hops[0].state.to_string() == "up" && s.details.get("reconnects").is_some_and(|n| n == 2)
        })
        .await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    assert_eq!(pair.jump.sshd.sessions().len(), 1);
}

#[tokio::test]
async fn several_jump_hosts_follow_one_another() {
    let (pair, service) = (Pair::new().await, Service::tcp(Habit::Echo).await);
    let first = Site::new().await;
    first.sshd.set_authorized_keys(&me(), &format!("{}\n", pair.target.key.public()));
    let chain = format!("127.0.0.1:{},{}@127.0.0.1:{}", first.sshd.port(), me(), pair.jump.sshd.port());
    let tunnel = Tunnel::start(|dir| {
        let mut all = pair.flags(dir, &service.flag);
        all.retain(|flag| !flag.starts_with("-proxyjump"));
        let hosts = [&pair.target, &pair.jump, &first].map(|site| site.sshd.known_hosts()).concat();
        dir.write("hosts", hosts);
        [all, flags(&[("proxyjump", &chain)])].concat()
    });
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    assert!(forwarded(&first.sshd, pair.jump.sshd.port()));
}

#[tokio::test]
async fn each_fault_names_the_host_that_it_is_about() {
    let pair = Pair::new().await;
    let (jump, target) = (pair.jump.sshd.port(), pair.target.sshd.port());
    let dead = free_port();
    let swap = |text: &str, from: u16, to: u16| text.replace(&format!(":{from}"), &format!(":{to}"));
    let right = pair.target.sshd.known_hosts() + &pair.jump.sshd.known_hosts();
    let cases = [
        (
            vec![("rport", "1".to_owned()), ("proxyjump", format!("127.0.0.1:{dead}"))],
            swap(&right, jump, dead),
            "TCP",
            format!("at the jump host 127.0.0.1:{dead}: 127.0.0.1:{dead} can't be connected to"),
        ),
        (
            vec![("rport", "1".to_owned()), ("proxyjump", format!("nobody-at-all@127.0.0.1:{jump}"))],
            right.clone(),
            "login key",
            format!("at the jump host 127.0.0.1:{jump}: 127.0.0.1:{jump} refused the key"),
        ),
        (
            vec![("rport", "1".to_owned())],
            // The jump host has the other's keys on record.
            pair.target.sshd.known_hosts() + &swap(&pair.target.sshd.known_hosts(), target, jump),
            "host key",
            format!("at the jump host 127.0.0.1:{jump}: the host key of [127.0.0.1]:{jump} is not the one on record"),
        ),
        (
            vec![("rport", "1".to_owned())],
            pair.jump.sshd.known_hosts() + &swap(&pair.jump.sshd.known_hosts(), jump, target),
            "host key",
            format!("host key: the host key of [127.0.0.1]:{target} is not the one on record"),
        ),
        (
            vec![("rport", "1".to_owned()), ("addr", format!("127.0.0.1:{dead}"))],
            swap(&right, target, dead),
            "TCP",
            format!("the jump host 127.0.0.1:{jump} forbids forwarding to 127.0.0.1:{dead}"),
        ),
    ];
    for (changes, hosts, step, words) in cases {
        let changes: Vec<(&str, &str)> = changes.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (code, said) = pair.check(&changes, Some(hosts)).await;
        assert_eq!(code, Some(1), "{said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(&format!("ssh-tunnel: {step}: ")) && last.contains(&words), "{words}: {said}");
    }
    pair.permit("");
    let addr = format!("127.0.0.1:{dead}");
    let (code, said) = pair.check(&[("rport", "1"), ("addr", &addr)], Some(swap(&right, target, dead))).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("{addr} can't be connected to from the jump host 127.0.0.1:{jump}")), "{said}");
}

#[tokio::test]
async fn keys_without_a_name_do_not_count_behind_a_jump_host_which_could_pass_for_the_server() {
    let pair = Pair::new().await;
    let known = pair.target.sshd.known_hosts() + &pair.jump.sshd.known_hosts();
    let bare: String =
        known.lines().filter_map(|line| line.split_once(' ')).map(|(_, key)| format!("{key}\n")).collect();
    let (code, said) = pair.check(&[("rport", "1")], Some(bare)).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("name the host in each line"), "{said}");
}

#[tokio::test]
async fn a_check_through_a_jump_host_tells_that_it_was_passed() {
    let (pair, service) = (Pair::new().await, Service::tcp(Habit::Echo).await);
    let port = service.flag.trim_start_matches("-rport=");
    let (code, said) = pair.check(&[("rport", port)], None).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("ok    jump host      127.0.0.1:{} as {}", pair.jump.sshd.port(), me())), "{said}");
}
