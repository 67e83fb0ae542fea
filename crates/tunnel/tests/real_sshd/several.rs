//! Several forwards from one file, and several sessions to one server.

use std::path::Path;
use std::time::Duration;

use interlink_daemon::state::ProgramState;
use interlink_testkit::dirs::TestDir;
use interlink_testkit::ports::free_port;
use interlink_testkit::process::{Signal, leftovers};
use interlink_testkit::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::rexec::far_end;
use crate::rig::{Habit, SOON, Service, Site, Tunnel, ask, me, run};

/// An entry of the list; `far` is a flag of a service.
fn entry(dir: &Path, name: &str, far: &str) -> String {
    let (key, value) = far.trim_start_matches('-').split_once('=').expect("a service's flag has a value");
    format!("  - {{name: {name}, lsock: '{}', {key}: '{value}'}}\n", socket(dir, name).display())
}

fn socket(dir: &Path, name: &str) -> std::path::PathBuf {
    dir.join(format!("{name}.sock"))
}

/// Writes the file of a running or future tunnel.
fn write(dir: &TestDir, settings: &str, forwards: &[String]) {
    dir.write("tunnel.yaml", format!("{settings}forwards:\n{}", forwards.concat()));
}

/// A tunnel with the forwards that `forwards` makes.
fn start(site: &Site, settings: &str, forwards: impl FnOnce(&Path) -> Vec<String>) -> Tunnel {
    Tunnel::start(|dir| {
        write(dir, settings, &forwards(dir.path()));
        let mut flags = site.flags(dir);
        flags.retain(|flag| !flag.starts_with("-lsock"));
        flags.push(format!("-config={}", dir.join("tunnel.yaml").display()));
        flags
    })
}

async fn ask_at(tunnel: &Tunnel, name: &str, word: &str) -> String {
    match UnixStream::connect(socket(tunnel.dir.path(), name)).await {
        Ok(stream) => ask(stream, word).await,
        Err(err) => err.to_string(),
    }
}

/// A client that stays connected.
async fn stay(tunnel: &Tunnel, name: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket(tunnel.dir.path(), name)).await.expect("the forward listens");
    say(&mut stream).await.expect("the service echoes");
    stream
}

/// Says a word on a connection to an echo and waits for the answer.
async fn say(stream: &mut UnixStream) -> Result<(), String> {
    let said = async {
        stream.write_all(b"w").await?;
        stream.read_exact(&mut [0]).await
    };
    match timeout(SOON, said).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(err)) => Err(err.to_string()),
        Err(_) => Err("no answer".into()),
    }
}

async fn said(tunnel: &Tunnel, words: &str) {
    wait::until(&format!("{words:?} in the log"), SOON, async || {
        let log = tunnel.daemon.log();
        if log.contains(words) { Ok(()) } else { Err(log) }
    })
    .await;
}

fn sessions_up(state: &ProgramState) -> Option<u64> {
    state.details["sessions"]["up"].as_u64()
}

fn forward<'a>(state: &'a ProgramState, name: &str) -> &'a serde_json::Value {
    let all = state.details["forwards"].as_array().expect("the state lists the forwards");
    all.iter().find(|forward| forward["name"] == name).expect("the forward is in the state")
}

