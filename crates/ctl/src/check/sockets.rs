//! The sockets between the programs: whether they are there, whose they are, and who listens.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, getsockopt, socket, sockopt::PeerCredentials};

use super::step::{Id, Step};

/// What is at a socket's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    /// Nothing.
    Missing,
    /// A directory on the way keeps this user out.
    Denied,
    /// Something else.
    NotASocket,
    /// Nothing for others, but a socket for that process, which has directories of its own.
    Apart(u32),
    /// A socket.
    Socket {
        /// Its owner.
        uid: u32,
        /// Its permission bits.
        mode: u32,
        /// Who listens.
        listener: Listener,
    },
}

/// Who listens on a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    /// Nobody: its maker is gone.
    Gone,
    /// The kernel doesn't let this user connect.
    Denied,
    /// A process, by the name that the kernel has for it (at most 15 bytes).
    Process {
        /// Its number.
        pid: i32,
        /// Its name; empty where that can't be told.
        name: String,
    },
    /// It can't be told.
    Unclear(String),
}

/// A socket that two programs meet at.
#[derive(Debug, Clone)]
pub struct Meeting {
    /// The step.
    pub id: Id,
    /// Its path.
    pub path: PathBuf,
    /// The key or flag that names it.
    pub key: &'static str,
    /// Who should listen, and the hop of that program.
    pub owner: (&'static str, &'static str),
    /// Who dials, and as which user, where that is known.
    pub client: (&'static str, Option<u32>),
}

/// Looks at `path`, and if nothing is there, at what the process `owner` has there.
#[must_use]
pub fn look_for(path: &Path, owner: Option<u32>) -> File {
    let theirs = |pid: &u32| {
        let path = Path::new("/proc").join(pid.to_string()).join("root").join(path.strip_prefix("/").unwrap_or(path));
        std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
    };
    match look(path) {
        File::Missing => owner.filter(theirs).map_or(File::Missing, File::Apart),
        found => found,
    }
}

/// Looks at `path`. Connecting to it tells who listens; nothing is sent.
#[must_use]
pub fn look(path: &Path) -> File {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return File::Denied,
        Err(_) => return File::Missing,
    };
    if !metadata.file_type().is_socket() {
        return File::NotASocket;
    }
    let listener = match connect(path) {
        Ok(stream) => match getsockopt(&stream, PeerCredentials) {
            Ok(peer) => {
                let name = std::fs::read_to_string(format!("/proc/{}/comm", peer.pid())).unwrap_or_default();
                Listener::Process { pid: peer.pid(), name: name.trim().to_owned() }
            }
            Err(error) => Listener::Unclear(error.desc().to_owned()),
        },
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Listener::Gone,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Listener::Denied,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Listener::Unclear("its queue is full, as of a program that hangs".to_owned())
        }
        Err(error) => Listener::Unclear(error.to_string()),
    };
    File::Socket { uid: metadata.uid(), mode: metadata.permissions().mode() & 0o777, listener }
}

/// Never waits: connecting to a socket whose queue is full would.
fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// The user that a process runs as.
#[must_use]
pub fn user_of(pid: u32) -> Option<u32> {
    std::fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid())
}

/// Judges what was seen.
#[must_use]
pub fn judge(meeting: &Meeting, file: &File) -> Step {
    let Meeting { id, key, owner: (owner, hop), client: (client, client_uid), .. } = *meeting;
    let path = meeting.path.display();
    let failed = |cause: String, remedy: String| Step::failed(id, hop, cause, remedy);
    let (uid, mode, listener) = match file {
        File::Missing => {
            return failed(
                format!("the socket {path} ({key}) is not there"),
                format!("start (or restart) {owner}, or correct {key}"),
            );
        }
        File::Denied => {
            return failed(
                format!("the directory of the socket {path} ({key}) is closed to this user"),
                "run interlinkctl check as the user of the programs or as root".to_owned(),
            );
        }
        File::Apart(pid) => {
            return failed(
                format!(
                    "the socket {path} ({key}) is in a directory that only {owner} (process {pid}) has, as PrivateTmp= gives each service a /tmp of its own"
                ),
                format!(
                    "give {key} a path in /run/interlink, which all services see, and restart {owner} and {client}"
                ),
            );
        }
        File::NotASocket => {
            return failed(
                format!("{path} ({key}) is there, but is not a socket"),
                format!("move it away and start {owner}, or correct {key}"),
            );
        }
        File::Socket { uid, mode, listener } => (*uid, *mode, listener),
    };
    match listener {
        Listener::Gone => failed(
            format!("the socket {path} ({key}) is there, but nobody listens: {owner} is gone"),
            format!("start {owner}, which takes it over"),
        ),
        Listener::Denied => failed(
            format!(
                "the socket {path} ({key}) is that of the user with the number {uid} and closed to this one (mode {mode:04o})"
            ),
            "run interlinkctl check as that user or as root".to_owned(),
        ),
        Listener::Unclear(why) => {
            failed(format!("the socket {path} ({key}) can't be connected to: {why}"), format!("look at {owner}'s log"))
        }
        Listener::Process { pid, name } if is_another_of_ours(name, owner) => failed(
            format!("{name} (process {pid}) listens on {path} ({key}), where {owner} should"),
            format!("give {name} and {owner} a socket each, and correct {key}"),
        ),
        Listener::Process { .. }
            if client_uid.is_some_and(|client| client != 0 && client != uid && mode & 0o002 == 0) =>
        {
            failed(
                format!(
                    "the socket {path} ({key}) is that of the user with the number {uid}, but {client} runs as another and may not use it"
                ),
                format!("run {client} and {owner} as the same user"),
            )
        }
        Listener::Process { .. } if mode & 0o077 != 0 => Step::warned(
            id,
            hop,
            format!(
                "the socket {path} ({key}) is open to other users of this machine (mode {mode:04o}), who could run pods"
            ),
            format!("restart {owner}, which makes it 0600, or run chmod 600 {path}"),
        ),
        Listener::Process { pid, name } => {
            let name = if name.is_empty() { "a process" } else { name };
            Step::good(id, hop, format!("{path}: {name} ({pid}) listens, mode {mode:04o}"))
        }
    }
}

