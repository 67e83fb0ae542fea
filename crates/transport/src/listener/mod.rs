//! A listening socket that owns its file.
//!
//! A Unix socket is made 0600. `<path>.lock`, held by `flock`, decides among our own programs; connecting decides
//! against foreigners that know nothing of the lock. A socket file that nobody answers is stale and is removed.

mod file;
mod lock;
mod owner;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket, sockopt,
};
use nix::sys::stat::{Mode, umask};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::endpoint::{Endpoint, EndpointError};
use crate::peer::Peer;
use crate::stream::Stream;
use file::{OwnedFile, clear_stale};
use lock::{Lock, LockError};

/// How many connections may wait to be accepted: a burst of a thousand clients must not be refused.
const BACKLOG: i32 = 4096;

/// Why a socket can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{endpoint} is already in use by {owner}; stop it, or choose another path or port")]
    InUse {
        /// Where.
        endpoint: String,
        /// Program and process id, as far as known.
        owner: String,
    },
    /// A file that is not a socket is in the way.
    #[error("{0} exists and is not a socket; move it away, or choose another path")]
    NotASocket(PathBuf),
    /// The endpoint can't be listened on at all.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A socket that should be taken over is another one.
    #[error("the socket that was kept is not that of {endpoint}, or its file is gone")]
    Elsewhere {
        /// Where it should listen.
        endpoint: String,
    },
    /// The system refused.
    #[error("can't listen on {endpoint}: {source}")]
    System {
        /// Where.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
}

