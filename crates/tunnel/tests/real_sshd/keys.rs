//! Every type and format of key that ssh-keygen and openssl write logs in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::StreamExt as _;
use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::sshd::{KeyPair, KeyType};
use interlink_testkit::wait;

use crate::rig::{Habit, SOON, Service, Site, Tunnel, flags, launch, me, run};

/// The passphrase of every key that has one.
const WORDS: &str = "two words";

/// Logins at once: most of each is waiting.
const AT_ONCE: usize = 4;

fn tool(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect("the tool is there");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Key files of all kinds, each with its public line.
struct Keys {
    dir: TestDir,
    all: Vec<(PathBuf, String)>,
}

impl Keys {
    fn new() -> Self {
        let mut keys = Self { dir: TestDir::new(), all: Vec::new() };
        keys.by_ssh_keygen();
        keys.by_openssl();
        keys
    }

    fn add(&mut self, path: &Path, public: &str) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a test's own directory");
        self.all.push((path.to_owned(), public.trim().to_owned()));
    }

    fn by_ssh_keygen(&mut self) {
        for kind in ["ed25519", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "rsa -b 2048", "rsa -b 3072"] {
            for format in ["RFC4716", "PEM", "PKCS8"] {
                for words in ["", WORDS] {
                    // A second size of RSA adds nothing to the other formats.
                    if kind == "rsa -b 3072" && (format != "RFC4716" || words.is_empty()) {
                        continue;
                    }
                    let path = self.dir.join(format!("{kind} {format} {words}").replace(' ', "_"));
                    let name = path.display().to_string();
                    // One round of bcrypt: what it costs to guess the passphrase is not the point here.
                    let mut args = vec!["-q", "-a", "1", "-N", words, "-m", format, "-f", &name, "-t"];
                    args.extend(kind.split(' '));
                    tool("ssh-keygen", &args);
                    let public = fs::read_to_string(format!("{name}.pub")).expect("a test's own directory");
                    self.add(&path, &public);
                }
            }
        }
    }

    fn by_openssl(&mut self) {
        let made: [(&str, &[&str]); 5] = [
            ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
            ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
            ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
            ("p521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
            ("ed25519", &["-algorithm", "ED25519"]),
        ];
        let pass = format!("pass:{WORDS}");
        for (kind, args) in made {
            let plain = self.dir.join(format!("openssl_{kind}"));
            let name = plain.display().to_string();
            tool("openssl", &[&["genpkey", "-out", &name], args].concat());
            let key =
                russh::keys::decode_secret_key(&fs::read_to_string(&plain).expect("a test's own directory"), None)
                    .expect("a test's own directory");
            let public = key.public_key().to_openssh().expect("a test's own directory");
            self.add(&plain, &public);
            // PKCS#8, as the oldest and the newest of them encrypt it.
            let mut ways: Vec<Vec<&str>> = [
                &["-v2", "aes-128-cbc"][..],
                &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"],
                &["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA1"],
                &["-v2", "des3", "-iter", "1"],
                &["-scrypt", "-scrypt_N", "1024"],
            ]
            .iter()
            .map(|way| [&["pkcs8", "-topk8", "-passout", &pass], *way].concat())
            .collect();
            if kind != "ed25519" {
                for cipher in ["-aes128", "-aes192", "-aes256", "-des3"] {
                    let old = ["pkey", "-traditional", "-passout", &pass, cipher];
                    ways.push(old.to_vec());
                }
                ways.push(vec!["pkey", "-traditional"]);
            }
            for way in ways {
                let path = self.dir.join(format!("openssl_{kind}_{}", way[2..].concat().replace([':', ' '], "_")));
                tool("openssl", &[&way[..], &["-in", &name, "-out", &path.display().to_string()]].concat());
                self.add(&path, &public);
            }
        }
    }
}

#[tokio::test]
async fn every_type_and_format_that_ssh_keygen_and_openssl_write_logs_in() {
    let (site, service, keys) = (Site::new().await, Service::tcp(Habit::Echo).await, Keys::new());
    assert!(keys.all.len() > 60, "{}", keys.all.len());
    let lines: String = keys.all.iter().map(|(_, public)| format!("{public}\n")).collect();
    site.sshd.set_authorized_keys(&me(), &lines);
    let words = keys.dir.write("words", format!("{WORDS}\n"));
    fs::set_permissions(&words, fs::Permissions::from_mode(0o600)).unwrap();
    let logs_in = async |path: &Path| {
        let dir = TestDir::new();
        let mut all = site.flags(&dir);
        all.retain(|f| !f.starts_with("-keyfile"));
        all.extend(flags(&[
            ("keyfile", &path.display().to_string()),
            ("passphrasefile", &words.display().to_string()),
            ("connect-timeout", "30s"),
        ]));
        let (code, said) = run(&dir, [all, vec![service.flag.clone(), "-check".into()]].concat()).await;
        assert_eq!(code, Some(0), "{}: {said}", path.display());
        assert!(!said.contains(WORDS), "{said}");
    };
    let paths = keys.all.iter().map(|(path, _)| path.as_path());
    futures_util::stream::iter(paths).for_each_concurrent(AT_ONCE, logs_in).await;
}

/// An ssh-agent with these keys.
async fn agent(socket: &Path, log: &Path, keys: &[&Path]) -> Daemon {
    let daemon = Launch::new("ssh-agent", log).args(["-D", "-a"]).arg(socket).start();
    wait::until("the agent to listen", SOON, async || match socket.exists() {
        true => Ok(()),
        false => Err("no socket".to_owned()),
    })
    .await;
    for key in keys {
        let added =
            Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", socket).output().expect("ssh-add is there");
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    }
    daemon
}

/// A tunnel with these flags instead of a key file's, and the agent in its environment.
fn with_agent(site: &Site, service: &Service, socket: &Path, more: &[(&str, &str)]) -> Tunnel {
    let dir = TestDir::new();
    let mut all = site.flags(&dir);
    all.retain(|f| !f.starts_with("-keyfile"));
    all.extend(flags(more));
    all.push(service.flag.clone());
    let daemon = launch(&dir, all).env("SSH_AUTH_SOCK", socket).start();
    Tunnel { daemon, dir }
}

#[tokio::test]
async fn a_key_that_only_an_agent_has_logs_in_by_its_public_half_or_by_the_agents_name() {
    let service = Service::tcp(Habit::Echo).await;
    let dir = TestDir::new();
    for kind in [KeyType::Ed25519, KeyType::Ecdsa, KeyType::Rsa] {
        let site = Site::new().await;
        let name = kind.name();
        let key = KeyPair::generate(dir.join(name), kind);
        let other = KeyPair::generate(dir.join(format!("other_{name}")), KeyType::Ed25519);
        site.sshd.set_authorized_keys(&me(), &format!("{}\n", key.public()));
        let socket = dir.join(format!("{name}.sock"));
        let _agent = agent(&socket, &dir.join("agent.log"), &[other.private(), key.private()]).await;
        fs::remove_file(key.private()).unwrap();
        let (public, path) = (dir.join(format!("{name}.pub")).display().to_string(), socket.display().to_string());
        for more in [
            &[("keyfile", &*public)][..],
            &[("identityagent", "SSH_AUTH_SOCK")],
            &[("identityagent", &*path)],
            &[("keyfile", &*public), ("identityagent", &*path)],
        ] {
            let tunnel = with_agent(&site, &service, &socket, more);
            tunnel.up().await;
            assert_eq!(tunnel.ask("hello").await, "hello", "{more:?}");
        }
        // A private key that is shut is the agent's to use, if it has it open.
        let shut = dir.join(format!("shut_{name}")).display().to_string();
        tool("ssh-keygen", &["-q", "-a", "1", "-t", "ed25519", "-N", WORDS, "-f", &shut]);
        fs::copy(dir.join(format!("{name}.pub")), format!("{shut}.pub")).unwrap();
        let tunnel = with_agent(&site, &service, &socket, &[("keyfile", &shut)]);
        tunnel.up().await;
        // Another key of the agent is not asked for.
        let public = format!("{}.pub", other.private().display());
        let tunnel = with_agent(&site, &service, &socket, &[("keyfile", &public)]);
        let state = tunnel.down().await;
        assert!(state.hops[0].cause.contains("refused the key"), "{state:?}");
        assert!(state.hops[0].cause.contains("of the SSH agent at"), "{state:?}");
    }
}

#[tokio::test]
async fn an_agent_that_comes_later_or_lacks_the_key_is_named_and_waited_for() {
    let (site, service, dir) = (Site::new().await, Service::tcp(Habit::Echo).await, TestDir::new());
    let (socket, public) = (dir.join("agent.sock"), format!("{}.pub", site.key.private().display()));
    let tunnel = with_agent(&site, &service, &socket, &[("keyfile", &public)]);
    let state = tunnel.down().await;
    assert!(state.hops[0].cause.contains("can't be connected to"), "{state:?}");
    assert!(state.hops[0].cause.contains(&*socket.to_string_lossy()), "{state:?}");
    let _agent = agent(&socket, &dir.join("agent.log"), &[]).await;
    tunnel.becomes("the key to be missed", |s| s.hops[0].cause.contains("does not have ssh-ed25519 SHA256:")).await;
    let added = Command::new("ssh-add").arg("-q").arg(site.key.private()).env("SSH_AUTH_SOCK", &socket).output();
    assert!(added.unwrap().status.success());
    tunnel.up().await;
    assert_eq!(tunnel.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_certificate_logs_in_with_a_key_of_an_agent() {
    let (service, dir) = (Service::tcp(Habit::Echo).await, TestDir::new());
    let ca = KeyPair::generate(dir.join("ca"), KeyType::Ed25519);
    let trusted = format!("TrustedUserCAKeys {}.pub", ca.private().display());
    for kind in [KeyType::Ed25519, KeyType::Rsa] {
        let site = Site::with("", &[&trusted]).await;
        site.sshd.set_authorized_keys(&me(), "");
        let key = KeyPair::generate(dir.join(kind.name()), kind);
        let public = format!("{}.pub", key.private().display());
        let authority = ca.private().display().to_string();
        tool("ssh-keygen", &["-q", "-s", &authority, "-I", "tunnel@site", "-n", &me(), &public]);
        let certificate = format!("{}-cert.pub", key.private().display());
        // ssh-add takes the certificate beside the key along.
        let both = dir.join(format!("{}.sock", kind.name()));
        let _both = agent(&both, &dir.join("agent.log"), &[key.private()]).await;
        let aside = dir.join("aside");
        fs::rename(&certificate, &aside).unwrap();
        let bare = dir.join(format!("{}.bare", kind.name()));
        let _bare = agent(&bare, &dir.join("agent.log"), &[key.private()]).await;
        let tunnel = with_agent(&site, &service, &both, &[("keyfile", &public)]);
        tunnel.up().await;
        fs::rename(&aside, &certificate).unwrap();
        for given in [&public, &certificate] {
            let tunnel = with_agent(&site, &service, &bare, &[("keyfile", given)]);
            tunnel.up().await;
            assert_eq!(tunnel.ask("hello").await, "hello");
        }
    }
}
