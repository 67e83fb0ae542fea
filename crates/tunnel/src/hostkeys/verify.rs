//! Whether a server is who it should be: pure decisions over the lines of the host key files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

use super::known_hosts::{Hosts, KnownHosts, Marker, lookup_name};

/// The host key algorithms this program can verify, best first. No SHA-1.
pub const SUPPORTED: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// A key on record and where it stands.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The key.
    pub key: PublicKey,
    /// The file that holds it.
    pub file: Arc<Path>,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} line {})", describe(&self.key), self.file.display(), self.line)
    }
}

/// Type and fingerprint of a key, as `ssh` shows them.
#[must_use]
pub fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm().as_str(), key.fingerprint(HashAlg::Sha256))
}

/// What the files say about one host.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// How the host is called in the files.
    pub name: String,
    /// Keys recorded for the host and its port.
    pub known: Vec<Recorded>,
    /// Keys recorded for the host without its port: like OpenSSH, accepted where none is recorded for the port
    /// itself. A different one is no sign of a change, for it may be another server's.
    pub without_port: Vec<Recorded>,
    /// Keys that must never be accepted.
    pub revoked: Vec<Recorded>,
    /// Authorities whose certificates count for the host.
    pub authorities: Vec<Recorded>,
}

/// The judgement on an offered key.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is on record.
    Trusted,
    /// The host has no key on record.
    Unknown,
    /// The host has other keys on record.
    Changed(Vec<Recorded>),
    /// It was revoked.
    Revoked(Recorded),
}

impl Trust {
    /// Collects what `files` say about `host`.
    #[must_use]
    pub fn gather(files: &[(Arc<Path>, KnownHosts)], host: &str, port: u16) -> Self {
        let name = lookup_name(host, port);
        let plain = lookup_name(host, 22);
        let mut trust = Self { name, ..Self::default() };
        for (file, known) in files {
            for line in &known.lines {
                let exact = line.hosts.matches(&trust.name);
                let portless = line.hosts != Hosts::Any && line.hosts.matches(&plain);
                if !exact && !portless {
                    continue;
                }
                let recorded = Recorded { key: line.key.clone(), file: Arc::clone(file), line: line.number };
                match line.marker {
                    Marker::Revoked => trust.revoked.push(recorded),
                    Marker::CertAuthority => trust.authorities.push(recorded),
                    Marker::Host if !supported(&line.key) => {}
                    Marker::Host if exact => trust.known.push(recorded),
                    Marker::Host => trust.without_port.push(recorded),
                }
            }
        }
        trust
    }

    /// Judges the key that the server proved to hold.
    #[must_use]
    pub fn verdict(&self, offered: &PublicKey) -> Verdict {
        let same = |r: &&Recorded| r.key.key_data() == offered.key_data();
        if let Some(revoked) = self.revoked.iter().find(same) {
            return Verdict::Revoked(revoked.clone());
        }
        if self.acceptable().iter().any(|r| same(&r)) {
            return Verdict::Trusted;
        }
        if self.known.is_empty() { Verdict::Unknown } else { Verdict::Changed(self.known.clone()) }
    }

    /// The keys that count: what is recorded for the port itself decides alone.
    fn acceptable(&self) -> &[Recorded] {
        if self.known.is_empty() { &self.without_port } else { &self.known }
    }

    /// Every key that would be accepted.
    pub fn usable(&self) -> impl Iterator<Item = &Recorded> {
        self.acceptable().iter().filter(|r| !self.revoked.iter().any(|x| x.key.key_data() == r.key.key_data()))
    }

    /// The algorithms to offer in the key exchange: those of the keys at hand, so that the server
    /// proves a key we can compare instead of its favourite. All of them while the host is unknown, but those of keys
    /// recorded without the port first.
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let at_hand = |a: &Algorithm| self.usable().any(|r| same_family(&r.key.algorithm(), a));
        let (first, others): (Vec<_>, Vec<_>) = SUPPORTED.into_iter().partition(at_hand);
        if self.known.is_empty() { [first, others].concat() } else { first }
    }
}

