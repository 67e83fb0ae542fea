//! The log in a file of the program's own.

use std::os::unix::fs::PermissionsExt as _;

use interlink_testkit::process::Signal;
use interlink_testkit::wait;

use crate::rig::{Habit, SOON, Service, Site, Tunnel, run};

#[tokio::test]
async fn no_line_is_lost_or_doubled_when_the_file_is_rotated() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = Tunnel::start(|dir| {
        let log = format!("-logfile={}", dir.join("own.log").display());
        [site.flags(dir), vec![service.flag.clone(), log]].concat()
    });
    tunnel.up().await;
    let (log, old) = (tunnel.dir.join("own.log"), tunnel.dir.join("own.log.1"));
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    assert!(text(&log).contains("connected to"), "{}", text(&log));
    assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o137, 0);
    assert_eq!(tunnel.daemon.log(), "", "nothing is left for stderr");

    std::fs::rename(&log, &old).unwrap();
    site.sshd.daemon().kill9();
    site.sshd.kill_sessions();
    tunnel.down().await;
    tunnel.daemon.signal(Signal::SIGHUP);
    wait::until("the new file", SOON, async || if log.exists() { Ok(()) } else { Err("it is not there") }).await;
    site.sshd.restart().await;
    tunnel.up().await;
    let both = [text(&old), text(&log)].concat();
    for (words, times) in [("message=\"connected to", 2), ("was lost", 1), ("listening on", 1)] {
        assert_eq!(both.matches(words).count(), times, "{words}: {both}");
    }
    assert!(text(&old).contains("was lost") && !text(&log).contains("was lost"), "{both}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_for_a_person_to_mend() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let dir = interlink_testkit::dirs::TestDir::new();
    let flags = [site.flags(&dir), vec![service.flag.clone(), "-logfile=/nonexistent/own.log".to_owned()]].concat();
    let (code, said) = run(&dir, flags).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("-logfile /nonexistent/own.log can't be written to"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[tokio::test]
async fn a_full_disk_stops_nobody() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = Tunnel::start(|dir| {
        [site.flags(dir), vec![service.flag.clone(), "-logfile=/dev/full".to_owned(), "-verbose".to_owned()]].concat()
    });
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    tunnel.daemon.signal(Signal::SIGTERM);
    assert_eq!(tunnel.daemon.exited(SOON).await.code(), Some(0));
}
