//! Keys of other kinds than the usual one.

use std::path::{Path, PathBuf};
use std::process::Command;

use interlink_testkit::sshd::{KeyType, Options, Sshd};

use crate::rig::{Habit, Service, Site, Tunnel, me};

fn keygen(args: &[&str]) {
    let output = Command::new("ssh-keygen").args(args).output().expect("ssh-keygen is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The flags of a tunnel with another key.
fn with_key(site: &Site, service: &Service, key: &Path, more: &[String]) -> Tunnel {
    Tunnel::start(|dir| {
        let mut flags = site.flags(dir);
        flags.retain(|f| !f.starts_with("-keyfile"));
        [flags, vec![format!("-keyfile={}", key.display()), service.flag.clone()], more.to_vec()].concat()
    })
}

#[tokio::test]
async fn a_key_with_a_passphrase_logs_in_with_the_file_that_holds_it() {
    let (site, service) = (Site::new().await, Service::tcp(Habit::Echo).await);
    let key = site.key.private();
    keygen(&["-q", "-p", "-P", "", "-N", "two words", "-f", &key.display().to_string()]);
    let words: PathBuf = site.sshd.dir().join("words");
    std::fs::write(&words, "two words\n").unwrap();
    std::fs::set_permissions(&words, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let tunnel = with_key(&site, &service, key, &[format!("-passphrasefile={}", words.display())]);
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");
    assert!(!tunnel.daemon.log().contains("two words"));
}

#[tokio::test]
async fn a_certificate_of_the_site_logs_in_where_the_key_alone_does_not() {
    let service = Service::tcp(Habit::Echo).await;
    for kind in [KeyType::Ed25519, KeyType::Ecdsa] {
        // Authorities are named in a file of the server; the test's own lies beside the keys.
        let authority = interlink_testkit::dirs::TestDir::new();
        let (ca, trusted) = (authority.join("ca"), authority.join("ca.pub"));
        keygen(&["-q", "-t", "ed25519", "-N", "", "-f", &ca.display().to_string()]);
        let lines = vec![format!("TrustedUserCAKeys {}", trusted.display())];
        let sshd = Sshd::start(Options { lines, ..Options::default() }).await;
        let key = sshd.key_pair("certified", kind);
        let site = Site { sshd, key };
        let private = site.key.private().to_owned();
        let public = format!("{}.pub", private.display());
        keygen(&["-q", "-s", &ca.display().to_string(), "-I", "tunnel@site", "-n", &me(), &public]);
        let tunnel = with_key(&site, &service, &private, &[]);
        tunnel.up().await;
        assert_eq!(tunnel.ask("hello").await, "hello");
        assert!(tunnel.daemon.log().contains("tunnel@site"), "{}", tunnel.daemon.log_tail(5));

        std::fs::remove_file(format!("{}-cert.pub", private.display())).unwrap();
        site.sshd.kill_sessions();
        let state = tunnel.becomes("the bare key to be refused", |s| s.hops[0].cause.contains("refused the key")).await;
        assert!(!state.hops[0].cause.contains("certified as"), "{state:?}");
    }
}