impl Trust {
    /// Every authority whose certificates would be accepted.
    pub fn usable_authorities(&self) -> impl Iterator<Item = &Recorded> {
        self.authorities.iter().filter(|a| !self.revoked.iter().any(|r| r.key.key_data() == a.key.key_data()))
    }

    /// The algorithms of certificates to ask for: none where no authority is on record.
    #[must_use]
    pub fn certificate_algorithms(&self) -> Vec<Algorithm> {
        if self.usable_authorities().next().is_none() { Vec::new() } else { SUPPORTED.to_vec() }
    }
}

fn same_family(key: &Algorithm, offered: &Algorithm) -> bool {
    match (key, offered) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
        (a, b) => a == b,
    }
}

fn supported(key: &PublicKey) -> bool {
    SUPPORTED.iter().any(|a| same_family(&key.algorithm(), a))
}

/// Why a server was turned away.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// It offered another key than the ones on record.
    Changed {
        /// The host as the files call it.
        name: String,
        /// The key it offered.
        offered: String,
        /// The keys on record.
        recorded: Vec<Recorded>,
    },
    /// It offered a revoked key.
    Revoked {
        /// The host as the files call it.
        name: String,
        /// The line that revokes it.
        recorded: Box<Recorded>,
    },
    /// Its certificate does not count, nor is its key on record.
    Certificate {
        /// The host as the files call it.
        name: String,
        /// Why not.
        why: String,
    },
    /// It is unknown and could not be put on record.
    CannotRecord {
        /// The host as the files call it.
        name: String,
        /// The key it offered.
        offered: String,
        /// What each place said.
        tried: Vec<(PathBuf, String)>,
    },
}

impl Refusal {
    /// What happened, with every fingerprint.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Changed { name, offered, recorded } => format!(
                "the host key of {name} is not the one on record: the server has {offered}, expected was {}",
                join(recorded, " or ")
            ),
            Self::Revoked { name, recorded } => {
                format!("the host key of {name} is marked @revoked: {recorded}")
            }
            Self::Certificate { name, why } => {
                format!("the host certificate of {name} does not count: {why}")
            }
            Self::CannotRecord { name, offered, tried } => format!(
                "{name} is not known and its key {} can't be recorded: {}",
                offered,
                tried.iter().map(|(path, err)| format!("{}: {err}", path.display())).collect::<Vec<_>>().join("; ")
            ),
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Changed { name, recorded, .. } => {
                let file = recorded.first().map_or_else(String::new, |r| format!(" -f {}", r.file.display()));
                format!(
                    "ask the site whether it has a new key; if so, remove the old one (ssh-keygen -R '{name}'{file}) and \
                     add the announced one; if not, somebody may be listening in"
                )
            }
            Self::Revoked { recorded, .. } => format!(
                "ask the site for its new key; remove line {} of {} only if it was revoked by mistake",
                recorded.line,
                recorded.file.display()
            ),
            Self::Certificate { .. } => {
                "ask the site; its host keys may be put on record too (ssh-keyscan prints them)".into()
            }
            Self::CannotRecord { .. } => {
                "make one of these places writable, or give the key with -hostkeyfile (ssh-keyscan prints it)".into()
            }
        }
    }
}

fn join(recorded: &[Recorded], by: &str) -> String {
    recorded.iter().map(ToString::to_string).collect::<Vec<_>>().join(by)
}

#[cfg(test)]
mod tests {
    use super::super::known_hosts::parse;
    use super::*;

    const PLAIN: &str = include_str!("testdata/known_hosts");

    fn trust(text: &str, host: &str, port: u16) -> Trust {
        Trust::gather(&[(Path::new("kh").into(), parse(text))], host, port)
    }

