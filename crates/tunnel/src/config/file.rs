//! The file of `-config`: several forwards over one connection, and the flags that a site writes down.
//!
//! ```yaml
//! addr: login.example.org:22        # any flag by its name; one on the command line wins
//! user: interlink
//! keyfile: ~/.ssh/tunnel_key
//! connections: 2
//! forwards:
//!   - name: plugin
//!     lsock: /run/interlink/plugin.sock
//!     rport: 4000
//!   - name: metrics
//!     lsock: localhost:9100
//!     rsock: /run/node.sock
//!     reverse: true
//! ```

use std::collections::BTreeMap;
use std::fmt;

use interlink_daemon::config::{null_default, parse};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::flags::{far_end, parse_local, present};
use super::{Direction, Forward};

/// The key of the list of forwards.
const FORWARDS: &str = "forwards";

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    /// The listed forwards; none where flags describe the only one.
    pub(super) forwards: Vec<Forward>,
    /// The other keys that are names of flags.
    pub(super) flags: BTreeMap<String, String>,
    /// Where these keys stand: lines from 1.
    pub(super) lines: BTreeMap<String, usize>,
    /// About keys that nobody knows.
    pub(super) warnings: Vec<String>,
}

/// Reads a file's text. `known` are the names of the flags.
///
/// # Errors
/// One sentence with line and key.
pub(super) fn read(text: &str, known: &[&str]) -> Result<File, String> {
    let own: Vec<&str> = known.iter().copied().chain([FORWARDS]).collect();
    let (list, warnings) = parse::<List>(text, &own)?;
    let (Words(mut flags), _) = parse::<Words>(text, &own)?;
    flags.retain(|key, _| known.contains(&key.as_str()));
    let lines = flags.keys().filter_map(|key| Some((key.clone(), line_of(text, key)?))).collect();
    Ok(File { forwards: list.forwards.into_iter().map(|Listed(forward)| forward).collect(), flags, lines, warnings })
}

/// The line of the last mention of a key of the outermost level, which is the one that counts.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let names = |line: &str| {
        let (name, _) = line.split_once(':')?;
        Some(name.trim_end().trim_matches(['"', '\'']) == key)
    };
    text.lines().enumerate().filter(|(_, line)| names(line) == Some(true)).last().map(|(at, _)| at + 1)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct List {
    #[serde(deserialize_with = "distinct")]
    forwards: Vec<Listed>,
}

/// Every key's value as it is written, but for the list.
#[derive(Debug)]
struct Words(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys with values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Words, A::Error> {
                let mut words = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key == FORWARDS {
                        map.next_value::<IgnoredAny>()?;
                    } else if let Some(value) = map.next_value::<Option<String>>()? {
                        words.insert(key, value);
                    }
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "Entry")]
struct Listed(Forward);

/// One entry, with the names of the flags.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Entry {
    #[serde(deserialize_with = "null_default")]
    name: String,
    lsock: Option<String>,
    rport: Option<String>,
    rsock: Option<String>,
    rexec: Option<String>,
    #[serde(deserialize_with = "null_default")]
    reverse: bool,
}

impl TryFrom<Entry> for Listed {
    type Error = String;

    fn try_from(entry: Entry) -> Result<Self, String> {
        let Entry { name, lsock, rport, rsock, rexec, reverse } = entry;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() {
            return Err("name is missing: give each forward a name of its own, for example name: plugin".into());
        }
        if name.len() > 64 || !name.chars().all(fits) {
            return Err(format!(
                "name is {name:?}: at most 64 letters, digits, dots, dashes and underscores are expected"
            ));
        }
        let direction = if reverse { Direction::Reverse } else { Direction::Forward };
        let checked = || {
            let local = present(lsock)
                .ok_or("lsock is missing: give the path of a Unix socket, or host:port of the loopback interface")?;
            let remote = far_end(present(rport), present(rsock), present(rexec), direction)?;
            Ok(Forward { name: name.clone(), direction, local: parse_local(&local, direction)?, remote })
        };
        checked().map(Self).map_err(|why: String| format!("forward {name}: {}", as_keys(&why)))
    }
}