#[tokio::test]
async fn forwards_of_all_kinds_share_one_session() {
    let (site, dir) = (Site::new().await, TestDir::new());
    let to_port = Service::tcp(Habit::Echo).await;
    let to_socket = Service::unix(dir.join("far.sock"), Habit::Count);
    let (port, other) = (free_port(), free_port());
    let command = format!("exec {} {}", far_end().display(), dir.join("far.sock").display());
    let tunnel = start(&site, "", |here| {
        vec![
            entry(here, "port", &to_port.flag),
            entry(here, "socket", &to_socket.flag),
            entry(here, "command", &format!("-rexec={command}")),
            format!(
                "  - {{name: back, lsock: 'localhost:{}', rport: {port}, reverse: true}}\n",
                to_port.flag.split_once('=').unwrap().1
            ),
            format!("  - {{name: other, lsock: {}, rport: {other}, reverse: true}}\n", dir.join("far.sock").display()),
        ]
    });
    let state = tunnel
        .becomes("all forwards to be up", |s| {
            s.details["forwards"].as_array().is_some_and(|f| f.iter().all(|f| f["state"] == "up"))
        })
        .await;
    assert_eq!(forward(&state, "back")["listens"], format!("localhost:{port}"));
    assert_eq!(ask_at(&tunnel, "port", "hello").await, "hello");
    assert_eq!(ask_at(&tunnel, "socket", "12345").await, "5");
    assert_eq!(ask_at(&tunnel, "command", "1234").await, "4");
    // Each listener of the server leads to its own service.
    assert_eq!(ask(TcpStream::connect(("127.0.0.1", port)).await.unwrap(), "back").await, "back");
    assert_eq!(ask(TcpStream::connect(("127.0.0.1", other)).await.unwrap(), "123").await, "3");
    assert_eq!(site.sshd.sessions().len(), 1, "all over one session");

    site.sshd.kill_sessions();
    wait::until("the reverse forwards to be back", SOON, async || {
        for (port, word, answer) in [(port, "back", "back"), (other, "12", "2")] {
            let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else { return Err("nobody listens".into()) };
            let said = ask(stream, word).await;
            if said != answer {
                return Err(said);
            }
        }
        Ok(())
    })
    .await;
    assert_eq!(ask_at(&tunnel, "command", "1234").await, "4");
}