    fn key(line: usize) -> PublicKey {
        parse(PLAIN).lines[line - 1].key.clone()
    }

    #[test]
    fn keys_are_judged_by_the_lines_of_their_host() {
        let (ed25519, ecdsa, rsa) = (key(1), key(2), key(3));
        for (host, port, offered, expected) in [
            ("login.example.org", 22, &ed25519, "trusted"),
            ("login.example.org", 22, &ecdsa, "changed"),
            ("login.example.org", 2222, &ecdsa, "trusted"),
            // OpenSSH: a key recorded without the port is good for every port …
            ("login.example.org", 2223, &ed25519, "trusted"),
            // … but says nothing about other keys there …
            ("login.example.org", 2223, &ecdsa, "unknown"),
            // … and nothing at all where the port has a key of its own.
            ("login.example.org", 2222, &ed25519, "changed"),
            ("elsewhere.test", 22, &ed25519, "unknown"),
            // Revoked beats every other line.
            ("a.cluster.example.org", 22, &rsa, "revoked"),
            ("elsewhere.test", 22, &rsa, "revoked"),
        ] {
            let verdict = match trust(PLAIN, host, port).verdict(offered) {
                Verdict::Trusted => "trusted",
                Verdict::Unknown => "unknown",
                Verdict::Changed(_) => "changed",
                Verdict::Revoked(_) => "revoked",
            };
            assert_eq!(verdict, expected, "{host}:{port}");
        }
    }

    #[test]
    fn only_algorithms_of_keys_at_hand_are_offered() {
        let names = |t: Trust| -> Vec<String> { t.algorithms().iter().map(ToString::to_string).collect() };
        let rsa = format!("host ssh-rsa {}", rsa_blob());
        assert_eq!(names(trust(&rsa, "host", 22)), ["rsa-sha2-512", "rsa-sha2-256"]);
        assert_eq!(names(trust(PLAIN, "login.example.org", 22)), ["ssh-ed25519"]);
        assert_eq!(names(trust(PLAIN, "elsewhere.test", 22)).len(), 6);
        // One recorded without the port may be another server's, but is asked for first.
        let without_port = names(trust(&rsa, "host", 2222));
        assert_eq!((without_port.len(), without_port[0].as_str()), (6, "rsa-sha2-512"));
    }

    fn rsa_blob() -> String {
        let line = PLAIN.lines().nth(2).unwrap();
        line.split(' ').nth(2).unwrap().to_owned()
    }

    #[test]
    fn a_refusal_shows_both_fingerprints_and_the_remedy() {
        let trust = trust(PLAIN, "login.example.org", 22);
        let offered = key(2);
        let Verdict::Changed(recorded) = trust.verdict(&offered) else {
            panic!("not changed");
        };
        let refusal = Refusal::Changed { name: trust.name, offered: describe(&offered), recorded };
        // As `ssh-keygen -lf` shows them.
        let cause = refusal.cause();
        assert!(cause.contains("SHA256:GvKOJMUVbFuDsAxsKw/yn06HVcQd05kGWf5eVAqSgUY"), "{cause}");
        assert!(cause.contains("SHA256:UHR/IUePah2JqGG33xas6jXa7vlzwOq9wCSDX+DozPU (kh line 1)"), "{cause}");
        assert!(refusal.remedy().contains("ssh-keygen -R 'login.example.org' -f kh"), "{}", refusal.remedy());
    }

    #[test]
    fn the_key_of_an_authority_is_no_key_of_a_host() {
        let trust = trust(PLAIN, "ca.example.org", 22);
        assert_eq!(trust.authorities.len(), 1);
        assert!(matches!(trust.verdict(&trust.authorities[0].key), Verdict::Unknown));
        assert_eq!(trust.certificate_algorithms().len(), 6);
        assert!(matches!(trust.verdict(&key(1)), Verdict::Unknown));
    }
}
