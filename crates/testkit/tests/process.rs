//! Processes end when their test does.

use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::{Launch, leftovers};
use interlink_testkit::{ports, wait};

fn exists(pid: u32) -> bool {
    // an orphan that nobody reaps stays as a zombie where PID 1 is not an init
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}

#[tokio::test]
async fn a_daemon_is_killed_and_started_again_with_the_same_arguments() {
    let dir = TestDir::new();
    let daemon = Launch::new("sh", dir.join("log"))
        .args(["-c", "echo started $WITH; exec sleep 1000"])
        .env("WITH", "it")
        .start();
    let first = daemon.pid();
    wait::until("the first start", Duration::from_secs(5), async || {
        if daemon.log() == "started it\n" { Ok(()) } else { Err(daemon.log()) }
    })
    .await;
    daemon.kill9();
    assert!(!exists(first));
    daemon.start_again();
    wait::until("the second start", Duration::from_secs(5), async || {
        if daemon.log() == "started it\nstarted it\n" { Ok(()) } else { Err(daemon.log()) }
    })
    .await;
    assert_ne!(daemon.pid(), first);
    assert!(daemon.terminate(Duration::from_secs(5)).await.code().is_none(), "ended by the signal");
}

#[test]
fn dropping_a_daemon_ends_its_whole_group() {
    let dir = TestDir::new();
    let daemon = Launch::new("sh", dir.join("log"))
        .args(["-c", "trap '' TERM; sleep 1000 & echo $!; wait"])
        .patience(Duration::from_millis(100))
        .start();
    let child = loop {
        if let Ok(pid) = daemon.log().trim().parse::<u32>() {
            break pid;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let leader = daemon.pid();
    assert!(exists(leader) && exists(child));
    drop(daemon);
    assert!(!exists(leader), "the leader has been reaped");
    for _ in 0..100 {
        if !exists(child) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the child {child} lives on");
}

#[tokio::test]
async fn dropping_a_directory_ends_what_detached_itself_from_its_daemon() {
    let dir = TestDir::new();
    let marker = dir.join("job-dir");
    let daemon = Launch::new("setsid", dir.join("log"))
        .args(["sh", "-c", "env -i setsid sh -c 'sleep 1000; true' $0 & echo $!; wait"])
        .arg(marker.as_os_str())
        .start();
    let orphan: u32 =
        wait::until("the orphan", Duration::from_secs(5), async || daemon.log().trim().parse::<u32>()).await;
    daemon.kill9();
    drop(daemon);
    assert!(exists(orphan), "it is out of the daemon's reach");
    assert!(leftovers::of(dir.path()).contains(&orphan));
    drop(dir);
    assert!(!exists(orphan));
}

#[test]
fn ports_are_handed_out_once() {
    let all: std::collections::BTreeSet<u16> = (0..50).map(|_| ports::free_port()).collect();
    assert_eq!(all.len(), 50);
}

#[tokio::test]
#[should_panic(expected = "for pigs to fly; last seen: walking")]
async fn a_wait_says_what_did_not_happen_and_what_was_seen() {
    wait::until("pigs to fly", Duration::from_millis(120), async || Err::<(), _>("walking")).await;
}