#[tokio::test]
async fn a_reload_begins_what_is_new_ends_what_is_gone_and_touches_nothing_else() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = start(&site, "", |here| vec![entry(here, "kept", &service.flag), entry(here, "gone", &service.flag)]);
    tunnel.up().await;
    let (mut kept, mut gone) = (stay(&tunnel, "kept").await, stay(&tunnel, "gone").await);
    let session = site.sshd.sessions();

    let path = socket(tunnel.dir.path(), "kept");
    let knocking = tokio::spawn(async move {
        let mut answered = 0u32;
        while answered < 400 {
            let stream = UnixStream::connect(&path).await.map_err(|err| format!("after {answered}: {err}"))?;
            let answer = ask(stream, "knock").await;
            if answer != "knock" {
                return Err(format!("after {answered}: {answer}"));
            }
            answered += 1;
        }
        Ok(())
    });
    let here = tunnel.dir.path();
    write(&tunnel.dir, "", &[entry(here, "new", &service.flag), entry(here, "kept", &service.flag)]);
    tunnel.daemon.signal(Signal::SIGHUP);
    said(&tunnel, "configuration read again").await;
    assert_eq!(ask_at(&tunnel, "new", "hello").await, "hello");
    assert!(!socket(here, "gone").exists(), "{}", tunnel.daemon.log_tail(5));
    say(&mut gone).await.unwrap();
    say(&mut kept).await.unwrap();
    knocking.await.unwrap().unwrap();
    assert_eq!(site.sshd.sessions(), session, "the session is the same");
    let state = tunnel.state().await.unwrap();
    assert_eq!(state.details["forwards"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_forward_that_leads_elsewhere_after_a_reload_keeps_its_socket() {
    let (site, echo, count) = (Site::new().await, Service::tcp(Habit::Echo).await, Service::tcp(Habit::Count).await);
    let tunnel = start(&site, "", |here| vec![entry(here, "one", &echo.flag)]);
    tunnel.up().await;
    let path = socket(tunnel.dir.path(), "one");
    assert_eq!(ask_at(&tunnel, "one", "12").await, "12");
    let knocking = tokio::spawn(async move {
        for n in 0..5000 {
            let answer = ask(UnixStream::connect(&path).await.map_err(|err| format!("after {n}: {err}"))?, "12").await;
            match answer.as_str() {
                "12" => {}
                "2" => return Ok(()),
                other => return Err(format!("after {n}: {other:?}")),
            }
        }
        Err("it still leads where it did".to_owned())
    });
    write(&tunnel.dir, "", &[entry(tunnel.dir.path(), "one", &count.flag)]);
    tunnel.daemon.signal(Signal::SIGHUP);
    knocking.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_mistake_in_the_file_changes_nothing_and_is_said_in_one_sentence() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = start(&site, "", |here| vec![entry(here, "one", &service.flag)]);
    tunnel.up().await;
    let here = tunnel.dir.path();
    let foreign = tokio::net::UnixListener::bind(socket(here, "taken")).unwrap();
    for (entries, words) in [
        (vec!["  - {name: one}\n".to_owned()], "line 2, key forwards[0]: forward one: lsock is missing"),
        (vec![entry(here, "two", &service.flag), entry(here, "taken", &service.flag)], "forward taken: -lsock"),
    ] {
        write(&tunnel.dir, "", &entries);
        tunnel.daemon.signal(Signal::SIGHUP);
        said(&tunnel, words).await;
        said(&tunnel, "going on with the configuration that was read before").await;
        assert_eq!(ask_at(&tunnel, "one", "hello").await, "hello");
        assert!(!socket(here, "two").exists());
    }
    drop(foreign);
    let (code, said) = run(&tunnel.dir, vec![format!("-config={}", tunnel.dir.join("absent.yaml").display())]).await;
    assert_eq!(code, Some(78));
    assert!(said.contains("absent.yaml"), "{said}");
}

#[tokio::test]
async fn a_forward_that_the_server_forbids_leaves_the_others_up() {
    let service = Service::tcp(Habit::Echo).await;
    let port = service.flag.split_once('=').unwrap().1;
    let site = Site::with(&format!("restrict,port-forwarding,permitopen=\"localhost:{port}\""), &[]).await;
    let tunnel = start(&site, "", |here| vec![entry(here, "bad", "-rport=1"), entry(here, "good", &service.flag)]);
    let state = tunnel.becomes("the bad one to be told", |s| {
        s.hops[0].state.to_string() == "up" && s.details["forwards"][0]["state"] == "down"
    });
    let state = state.await;
    assert!(
        forward(&state, "bad")["cause"].as_str().unwrap().contains("forbids forwarding to localhost:1"),
        "{state:?}"
    );
    assert!(forward(&state, "bad")["remedy"].as_str().unwrap().contains("permitopen"), "{state:?}");
    assert_eq!(forward(&state, "good")["state"], "up");
    assert!(state.hops.iter().any(|hop| hop.hop == "remote:bad" && hop.state.to_string() == "down"), "{state:?}");
    assert_eq!(ask_at(&tunnel, "good", "hello").await, "hello");
}

#[tokio::test]
async fn a_command_that_ends_is_started_again_and_the_other_forwards_do_not_notice() {
    let (site, dir) = (Site::new().await, TestDir::new());
    let echo = Service::unix(dir.join("far.sock"), Habit::Echo);
    let command = format!(
        "echo $$ >> {}; exec {} {}",
        dir.join("pids").display(),
        far_end().display(),
        dir.join("far.sock").display()
    );
    let tunnel = start(&site, "", |here| {
        vec![entry(here, "plain", &echo.flag), entry(here, "command", &format!("-rexec={command}"))]
    });
    wait::until("the command to carry", SOON, async || match ask_at(&tunnel, "command", "hello").await {
        answer if answer == "hello" => Ok(()),
        answer => Err(answer),
    })
    .await;
    let mut plain = stay(&tunnel, "plain").await;
    let session = site.sshd.sessions();
    let pids = || std::fs::read_to_string(dir.join("pids")).unwrap();
    let first = pids().lines().next().unwrap().parse::<u32>().unwrap();
    leftovers::signal(&[first].into(), Signal::SIGKILL);
    wait::until("another command to carry", SOON, async || match ask_at(&tunnel, "command", "again").await {
        answer if answer == "again" && pids().lines().count() == 2 => Ok(()),
        answer => Err(answer),
    })
    .await;
    say(&mut plain).await.unwrap();
    assert_eq!(site.sshd.sessions(), session);

    // One that is no longer asked for ends at the server too.
    let second = pids().lines().nth(1).unwrap().to_owned();
    write(&tunnel.dir, "", &[entry(tunnel.dir.path(), "plain", &echo.flag)]);
    tunnel.daemon.signal(Signal::SIGHUP);
    wait::until("the command to end", SOON, async || {
        if Path::new("/proc").join(&second).exists() { Err("it runs") } else { Ok(()) }
    })
    .await;
    say(&mut plain).await.unwrap();
}

#[tokio::test]
async fn new_connections_go_to_the_session_with_the_fewest_and_each_session_heals_on_its_own() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = start(&site, "connections: 3\n", |here| vec![entry(here, "one", &service.flag)]);
    let all_up = |s: &ProgramState| sessions_up(s) == Some(3);
    tunnel.becomes("three sessions", all_up).await;
    let before = site.sshd.sessions();
    assert_eq!(before.len(), 3);
    let mut clients = Vec::new();
    for _ in 0..9 {
        clients.push(stay(&tunnel, "one").await);
    }
    let dead = *before.first().unwrap();
    leftovers::signal(&leftovers::with_descendants(vec![dead]), Signal::SIGKILL);
    tunnel
        .becomes("one session fewer, or another one", |s| s.details["reconnects"] == 1 || sessions_up(s) == Some(2))
        .await;
    let mut alive = 0;
    for client in &mut clients {
        alive += u32::from(say(client).await.is_ok());
    }
    assert_eq!(alive, 6, "a third of the connections went with their session");
    assert_eq!(ask_at(&tunnel, "one", "hello").await, "hello");
    let state = tunnel.becomes("three sessions again", all_up).await;
    assert_eq!(state.details["reconnects"], 1);
    assert!(tunnel.daemon.log().contains("connection"), "{}", tunnel.daemon.log());
}

#[tokio::test]
async fn a_reverse_forward_lives_on_one_session_and_moves_to_another_when_that_ends() {
    let (site, service, port) = (Site::new().await, Service::tcp(Habit::Echo).await, free_port());
    let local = service.flag.split_once('=').unwrap().1.to_owned();
    let tunnel = start(&site, "connections: 2\n", |_| {
        vec![format!("  - {{name: back, lsock: 'localhost:{local}', rport: {port}, reverse: true}}\n")]
    });
    for _ in 0..3 {
        tunnel
            .becomes("two sessions", |s| sessions_up(s) == Some(2) && s.details["forwards"][0]["state"] == "up")
            .await;
        assert_eq!(ask(TcpStream::connect(("127.0.0.1", port)).await.unwrap(), "hello").await, "hello");
        let first = *site.sshd.sessions().first().unwrap();
        leftovers::signal(&leftovers::with_descendants(vec![first]), Signal::SIGKILL);
        wait::until("the port to lead to the service", SOON, async || {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => match ask(stream, "hello").await {
                    answer if answer == "hello" => Ok(()),
                    answer => Err(answer),
                },
                Err(err) => Err(err.to_string()),
            }
        })
        .await;
    }
    tunnel.daemon.signal(Signal::SIGTERM);
    assert_eq!(tunnel.daemon.exited(Duration::from_secs(20)).await.code(), Some(0));
}

