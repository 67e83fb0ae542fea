//! Host keys: which servers this program talks to.
//!
//! | module | what |
//! |---|---|
//! | [`known_hosts`] | the file format: text in, lines out |
//! | [`verify`] | lines and an offered key in, verdict out |
//! | [`authority`] | certificates of hosts |
//! | [`record`] | puts a new host on record |
//!
//! Two policies. With `-hostkeyfile` the keys in that file are the only ones accepted. Without, the
//! user's `known_hosts` and the state directory decide; a host that neither knows is accepted once and
//! recorded. There is no way to switch verification off.

pub mod authority;
pub mod known_hosts;
pub mod record;
pub mod verify;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use russh::keys::{Certificate, PublicKey};

use known_hosts::KnownHosts;
use verify::{Refusal, Trust, Verdict};

/// Records of the whole machine, which are read as `ssh` reads them (GlobalKnownHostsFile), and never written.
const OF_THE_MACHINE: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];

/// One new host is put on record at a time: of several connections to it, the second knows what the first has seen.
static RECORDING: Mutex<()> = Mutex::new(());

/// Where the keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `-hostkeyfile`: this file alone.
    File(PathBuf),
    /// The user's own records, and those of the machine. New hosts go to the first of the user's that can be written.
    Records(Vec<PathBuf>),
}

/// Why the files can't be used. A person must mend it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is not there or closed to us.
    #[error("the host key file {} can't be read ({err}); give a readable file: ssh-keyscan{port} {host} prints its content", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        err: io::Error,
        /// ` -p PORT` for the remedy, or nothing.
        port: String,
        /// The server.
        host: String,
    },
    /// The file holds no key at all.
    #[error("the host key file {} holds no key{problem}, so no server could be verified; fill it: ssh-keyscan{port} {host} > {}", .path.display(), .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The first line that was not understood, or nothing.
        problem: String,
        /// ` -p PORT` for the remedy, or nothing.
        port: String,
        /// The server.
        host: String,
    },
    /// The file holds keys, but none for this server.
    #[error("the host key file {} has no usable key for {name} (it has {total} for other hosts or purposes); add it: ssh-keyscan{port} {host} >> {}", .path.display(), .path.display())]
    NotForHost {
        /// The file.
        path: PathBuf,
        /// The server as host key files call it.
        name: String,
        /// How many keys the file holds.
        total: usize,
        /// ` -p PORT` for the remedy, or nothing.
        port: String,
        /// The server.
        host: String,
    },
}

/// What is known about the server, ready to judge its key.
#[derive(Debug)]
pub struct HostKeys {
    trust: Trust,
    source: Source,
    /// The server's name as the user gave it, which certificates are for.
    host: String,
    port: u16,
    /// Whether the file holds keys without a name, which count for every host.
    nameless: bool,
    /// Lines that were skipped and similar remarks, one sentence each.
    pub warnings: Vec<String>,
}

/// What to do with the server that offered a key.
#[derive(Debug)]
pub enum Judgement {
    /// Go on.
    Trusted,
    /// Go on only once [`HostKeys::record`] has put it on record.
    New,
    /// Turn away.
    Refused(Refusal),
}

impl HostKeys {
    /// Reads the files afresh.
    ///
    /// # Errors
    /// See [`FileError`]. Records that don't exist yet are no error.
    pub fn load(source: &Source, host: &str, port: u16) -> Result<Self, FileError> {
        Self::load_with(source, &OF_THE_MACHINE.map(PathBuf::from), host, port)
    }

    fn load_with(source: &Source, machine: &[PathBuf], host: &str, port: u16) -> Result<Self, FileError> {
        let port_option = if port == 22 { String::new() } else { format!(" -p {port}") };
        let unreadable = |path: &Path, err| FileError::Unreadable {
            path: path.to_owned(),
            err,
            port: port_option.clone(),
            host: host.to_owned(),
        };
        let mut files: Vec<(Arc<Path>, KnownHosts)> = Vec::new();
        let mut warnings = Vec::new();
        match source {
            Source::File(path) => {
                let known = read(path).map_err(|err| unreadable(path, err))?;
                files.push((Arc::from(path.as_path()), known));
            }
            Source::Records(paths) => {
                // Beside the user's known_hosts ssh reads a known_hosts2.
                let second = paths
                    .iter()
                    .filter(|path| path.ends_with(".ssh/known_hosts"))
                    .map(|path| path.with_file_name("known_hosts2"));
                for path in &paths.iter().cloned().chain(second).chain(machine.iter().cloned()).collect::<Vec<_>>() {
                    match read(path) {
                        Ok(known) => files.push((Arc::from(path.as_path()), known)),
                        Err(err) if absent(path, &err) => {}
                        Err(err) => return Err(unreadable(path, err)),
                    }
                }
            }
        }
        for (path, known) in &files {
            warnings.extend(
                known.problems.iter().map(|p| format!("line {} of {} {}: skipped", p.number, path.display(), p.what)),
            );
        }
        let nameless =
            files.iter().flat_map(|(_, known)| &known.lines).any(|line| line.hosts == known_hosts::Hosts::Any);
        let trust = Trust::gather(&files, host, port);
        if let Source::File(path) = source
            && trust.usable().next().is_none()
            && trust.usable_authorities().next().is_none()
        {
            let known = &files[0].1;
            let (path, host) = (path.clone(), host.to_owned());
            return Err(if known.lines.is_empty() {
                FileError::Empty {
                    path,
                    problem: known
                        .problems
                        .first()
                        .map_or_else(String::new, |p| format!(" (line {} {})", p.number, p.what)),
                    port: port_option,
                    host,
                }
            } else {
                FileError::NotForHost { path, name: trust.name, total: known.lines.len(), port: port_option, host }
            });
        }
        Ok(Self { trust, source: source.clone(), host: host.to_owned(), port, nameless, warnings })
    }

