//! The format of host key files: `known_hosts` of OpenSSH (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"),
//! what `ssh-keyscan` prints, and bare public keys. Pure: text in, lines out.
//!
//! Every line counts. A line that can't be understood is reported, not fatal: a file that OpenSSH
//! reads must not stop the tunnel because of one old key type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::PublicKey;
use sha1::Sha1;

/// What a file holds.
#[derive(Debug, Default)]
pub struct KnownHosts {
    /// The lines understood, in order.
    pub lines: Vec<Line>,
    /// The lines that were not.
    pub problems: Vec<Problem>,
}

/// One key and the hosts it is for.
#[derive(Debug, Clone)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// What the key may be used for.
    pub marker: Marker,
    /// The hosts it is for.
    pub hosts: Hosts,
    /// The key, without its comment.
    pub key: PublicKey,
}

/// The marker at the start of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// None: the key of a host.
    Host,
    /// `@cert-authority`: the key signs certificates of hosts.
    CertAuthority,
    /// `@revoked`: the key must never be accepted.
    Revoked,
}

/// The hosts of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// A bare key: whichever host the file is used for.
    Any,
    /// Comma-separated patterns with `*`, `?` and `!`.
    Patterns(Vec<String>),
    /// `|1|salt|HMAC-SHA1(salt, name)`.
    Hashed {
        /// The key of the HMAC.
        salt: Vec<u8>,
        /// Its result.
        hash: Vec<u8>,
    },
}

/// A line that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Reads a whole file.
#[must_use]
pub fn parse(text: &str) -> KnownHosts {
    let mut found = KnownHosts::default();
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let raw = raw.trim();
        if raw.is_empty() || raw.starts_with('#') {
            continue;
        }
        match parse_line(number, raw) {
            Ok(line) => found.lines.push(line),
            Err(what) => found.problems.push(Problem { number, what }),
        }
    }
    found
}

fn parse_line(number: usize, raw: &str) -> Result<Line, String> {
    let mut words = raw.split_whitespace();
    let mut first = words.next().ok_or("is empty")?;
    let marker = match first {
        "@cert-authority" => Marker::CertAuthority,
        "@revoked" => Marker::Revoked,
        other if other.starts_with('@') => return Err(format!("has the unknown marker {other}")),
        _ => Marker::Host,
    };
    if marker != Marker::Host {
        first = words.next().ok_or("ends after its marker")?;
    }
    let second = words.next().ok_or("is not a key: it has one word")?;
    let (hosts, kind, blob) = if is_key_type(first) {
        (Hosts::Any, first, second)
    } else {
        let blob = words.next().ok_or("has no key after the host and the key type")?;
        (parse_hosts(first)?, second, blob)
    };
    let key = PublicKey::from_openssh(&format!("{kind} {blob}"))
        .map_err(|err| format!("has a {kind} key that can't be read ({err})"))?;
    Ok(Line { number, marker, hosts, key })
}

/// Tells a bare key from a host name: no host is called like a key type.
fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-", "rsa-sha2-"].iter().any(|prefix| word.starts_with(prefix))
        && !word.contains([',', '*', '?'])
        && russh::keys::Algorithm::new(word).is_ok()
}

fn parse_hosts(word: &str) -> Result<Hosts, String> {
    let Some(hashed) = word.strip_prefix('|') else {
        return Ok(Hosts::Patterns(word.split(',').filter(|p| !p.is_empty()).map(str::to_ascii_lowercase).collect()));
    };
    let mut parts = hashed.split('|');
    let (Some("1"), Some(salt), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err("has a hashed host that is not of the form |1|salt|hash".into());
    };
    match (STANDARD.decode(salt), STANDARD.decode(hash)) {
        (Ok(salt), Ok(hash)) => Ok(Hosts::Hashed { salt, hash }),
        _ => Err("has a hashed host that is not base64".into()),
    }
}

impl Hosts {
    /// Whether the line is for `name`: `host`, or `[host]:port` where the port is not 22.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Hashed { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
                .is_ok_and(|mac| mac.chain_update(name.as_bytes()).verify_slice(hash).is_ok()),
            Self::Patterns(patterns) => {
                let mut matched = false;
                for pattern in patterns {
                    match pattern.strip_prefix('!') {
                        Some(denied) if glob(denied.as_bytes(), name.as_bytes()) => return false,
                        Some(_) => {}
                        None => matched |= glob(pattern.as_bytes(), name.as_bytes()),
                    }
                }
                matched
            }
        }
    }
}