#[tokio::test]
async fn several_sessions_fail_to_log_in_once_and_all_come_when_that_is_mended() {
    let (site, service) = (Site::with("", &["LogLevel VERBOSE"]).await, Service::tcp(Habit::Echo).await);
    let keys = std::fs::read_to_string(site.sshd.authorized_keys(&me())).unwrap();
    site.sshd.set_authorized_keys(&me(), "");
    let tunnel = start(&site, "connections: 4\n", |here| vec![entry(here, "one", &service.flag)]);
    tunnel.down().await;
    let failed = || site.sshd.log().matches("Failed publickey for").count();
    wait::until("a failed login", SOON, async || if failed() > 0 { Ok(()) } else { Err(site.sshd.log()) }).await;
    assert_eq!(failed(), 1, "{}", site.sshd.log());
    site.sshd.set_authorized_keys(&me(), &keys);
    tunnel.daemon.signal(Signal::SIGHUP);
    tunnel.becomes("four sessions", |s| sessions_up(s) == Some(4)).await;
    assert_eq!(ask_at(&tunnel, "one", "hello").await, "hello");
}

#[tokio::test]
async fn a_command_that_is_of_no_use_does_not_stay_at_the_server_and_is_tried_again_after_a_reload() {
    let (site, dir) = (Site::new().await, TestDir::new());
    let echo = Service::tcp(Habit::Echo).await;
    let command = format!("echo $$ >> {}; echo interlink-mux/2; exec cat", dir.join("pids").display());
    let tunnel = start(&site, "", |here| {
        vec![entry(here, "plain", &echo.flag), entry(here, "command", &format!("-rexec={command}"))]
    });
    let pids = || std::fs::read_to_string(dir.join("pids")).unwrap_or_default();
    for tries in 1..=2 {
        wait::until("the command to have been tried and ended", SOON, async || match pids() {
            all if all.lines().count() != tries => Err(format!("{all:?}")),
            all if all.lines().any(|pid| Path::new("/proc").join(pid).exists()) => Err("it runs".to_owned()),
            _ => Ok(()),
        })
        .await;
        let told =
            |s: &ProgramState| s.hops[0].state.to_string() == "up" && s.details["forwards"][1]["state"] == "down";
        let state = tunnel.becomes("the command to be told", told).await;
        assert!(forward(&state, "command")["remedy"].as_str().unwrap().contains("same release"), "{state:?}");
        assert_eq!(ask_at(&tunnel, "plain", "hello").await, "hello");
        tunnel.daemon.signal(Signal::SIGHUP);
    }
    assert_eq!(site.sshd.sessions().len(), 1);
}

