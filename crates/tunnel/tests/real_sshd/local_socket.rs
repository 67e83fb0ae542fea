//! The socket that clients of the tunnel find.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;

use interlink_testkit::dirs::TestDir;

use crate::rig::{Habit, Service, Site, Tunnel, flags, run};

#[tokio::test]
async fn a_socket_is_its_owners_alone_and_goes_with_the_tunnel() {
    let site = Site::new().await;
    let tunnel = site.tunnel("-rport=1").await;
    let socket = tunnel.dir.join("t.sock");
    let about = fs::metadata(&socket).unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    tunnel.daemon.terminate(crate::rig::SOON).await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_socket_that_a_dead_tunnel_left_is_taken_over() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let tunnel = site.tunnel(&service.flag).await;
    tunnel.daemon.kill9();
    assert!(tunnel.dir.join("t.sock").exists(), "killed, it could not take its socket with it");
    tunnel.daemon.start_again();
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");

    // Another program's, too.
    let tunnel = Tunnel::start(|dir| {
        drop(UnixListener::bind(dir.join("t.sock")).unwrap());
        [site.flags(dir), vec![service.flag.clone()]].concat()
    });
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_refused_in_words_and_the_longest_one_works() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let dir = TestDir::new();
    let path = |length: usize| {
        let folder = dir.path().display().to_string();
        format!("{folder}/{}", "s".repeat(length - folder.len() - 1))
    };
    let with = |socket: &str| {
        let mut all = site.flags(&dir);
        all.retain(|flag| !flag.starts_with("-lsock="));
        [all, flags(&[("lsock", socket)]), vec![service.flag.clone()]].concat()
    };
    let (code, log) = run(&dir, with(&path(108))).await;
    assert_eq!(code, Some(2), "{log}");
    for part in ["-lsock", "108", "107"] {
        assert!(log.contains(part), "{part}: {log}");
    }

    let longest = path(107);
    let tunnel = Tunnel::start(|_| with(&longest));
    let client = interlink_testkit::wait::until("the tunnel to listen", crate::rig::SOON, async || {
        tokio::net::UnixStream::connect(&longest).await
    })
    .await;
    assert_eq!(crate::rig::ask(client, "hello").await, "hello", "{}", tunnel.daemon.log());
}