/// The name under which a host is looked up, as OpenSSH spells it.
#[must_use]
pub fn lookup_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// `*` and `?` as in ssh_config(5), in linear time: on a mismatch only the last `*` is widened.
pub(super) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&want) if want == b'?' || want == c => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by ssh-keyscan 9.2 for a server on port 42022, its comments on stderr included.
    const SCANNED: &str = include_str!("testdata/keyscan");
    /// The same by `ssh-keyscan -H`.
    const SCANNED_HASHED: &str = include_str!("testdata/keyscan-hashed");
    /// A known_hosts file, after `ssh-keygen -H`.
    const HASHED: &str = include_str!("testdata/known_hosts-hashed");
    /// The same before.
    const PLAIN: &str = include_str!("testdata/known_hosts");

    fn numbers(text: &str, host: &str, port: u16) -> Vec<usize> {
        let parsed = parse(text);
        assert_eq!(parsed.problems, []);
        let name = lookup_name(host, port);
        parsed.lines.iter().filter(|l| l.hosts.matches(&name)).map(|l| l.number).collect()
    }

    #[test]
    fn what_ssh_keyscan_prints_matches_the_host_that_was_scanned() {
        for (text, host, port, expected) in [
            (SCANNED, "127.0.0.1", 42022, vec![6, 7, 8]),
            (SCANNED, "127.0.0.1", 22, vec![]),
            (SCANNED, "127.0.0.2", 42022, vec![]),
            (SCANNED_HASHED, "127.0.0.1", 42022, vec![1, 2, 3]),
            (SCANNED_HASHED, "127.0.0.1", 42023, vec![]),
        ] {
            assert_eq!(numbers(text, host, port), expected, "{host}:{port}");
        }
    }

    #[test]
    fn hosts_are_found_in_plain_and_hashed_files_alike() {
        for (host, port, plain, hashed) in [
            ("login.example.org", 22, vec![1, 4, 5], vec![1, 5, 6]),
            ("LOGIN.Example.org", 22, vec![1, 4, 5], vec![1, 5, 6]),
            ("192.0.2.10", 22, vec![1, 4], vec![2, 5]),
            ("login.example.org", 2222, vec![2, 4], vec![3, 5]),
            ("a.cluster.example.org", 22, vec![3, 4, 5], vec![4, 5, 6]),
            ("bad.cluster.example.org", 22, vec![4, 5], vec![5, 6]),
            ("elsewhere.test", 22, vec![4], vec![5]),
        ] {
            assert_eq!(numbers(PLAIN, host, port), plain, "{host}:{port}");
            assert_eq!(numbers(HASHED, host, port), hashed, "{host}:{port} hashed");
        }
    }

    #[test]
    fn markers_are_read() {
        let markers: Vec<Marker> = parse(PLAIN).lines.iter().map(|l| l.marker).collect();
        assert_eq!(markers, [Marker::Host, Marker::Host, Marker::Host, Marker::Revoked, Marker::CertAuthority]);
    }

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGTtc8N8iUejxFTTtzQboVQ4/0y0+BZNV09JZBNmclSO";

    #[test]
    fn a_bare_key_is_for_any_host_with_or_without_comment() {
        for text in [
            ED25519.to_owned(),
            format!("{ED25519} root@login\r\n"),
            format!("\n# scanned by hand\n  {ED25519}\t a comment with words"),
        ] {
            let parsed = parse(&text);
            assert_eq!(parsed.problems, [], "{text:?}");
            assert_eq!(parsed.lines.len(), 1, "{text:?}");
            assert!(parsed.lines[0].hosts.matches("whatever"), "{text:?}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_and_the_others_count() {
        let text = format!(
            "host ssh-ed25519 AAAA\nhost\n@friend host {ED25519}\n|1|x host {ED25519}\n\
             host ssh-ed25519\n-----BEGIN OPENSSH PRIVATE KEY-----\nhost {ED25519}\n"
        );
        let parsed = parse(&text);
        assert_eq!(parsed.problems.iter().map(|p| p.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(parsed.lines.len(), 1);
        assert_eq!(parsed.lines[0].number, 7);
    }

    #[test]
    fn patterns_follow_ssh_config() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.example.org", "example.org", false),
            ("*.example.org", "a.b.example.org", true),
            ("[*.example.org]:2222", "[login.example.org]:2222", true),
            ("[*.example.org]:2222", "[login.example.org]:2223", false),
            ("[*.example.org]:*", "[login.example.org]:7", true),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
            ("!login,*", "login", false),
            ("!login,*", "other", true),
            ("!login", "other", false),
        ] {
            let hosts = parse_hosts(pattern).unwrap();
            assert_eq!(hosts.matches(name), expected, "{pattern} {name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*", host in "\\PC{0,20}") {
            for line in parse(&text).lines {
                let _ = line.hosts.matches(&host);
            }
        }
    }
}