    /// What the files say about the server.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Whether some keys would be accepted of any host.
    #[must_use]
    pub fn nameless(&self) -> bool {
        self.nameless
    }

    /// Judges the key that the server proved to hold.
    #[must_use]
    pub fn judge(&self, offered: &PublicKey) -> Judgement {
        let changed = |recorded| {
            Judgement::Refused(Refusal::Changed {
                name: self.trust.name.clone(),
                offered: verify::describe(offered),
                recorded,
            })
        };
        match (self.trust.verdict(offered), &self.source) {
            (Verdict::Trusted, _) => Judgement::Trusted,
            (Verdict::Revoked(recorded), _) => {
                Judgement::Refused(Refusal::Revoked { name: self.trust.name.clone(), recorded: Box::new(recorded) })
            }
            (Verdict::Changed(recorded), _) => changed(recorded),
            (Verdict::Unknown, Source::File(_)) => changed(self.trust.usable().cloned().collect()),
            (Verdict::Unknown, Source::Records(_)) => Judgement::New,
        }
    }

    /// Judges the certificate of a server that proved to hold the key inside. One that does not count leaves the server
    /// with its key, as it does for `ssh`; but a key that nobody knows is not accepted in the place of a certificate.
    #[must_use]
    pub fn judge_certificate(&self, certificate: &Certificate, now: Timestamp) -> Judgement {
        let now = u64::try_from(now.as_second()).unwrap_or(0);
        let Trust { authorities, revoked, .. } = &self.trust;
        match authority::vouches(certificate, &self.host, authorities, revoked, now) {
            Ok(()) => Judgement::Trusted,
            Err(why) => match self.judge(&PublicKey::new(certificate.public_key().clone(), "")) {
                Judgement::Trusted => Judgement::Trusted,
                Judgement::New => Judgement::Refused(Refusal::Certificate { name: self.trust.name.clone(), why }),
                Judgement::Refused(refusal @ Refusal::Revoked { .. }) => Judgement::Refused(refusal),
                Judgement::Refused(_) => {
                    Judgement::Refused(Refusal::Certificate { name: self.trust.name.clone(), why })
                }
            },
        }
    }

    /// Puts a new server on record and says where.
    ///
    /// # Errors
    /// When no place can be written; the server must then be turned away.
    pub fn record(&self, offered: &PublicKey) -> Result<PathBuf, Refusal> {
        let places: &[PathBuf] = match &self.source {
            Source::File(_) => &[],
            Source::Records(places) => places,
        };
        let _one = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
        // Another connection may have seen the host meanwhile.
        if let Ok(now) = Self::load(&self.source, &self.host, self.port) {
            match now.judge(offered) {
                Judgement::New => {}
                Judgement::Refused(refusal) => return Err(refusal),
                Judgement::Trusted => {
                    let same = |r: &&verify::Recorded| r.key.key_data() == offered.key_data();
                    return Ok(now.trust.usable().find(same).map_or_else(PathBuf::new, |r| r.file.to_path_buf()));
                }
            }
        }
        record::record(places, &self.trust.name, offered).map_err(|tried| Refusal::CannotRecord {
            name: self.trust.name.clone(),
            offered: verify::describe(offered),
            tried,
        })
    }
}

/// A file that isn't there, or behind a directory we may not enter (`ProtectHome=` of systemd makes the
/// home look so), has no records. A file that is there but closed may hold a revoked key.
fn absent(path: &Path, err: &io::Error) -> bool {
    match err.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
        io::ErrorKind::PermissionDenied => fs::metadata(path).is_err(),
        _ => false,
    }
}