/// Another program of the chain than the one that should listen. Foreign programs may stand in for ours.
fn is_another_of_ours(name: &str, owner: &str) -> bool {
    let ours = ["virtual-kubelet", "interlink", "ssh-tunnel", "interlink-plugi"];
    // Without a tunnel the plugin itself may listen.
    let may =
        |name: &str| name == &owner[..owner.len().min(15)] || (owner == "ssh-tunnel" && name == "interlink-plugi");
    ours.contains(&name) && !may(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::Verdict;

    fn meeting(client: Option<u32>) -> Meeting {
        Meeting {
            id: Id::TunnelSocket,
            path: "/run/interlink/plugin.sock".into(),
            key: "SidecarURL",
            owner: ("ssh-tunnel", "tunnel"),
            client: ("interlink", client),
        }
    }

    #[test]
    fn what_is_at_the_path_is_judged() {
        let socket = |mode, listener| File::Socket { uid: 998, mode, listener };
        let process = |name: &str| Listener::Process { pid: 7, name: name.into() };
        let cases = [
            (File::Missing, None, "✗ plugin.sock (SidecarURL) is not there", "start (or restart) ssh-tunnel"),
            (File::Denied, None, "✗ closed to this user", "as root"),
            (File::NotASocket, None, "✗ is not a socket", "move it away"),
            (File::Apart(7), None, "✗ only ssh-tunnel (process 7) has, as PrivateTmp=", "a path in /run/interlink"),
            (socket(0o600, Listener::Gone), None, "✗ nobody listens: ssh-tunnel is gone", "takes it over"),
            (socket(0o600, Listener::Denied), None, "✗ user with the number 998 and closed", "as that user"),
            (socket(0o600, process("interlink")), None, "✗ interlink (process 7) listens on", "a socket each"),
            (socket(0o600, process("ssh-tunnel")), Some(1000), "✗ but interlink runs as another", "as the same user"),
            (socket(0o666, process("ssh-tunnel")), Some(998), "! open to other users", "chmod 600"),
            (socket(0o600, process("ssh-tunnel")), Some(998), "✓ ssh-tunnel (7) listens, mode 0600", ""),
            (socket(0o600, process("ssh-tunnel")), Some(0), "✓ listens", ""),
            (socket(0o600, process("ssh")), None, "✓ ssh (7) listens", ""),
            (socket(0o600, process("interlink-plugi")), None, "✓ listens", ""),
        ];
        for (file, client, outcome, remedy) in cases {
            let (mark, part) = outcome.split_once(' ').unwrap();
            let step = judge(&meeting(client), &file);
            let (seen, words, todo) = match step.verdict {
                Verdict::Good(words) => ("✓", words, String::new()),
                Verdict::Warned(fault) => ("!", fault.cause, fault.remedy),
                Verdict::Failed(fault) => ("✗", fault.cause, fault.remedy),
                Verdict::Skipped(words) => ("-", words, String::new()),
            };
            assert!(seen == mark && words.contains(part) && todo.contains(remedy), "{outcome}: {words}; {todo}");
        }
    }

    #[test]
    fn looking_at_a_program_that_takes_no_connection_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = connect(&path) {
            waiting.push(stream);
        }
        let File::Socket { listener: Listener::Unclear(why), .. } = look(&path) else { panic!("it is full") };
        assert!(why.contains("queue is full"), "{why}");
    }

    #[test]
    fn looking_tells_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert_eq!(look(&path), File::Missing);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let File::Socket { listener: Listener::Process { pid, .. }, .. } = look(&path) else { panic!("it listens") };
        assert_eq!(pid.unsigned_abs(), std::process::id());
        drop(listener);
        assert!(matches!(look(&path), File::Socket { listener: Listener::Gone, .. }));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(look(&path), File::NotASocket);
    }

    /// As a unit with PrivateTmp= has another /tmp than everybody else.
    #[test]
    fn a_socket_that_only_its_owner_sees_is_told_from_none() {
        let dir = tempfile::tempdir().unwrap();
        let (own, shared, ready) = (dir.path().join("own"), dir.path().join("tmp"), dir.path().join("ready"));
        std::fs::create_dir(&own).unwrap();
        std::fs::create_dir(&shared).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(own.join("s")).unwrap();
        let script = r#"mount --bind "$1" "$2" && touch "$3" && exec sleep 60"#;
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        let mut process = unshare.args([&own, &shared, &ready]).spawn().unwrap();
        let began = std::time::Instant::now();
        while !ready.exists() && process.try_wait().unwrap().is_none() && began.elapsed().as_secs() < 60 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let found = look_for(&shared.join("s"), Some(process.id()));
        let (other, nobody) = (look_for(&shared.join("x"), Some(process.id())), look_for(&shared.join("s"), None));
        process.kill().unwrap();
        let pid = process.id();
        process.wait().unwrap();
        assert_eq!((found, other, nobody), (File::Apart(pid), File::Missing, File::Missing));
    }
}