/// A listening socket. Dropping it removes its file, unless it is kept.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    endpoint: Endpoint,
    file: Option<OwnedFile>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens on `endpoint`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`], which names the present owner where there is one.
    pub async fn bind(endpoint: &Endpoint) -> Result<Self, BindError> {
        match endpoint {
            Endpoint::Unix(path) => Self::bind_unix(path),
            Endpoint::Tcp { host, port } => Self::bind_tcp(endpoint, host, *port).await,
        }
    }

    fn bind_unix(path: &Path) -> Result<Self, BindError> {
        let endpoint = Endpoint::unix(path)?;
        let system =
            |source: io::Error| BindError::System { endpoint: endpoint.to_string(), source: in_words(path, source) };
        let lock = Lock::take(path).map_err(|e| match e {
            LockError::Held(owner) => BindError::InUse { endpoint: endpoint.to_string(), owner },
            LockError::System(source) => system(source),
        })?;
        clear_stale(path, &endpoint)?;
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
            .map_err(|e| system(e.into()))?;
        let address = UnixAddr::new(path).map_err(|e| system(e.into()))?;
        bind_private(fd.as_raw_fd(), &address).map_err(|e| system(e.into()))?;
        let file = OwnedFile::note(path, lock).map_err(system)?;
        let backlog = Backlog::new(BACKLOG).map_err(|e| system(e.into()))?;
        listen(&fd, backlog).map_err(|e| system(e.into()))?;
        let socket = UnixListener::from_std(fd.into()).map_err(system)?;
        Ok(Self { socket: Socket::Unix(socket), endpoint: endpoint.clone(), file: Some(file) })
    }

    /// Takes over a socket that listens on `endpoint` already, such as one that a service manager has kept while the
    /// program was restarted. Its file is kept again. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`]; [`BindError::Elsewhere`] when it is not that socket or its file is gone.
    pub async fn adopt(endpoint: &Endpoint, fd: OwnedFd) -> Result<Self, BindError> {
        let system = |source: io::Error| BindError::System { endpoint: endpoint.to_string(), source };
        let elsewhere = || BindError::Elsewhere { endpoint: endpoint.to_string() };
        if !getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false) {
            return Err(elsewhere());
        }
        match endpoint {
            Endpoint::Unix(path) => {
                let socket = std::os::unix::net::UnixListener::from(fd);
                let here = socket.local_addr().map_err(system)?.as_pathname() == Some(path);
                let there = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
                if !(here && there) {
                    return Err(elsewhere());
                }
                let lock = Lock::take(path).map_err(|e| match e {
                    LockError::Held(owner) => BindError::InUse { endpoint: endpoint.to_string(), owner },
                    LockError::System(source) => system(source),
                })?;
                let mut file = OwnedFile::note(path, lock).map_err(system)?;
                file.kept = true;
                socket.set_nonblocking(true).map_err(system)?;
                let socket = UnixListener::from_std(socket).map_err(system)?;
                Ok(Self { socket: Socket::Unix(socket), endpoint: endpoint.clone(), file: Some(file) })
            }
            Endpoint::Tcp { host, port } => {
                let socket = std::net::TcpListener::from(fd);
                let here = socket.local_addr().map_err(system)?;
                let mut wanted = tokio::net::lookup_host((host.as_str(), *port)).await.map_err(system)?;
                if !wanted.any(|address| address == here) {
                    return Err(elsewhere());
                }
                socket.set_nonblocking(true).map_err(system)?;
                let socket = TcpListener::from_std(socket).map_err(system)?;
                Ok(Self { socket: Socket::Tcp(socket), endpoint: endpoint.clone(), file: None })
            }
        }
    }

    /// Leaves the socket's file when this is dropped, because the socket itself lives on elsewhere.
    pub fn keep(&mut self) {
        if let Some(file) = &mut self.file {
            file.kept = true;
        }
    }

    /// Takes back [`Listener::keep`]: the file goes with this.
    pub fn release(&mut self) {
        if let Some(file) = &mut self.file {
            file.kept = false;
        }
    }

    async fn bind_tcp(endpoint: &Endpoint, host: &str, port: u16) -> Result<Self, BindError> {
        let system = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => {
                BindError::InUse { endpoint: endpoint.to_string(), owner: "another process".to_owned() }
            }
            _ => BindError::System { endpoint: endpoint.to_string(), source },
        };
        let mut addresses = tokio::net::lookup_host((host, port)).await.map_err(system)?;
        let address = addresses.next().ok_or_else(|| system(io::Error::other("the host has no address")))?;
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(system)?;
        socket.set_reuseaddr(true).map_err(system)?;
        socket.bind(address).map_err(system)?;
        let socket = socket.listen(BACKLOG.unsigned_abs()).map_err(system)?;
        let port = socket.local_addr().map_err(system)?.port();
        Ok(Self { socket: Socket::Tcp(socket), endpoint: Endpoint::Tcp { host: host.to_owned(), port }, file: None })
    }

    /// Where it listens; a port of 0 has become the real one.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The next connection and who is at its other end. Waits out a shortage of descriptors instead of failing.
    pub async fn accept(&self) -> (Stream, Peer) {
        let mut pause = Duration::from_millis(5);
        loop {
            let accepted = match &self.socket {
                Socket::Unix(socket) => socket.accept().await.map(|(stream, _)| Stream::Unix(stream)),
                Socket::Tcp(socket) => socket.accept().await.map(|(stream, _)| {
                    // Without it small answers wait for acknowledgements; a failure only costs speed.
                    let _ = stream.set_nodelay(true);
                    Stream::Tcp(stream)
                }),
            };
            match accepted {
                Ok(stream) => {
                    let peer = Peer::of(&stream);
                    return (stream, peer);
                }
                Err(error) => {
                    tracing::warn!(endpoint = %self.endpoint, err = %error, "can't accept a connection; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(socket) => socket.as_fd(),
            Socket::Tcp(socket) => socket.as_fd(),
        }
    }
}

/// The file mask is the whole process's: two that set it at once would leave it changed.
static MASK: Mutex<()> = Mutex::new(());

/// Makes the socket's file so that it is never open to others, not even between bind and chmod.
fn bind_private(fd: std::os::fd::RawFd, address: &UnixAddr) -> nix::Result<()> {
    let _alone = MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = bind(fd, address);
    umask(before);
    bound
}

/// The system's refusal, where it is about the directory: with what to do.
fn in_words(path: &Path, error: io::Error) -> io::Error {
    let dir = path.parent().unwrap_or(path).display();
    let words = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("the directory {dir} does not exist; make it, for this user alone (mode 0700)")
        }
        io::ErrorKind::PermissionDenied => {
            format!("this user may not make files in {dir}; give it the directory, or choose another path")
        }
        _ => return error,
    };
    io::Error::new(error.kind(), words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use nix::sys::socket::connect;
    use std::os::unix::fs::PermissionsExt;

    fn at(dir: &tempfile::TempDir) -> Endpoint {
        Endpoint::unix(&dir.path().join("s.sock")).unwrap()
    }

    #[tokio::test]
    async fn the_socket_is_private_and_leaves_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = at(&dir);
        let listener = Listener::bind(&endpoint).await.unwrap();
        let mode = std::fs::metadata(endpoint.socket().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(listener);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_second_owner_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Listener::bind(&at(&dir)).await.unwrap();
        let error = Listener::bind(&at(&dir)).await.unwrap_err().to_string();
        assert!(error.contains("already in use by") && error.contains(&std::process::id().to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_kept_socket_is_taken_over_with_the_clients_that_waited() {
        let dir = tempfile::tempdir().unwrap();
        for endpoint in [at(&dir), Endpoint::parse("http://127.0.0.1", "0").unwrap()] {
            let mut first = Listener::bind(&endpoint).await.unwrap();
            let endpoint = first.endpoint().clone();
            let kept = first.as_fd().try_clone_to_owned().unwrap();
            first.keep();
            drop(first);
            let mut waited = Stream::connect(&endpoint).await.unwrap();
            let second = Listener::adopt(&endpoint, kept.try_clone().unwrap()).await.unwrap();
            let (mut stream, _) = second.accept().await;
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"x").await.unwrap();
            assert_eq!(tokio::io::AsyncReadExt::read(&mut waited, &mut [0; 2]).await.unwrap(), 1);
            if endpoint.socket().is_some() {
                let other = Listener::bind(&endpoint).await.unwrap_err();
                assert!(matches!(other, BindError::InUse { .. }), "{other}");
            }
        }
    }

    #[tokio::test]
    async fn another_socket_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&at(&dir)).await.unwrap();
        let kept = || listener.as_fd().try_clone_to_owned().unwrap();
        let (one, _two) = std::os::unix::net::UnixStream::pair().unwrap();
        let elsewhere = Endpoint::unix(&dir.path().join("other.sock")).unwrap();
        for (endpoint, fd) in [(&elsewhere, kept()), (&at(&dir), one.into())] {
            let error = Listener::adopt(endpoint, fd).await.unwrap_err();
            assert!(matches!(error, BindError::Elsewhere { .. }), "{error}");
        }
        std::fs::remove_file(at(&dir).socket().unwrap()).unwrap();
        assert!(matches!(Listener::adopt(&at(&dir), kept()).await, Err(BindError::Elsewhere { .. })));
    }

    #[tokio::test]
    async fn a_foreign_owner_is_found_by_connecting() {
        let dir = tempfile::tempdir().unwrap();
        let _foreign = std::os::unix::net::UnixListener::bind(dir.path().join("s.sock")).unwrap();
        let error = Listener::bind(&at(&dir)).await.unwrap_err().to_string();
        assert!(error.contains("already in use by"), "{error}");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_another_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listener::bind(&at(&dir)).await.unwrap());
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(Listener::bind(&at(&dir)).await, Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn an_owner_that_hangs_is_an_owner_and_does_not_hang_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let _hangs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let address = UnixAddr::new(&path).unwrap();
        let mut queue = Vec::new();
        loop {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            queue.push(socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap());
            if connect(queue.last().unwrap().as_raw_fd(), &address) == Err(Errno::EAGAIN) {
                break;
            }
        }
        let error = Listener::bind(&at(&dir)).await.unwrap_err();
        assert!(
            matches!(&error, BindError::InUse { owner, .. } if owner.contains("accepts no connections")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_lock_that_is_no_file_of_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("s.sock.lock");
        nix::unistd::mkfifo(&lock, Mode::from_bits_truncate(0o666)).unwrap();
        let error = Listener::bind(&at(&dir)).await.unwrap_err().to_string();
        assert!(error.contains("s.sock.lock is not a file of this user; remove it"), "{error}");
        std::fs::remove_file(&lock).unwrap();
        std::fs::write(dir.path().join("precious"), "words").unwrap();
        std::os::unix::fs::symlink(dir.path().join("precious"), &lock).unwrap();
        assert!(Listener::bind(&at(&dir)).await.is_err());
        assert_eq!(std::fs::read_to_string(dir.path().join("precious")).unwrap(), "words");
    }

    #[tokio::test]
    async fn a_missing_directory_is_said_with_what_to_do() {
        let endpoint = Endpoint::unix(Path::new("/nonexistent/dir/s.sock")).unwrap();
        let error = Listener::bind(&endpoint).await.unwrap_err().to_string();
        assert!(
            error.ends_with("the directory /nonexistent/dir does not exist; make it, for this user alone (mode 0700)"),
            "{error}"
        );
    }

    #[test]
    fn binding_several_at_once_leaves_the_mask_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let dir = dir.path();
                scope.spawn(move || {
                    for n in 0..50 {
                        let address = UnixAddr::new(&dir.join(format!("{thread}-{n}"))).unwrap();
                        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
                        bind_private(fd.as_raw_fd(), &address).unwrap();
                    }
                });
            }
        });
        let _alone = MASK.lock().unwrap();
        let mode = umask(Mode::from_bits_truncate(0o022));
        umask(mode);
        assert_ne!(mode.bits(), 0o177);
    }

    #[tokio::test]
    async fn a_port_in_use_is_said() {
        let first = Listener::bind(&Endpoint::parse("http://127.0.0.1", "0").unwrap()).await.unwrap();
        let error = Listener::bind(first.endpoint()).await.unwrap_err().to_string();
        assert!(error.contains("already in use"), "{error}");
    }
}