/// Text, or one key in SSH wire format: the only thing the first program of this name could read.
fn read(path: &Path) -> io::Result<KnownHosts> {
    let bytes = fs::read(path)?;
    if let Ok(key) = PublicKey::from_bytes(&bytes) {
        return Ok(KnownHosts {
            lines: vec![known_hosts::Line {
                number: 1,
                marker: known_hosts::Marker::Host,
                hosts: known_hosts::Hosts::Any,
                key,
            }],
            problems: Vec::new(),
        });
    }
    Ok(known_hosts::parse(&String::from_utf8_lossy(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = include_str!("testdata/known_hosts");
    const RSA_OPTIONS: (&str, u16) = ("login.example.org", 22);

    fn load(content: &[u8], (host, port): (&str, u16)) -> Result<HostKeys, FileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        fs::write(&path, content).unwrap();
        HostKeys::load(&Source::File(path), host, port)
    }

    #[test]
    fn a_file_without_a_usable_key_is_an_error_never_no_verification() {
        let without_authorities: String =
            PLAIN.lines().filter(|l| !l.starts_with("@cert")).map(|l| format!("{l}\n")).collect();
        for (content, server, expected) in [
            ("", RSA_OPTIONS, "holds no key"),
            ("\n# nothing\n", RSA_OPTIONS, "holds no key"),
            ("garbage here too", RSA_OPTIONS, "line 1 "),
            (PLAIN, ("elsewhere.test", 2222), "ssh-keyscan -p 2222 elsewhere.test >>"),
            // Its only key is revoked in the same file.
            (&without_authorities, ("a.cluster.example.org", 22), "no usable key for a.cluster.example.org"),
        ] {
            let err = load(content.as_bytes(), server).unwrap_err().to_string();
            assert!(err.contains(expected), "{err}");
        }
        let missing = Source::File("/nonexistent/hosts".into());
        let err = HostKeys::load(&missing, "login", 22).unwrap_err();
        assert!(matches!(err, FileError::Unreadable { .. }), "{err}");
    }

    #[test]
    fn a_file_given_on_the_command_line_never_learns() {
        let keys = load(PLAIN.as_bytes(), ("login.example.org", 2223)).unwrap();
        let other = known_hosts::parse(PLAIN).lines[1].key.clone();
        assert!(matches!(keys.judge(&other), Judgement::Refused(Refusal::Changed { .. })));
    }

    #[test]
    fn a_key_in_wire_format_is_read_as_the_first_program_of_this_name_did() {
        let key = known_hosts::parse(PLAIN).lines[0].key.clone();
        let keys = load(&key.to_bytes().unwrap(), ("anywhere", 22)).unwrap();
        assert!(matches!(keys.judge(&key), Judgement::Trusted));
    }

    #[test]
    fn bad_lines_are_warned_about() {
        let text = format!("{PLAIN}\nlogin.example.org ssh-ed25519 AAAA\n");
        let keys = load(text.as_bytes(), RSA_OPTIONS).unwrap();
        assert_eq!(keys.warnings.len(), 1, "{:?}", keys.warnings);
        assert!(keys.warnings[0].contains("line 7"), "{:?}", keys.warnings);
    }

    #[test]
    fn the_records_of_the_machine_count_as_they_do_for_ssh() {
        let dir = tempfile::tempdir().unwrap();
        let (own, machine) = (dir.path().join(".ssh/known_hosts"), dir.path().join("ssh_known_hosts"));
        fs::create_dir(dir.path().join(".ssh")).unwrap();
        let lines: Vec<&str> = PLAIN.lines().collect();
        let keys = known_hosts::parse(PLAIN).lines;
        let name = |line: &str, host: &str| format!("{host} {}\n", line.split_once(' ').unwrap().1);
        fs::write(&machine, name(lines[0], "login") + "@revoked " + &name(lines[1], "login")).unwrap();
        fs::write(dir.path().join(".ssh/known_hosts2"), name(lines[1], "second")).unwrap();
        let load = |host: &str| {
            HostKeys::load_with(&Source::Records(vec![own.clone()]), std::slice::from_ref(&machine), host, 22).unwrap()
        };
        assert!(matches!(load("login").judge(&keys[0].key), Judgement::Trusted));
        assert!(matches!(load("login").judge(&keys[1].key), Judgement::Refused(Refusal::Revoked { .. })));
        assert!(matches!(load("login").judge(&keys[2].key), Judgement::Refused(Refusal::Changed { .. })));
        assert!(matches!(load("second").judge(&keys[1].key), Judgement::Trusted));
    }

    #[test]
    fn of_two_connections_to_a_new_host_the_second_knows_what_the_first_has_seen() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::Records(vec![dir.path().join("known_hosts")]);
        let load = || HostKeys::load(&source, "new.invalid", 2222).unwrap();
        let (first, second, third) = (load(), load(), load());
        let keys = known_hosts::parse(PLAIN).lines;
        let place = first.record(&keys[0].key).unwrap();
        assert_eq!(second.record(&keys[0].key).unwrap(), place);
        assert_eq!(fs::read_to_string(&place).unwrap().lines().count(), 1);
        assert!(matches!(third.record(&keys[1].key), Err(Refusal::Changed { .. })));
    }

    #[test]
    fn records_need_not_exist_yet() {
        let source = Source::Records(vec!["/dev/null/known_hosts".into()]);
        let keys = HostKeys::load(&source, "login", 22).unwrap();
        let key = known_hosts::parse(PLAIN).lines[0].key.clone();
        assert!(matches!(keys.judge(&key), Judgement::New));
        assert!(keys.record(&key).unwrap_err().cause().contains("/dev/null"));
    }
}
