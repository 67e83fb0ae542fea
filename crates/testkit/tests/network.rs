//! Networks that a test can break.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use interlink_testkit::network::{Conditions, Link};
use interlink_testkit::sshd::{KeyType, Options, Sshd};
use interlink_testkit::users::hpcuser;

/// Far more than a link takes that works.
const SOON: Duration = Duration::from_secs(20);
/// Long enough to see that nothing comes.
const NEVER: Duration = Duration::from_millis(300);

/// A connection over the link, both of its ends.
fn connect(link: &Link) -> (TcpStream, TcpStream) {
    let listener = link.far().within(|| TcpListener::bind((Link::FAR, 0))).expect("the far end has its address");
    let address = listener.local_addr().expect("a bound socket has an address");
    let near = link.near().within(|| TcpStream::connect_timeout(&address, SOON)).expect("the link works");
    (near, listener.accept().expect("the other end is connected").0)
}

fn arrives(from: &mut TcpStream, to: &mut TcpStream, within: Duration) -> bool {
    from.write_all(b"x").expect("the socket has room");
    to.set_read_timeout(Some(within)).expect("the time is not zero");
    let read = to.read(&mut [0]);
    let late = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    assert!(read.as_ref().err().is_none_or(late), "{read:?}");
    read.is_ok_and(|count| count == 1)
}

#[test]
fn a_link_takes_its_time_and_keeps_to_its_rate() {
    let link = Link::new(Conditions { delay: Duration::from_millis(20), ..Conditions::default() });
    let (mut near, mut far) = connect(&link);
    let begun = Instant::now();
    assert!(arrives(&mut near, &mut far, SOON) && arrives(&mut far, &mut near, SOON));
    assert!(begun.elapsed() >= Duration::from_millis(40));

    link.set(Conditions { rate: Some(2e6), ..Conditions::default() });
    let (begun, sent) = (Instant::now(), vec![7; 1 << 20]);
    let sender = std::thread::spawn(move || near.write_all(&sent).map(|()| near));
    far.set_read_timeout(Some(SOON)).unwrap();
    far.read_exact(&mut vec![0; 1 << 20]).unwrap();
    sender.join().unwrap().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(500));
}

#[test]
fn a_cut_link_is_silent_and_a_forgetful_one_only_for_the_connections_it_had() {
    let link = Link::new(Conditions::default());
    let (mut near, mut far) = connect(&link);
    assert!(arrives(&mut near, &mut far, SOON));
    link.cut(true);
    assert!(!arrives(&mut near, &mut far, NEVER));
    link.cut(false);
    far.set_read_timeout(Some(SOON)).unwrap();
    far.read_exact(&mut [0]).unwrap();

    link.forget_connections();
    assert!(!arrives(&mut near, &mut far, NEVER));
    let (mut near, mut far) = connect(&link);
    assert!(arrives(&mut near, &mut far, SOON));
}

#[test]
fn an_interface_that_is_down_comes_up_again() {
    let link = Link::new(Conditions::default());
    let (mut near, mut far) = connect(&link);
    link.down();
    assert!(!arrives(&mut far, &mut near, NEVER));
    link.up();
    near.set_read_timeout(Some(SOON)).unwrap();
    near.read_exact(&mut [0]).unwrap();
}

#[tokio::test]
async fn a_server_in_a_network_of_its_own_is_reached_over_the_link_alone() {
    let link = Link::new(Conditions::default());
    let namespace = Some((link.far().clone(), Link::FAR));
    let sshd = Sshd::start(Options { namespace, host_keys: vec![KeyType::Ed25519], ..Options::default() }).await;
    let (user, key) = (hpcuser(), sshd.key_pair("key", KeyType::Ed25519));
    sshd.authorize(&user.name, "", &key);
    let output = sshd.ssh_from(link.near(), &user.name, &key).arg("id -un").output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hpcuser\n", "{}", String::from_utf8_lossy(&output.stderr));
    let here = TcpStream::connect(("127.0.0.1", sshd.port()));
    assert!(here.is_err(), "{here:?}");
}