/// A sentence about flags as one about keys.
fn as_keys(sentence: &str) -> String {
    ["lsock", "rport", "rsock", "rexec", "reverse"]
        .iter()
        .fold(sentence.to_owned(), |said, name| said.replace(&format!("-{name}"), name))
}

/// No two of one name, nor two that listen on the same.
fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Listed>, D::Error> {
    let list: Vec<Listed> = null_default(deserializer)?;
    for (at, Listed(forward)) in list.iter().enumerate() {
        let twin = list[..at].iter().find_map(|Listed(other)| {
            if other.name == forward.name {
                return Some(format!("two forwards have the name {}: each needs one of its own", forward.name));
            }
            (other.direction == forward.direction && other.listens() == forward.listens()).then(|| {
                format!("the forwards {} and {} both listen on {}", other.name, forward.name, forward.listens())
            })
        });
        if let Some(sentence) = twin {
            return Err(serde::de::Error::custom(sentence));
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Remote;

    const KNOWN: [&str; 4] = ["addr", "user", "verbose", "connect-timeout"];

    #[test]
    fn flags_and_forwards_are_read_as_they_are_written() {
        let file = read(
            "addr: login:2222\n# words\nverbose: true\nconnect-timeout: 5\nforwards:\n  - name: a\n    lsock: /run/a.sock\n    \
             rport: 4000\n  - {name: b, lsock: 'localhost:5432', rsock: /run/b.sock, reverse: true}\n",
            &KNOWN,
        )
        .unwrap();
        let flags: Vec<(&str, &str)> = file.flags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(flags, [("addr", "login:2222"), ("connect-timeout", "5"), ("verbose", "true")]);
        assert_eq!((file.lines["addr"], file.lines["verbose"], file.lines["connect-timeout"]), (1, 3, 4));
        assert_eq!(file.forwards.len(), 2);
        assert_eq!((file.forwards[0].name.as_str(), &file.forwards[0].remote), ("a", &Remote::Port(4000)));
        assert_eq!(file.forwards[1].direction, Direction::Reverse);
        assert_eq!(file.forwards[1].listens(), "/run/b.sock");
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    }

    #[test]
    fn mistakes_have_a_line_and_a_key() {
        for (text, line, words) in [
            ("forwards:\n  - lsock: /a\n", "line 2", "name is missing"),
            ("forwards:\n  - name: a b\n    lsock: /a\n    rport: 1\n", "line 2", "letters, digits"),
            ("forwards:\n  - name: a\n    rport: 1\n", "line 2", "forward a: lsock is missing"),
            ("forwards:\n  - name: a\n    lsock: /a\n", "line 2", "forward a: rport or rsock is missing"),
            ("forwards:\n  - name: a\n    lsock: /a\n    rport: 0\n", "line 2", "a number from 1 to 65535"),
            ("forwards:\n  - name: a\n    lsock: 0.0.0.0:1\n    rport: 1\n", "line 2", "lsock 0.0.0.0:1 would offer"),
            ("forwards:\n  - name: a\n    lport: 1\n", "line 3", "lport"),
            ("forwards:\n  - name: a\n    reverse: maybe\n", "line 3", "true or false is expected"),
            ("forwards: /a\n", "line 1", "a list is expected"),
            ("addr: [1]\n", "line 1", "key addr"),
            (
                "forwards:\n  - {name: a, lsock: /a, rport: 1}\n  - {name: a, lsock: /b, rport: 1}\n",
                "line",
                "two forwards have the name a",
            ),
            (
                "forwards:\n  - {name: a, lsock: /a, rport: 1}\n  - {name: b, lsock: /a, rport: 2}\n",
                "line",
                "a and b both listen on unix:///a",
            ),
        ] {
            let err = read(text, &KNOWN).unwrap_err();
            assert!(err.contains(words) && !err.contains('\n'), "{text}: {err}");
            assert!(err.contains(line), "{text}: {err}");
        }
    }

    #[test]
    fn unknown_keys_are_warned_about_and_no_flags() {
        let file = read("adr: x\nSidecarURL: y\n", &KNOWN).unwrap();
        assert!(file.flags.is_empty());
        assert_eq!(file.warnings, ["unknown key \"adr\" is ignored; did you mean addr?"]);
    }
}