#[tokio::test]
async fn a_check_tries_every_forward_and_names_the_one_that_fails() {
    let (site, dir) = (Site::new().await, TestDir::new());
    let echo = Service::tcp(Habit::Echo).await;
    write(&dir, "", &[entry(dir.path(), "bad", "-rport=1"), entry(dir.path(), "good", &echo.flag)]);
    let mut flags = site.flags(&dir);
    flags.retain(|flag| !flag.starts_with("-lsock"));
    flags.extend([format!("-config={}", dir.join("tunnel.yaml").display()), "-check".to_owned()]);
    let (code, said) = run(&dir, flags).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FAIL  service        bad: nothing listens at localhost:1"), "{said}");
    assert!(said.contains(&format!("good: localhost:{}", echo.flag.split_once('=').unwrap().1)), "{said}");
}

#[tokio::test]
async fn a_command_among_several_that_hangs_is_ended_before_another_is_started() {
    let (site, dir) = (Site::new().await, TestDir::new());
    let echo = Service::unix(dir.join("far.sock"), Habit::Echo);
    let (pids, far) = (dir.join("pids"), dir.join("far.sock"));
    let command = format!("echo $$ >> {}; exec {} {}", pids.display(), far_end().display(), far.display());
    let tunnel = start(&site, "connect-timeout: 1s\n", |here| {
        vec![entry(here, "plain", &echo.flag), entry(here, "command", &format!("-rexec={command}"))]
    });
    let carried = async |n: usize| {
        wait::until("the command to carry", SOON, async || match ask_at(&tunnel, "command", "hello").await {
            answer if answer == "hello" && std::fs::read_to_string(&pids).unwrap().lines().count() == n => Ok(()),
            answer => Err(answer),
        })
        .await;
    };
    carried(1).await;
    let hung = std::fs::read_to_string(&pids).unwrap().trim().parse::<u32>().unwrap();
    leftovers::signal(&[hung].into(), Signal::SIGSTOP);
    carried(2).await;
    // It learns that nobody is there any more as soon as it can.
    leftovers::signal(&[hung].into(), Signal::SIGCONT);
    wait::until("the command that hung to end", SOON, async || {
        if Path::new("/proc").join(hung.to_string()).exists() { Err("it runs") } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_reverse_forward_that_leads_elsewhere_after_a_reload_is_told_as_up() {
    let (site, port) = (Site::new().await, free_port());
    let (one, other) = (Service::tcp(Habit::Echo).await, Service::tcp(Habit::Echo).await);
    let back = |service: &Service| {
        let local = service.flag.split_once('=').unwrap().1;
        format!("  - {{name: back, lsock: 'localhost:{local}', rport: {port}, reverse: true}}\n")
    };
    let tunnel = start(&site, "", |here| vec![entry(here, "plain", &one.flag), back(&one)]);
    let both = |s: &ProgramState| ["plain", "back"].iter().all(|name| forward(s, name)["state"] == "up");
    tunnel.becomes("both to be up", both).await;
    write(&tunnel.dir, "", &[entry(tunnel.dir.path(), "plain", &one.flag), back(&other)]);
    tunnel.daemon.signal(Signal::SIGHUP);
    said(&tunnel, "configuration read again").await;
    let leads = other.flag.split_once('=').unwrap().1.to_owned();
    tunnel
        .becomes("both to be up again", |s| {
            both(s) && forward(s, "back")["forwardsTo"].as_str().is_some_and(|to| to.contains(&leads))
        })
        .await;
    assert_eq!(ask(TcpStream::connect(("127.0.0.1", port)).await.unwrap(), "hello").await, "hello");
}
