//! Keys of other kinds than the usual one, of users and of hosts.

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
    for kind in [KeyType::Ed25519, KeyType::Ecdsa, KeyType::Rsa] {
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

#[tokio::test]
async fn a_host_is_known_by_the_certificate_of_an_authority_on_record_and_by_no_other() {
    let (dir, service) = (interlink_testkit::dirs::TestDir::new(), Service::tcp(Habit::Echo).await);
    let at = |name: &str| dir.join(name).display().to_string();
    for name in ["ca", "other", "host"] {
        keygen(&["-q", "-t", "ed25519", "-N", "", "-f", &at(name)]);
    }
    let line = |name: &str| {
        let key = std::fs::read_to_string(at(&format!("{name}.pub"))).unwrap();
        format!("@cert-authority 127.0.0.*,[127.0.0.*]:* {key}")
    };
    for (principal, hosts, refused) in [
        ("127.0.0.1", line("ca"), None),
        ("login.example.org", line("ca"), Some("it is for login.example.org, not for 127.0.0.1")),
        ("127.0.0.1", line("other"), Some("no @cert-authority on record")),
    ] {
        keygen(&["-q", "-s", &at("ca"), "-h", "-I", "host@site", "-n", principal, &at("host.pub")]);
        let lines = vec![format!("HostKey {}", at("host")), format!("HostCertificate {}", at("host-cert.pub"))];
        let sshd = Sshd::start(Options { lines, host_keys: Vec::new(), ..Options::default() }).await;
        let key = sshd.key_pair("tunnel_key", KeyType::Ed25519);
        sshd.authorize(&me(), "", &key);
        let site = Site { sshd, key };
        let tunnel = Tunnel::start(|dir| {
            let flags = [site.flags(dir), vec![service.flag.clone()]].concat();
            dir.write("hosts", &hosts);
            flags
        });
        match refused {
            None => {
                tunnel.up().await;
                assert_eq!(tunnel.ask("hello").await, "hello");
            }
            Some(why) => {
                let state = tunnel.down().await;
                assert!(state.hops[0].cause.contains(why), "{state:?}");
            }
        }
    }
}
