//! `interlink-plugin dial-stdio`: what `ssh-tunnel -rexec` runs at the far end of its SSH session.
//!
//! Connections that come over stdin and stdout are carried to the plugin's private socket. It reaches nothing else, so
//! a key may be narrowed to it: `restrict,command="interlink-plugin dial-stdio"`. It ends when stdin does.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use interlink_daemon::Failure;
use interlink_transport::{Endpoint, mux};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::config::{self, Flags};

/// Carries connections until stdin ends.
///
/// # Errors
/// [`Failure`] when there is no socket to dial, or the other end is not ssh-tunnel.
pub async fn run(socket: Option<&Path>, flags: &Flags) -> Result<(), Failure> {
    let service = match socket {
        Some(path) => Endpoint::unix(path).map_err(|e| Failure::usage(format!("--socket: {e}")))?,
        None => config::load(flags)?.listen,
    };
    let wrong = |e| Failure::failed(format!("stdin and stdout can't be used: {e}"));
    let io = tokio::io::join(input().map_err(wrong)?, output().map_err(wrong)?);
    mux::answer(io, &service).await.map_err(|e| Failure::failed(format!("dial-stdio: {e}")))
}

/// What sshd gave us, read without a thread between.
fn input() -> io::Result<Box<dyn AsyncRead + Unpin>> {
    let fd = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(match kind(&fd)? {
        Kind::Pipe => Box::new(pipe::Receiver::from_owned_fd(fd)?),
        Kind::Socket => Box::new(socket(fd)?),
        Kind::Other => Box::new(tokio::io::stdin()),
    })
}

fn output() -> io::Result<Box<dyn AsyncWrite + Unpin>> {
    let fd = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(match kind(&fd)? {
        Kind::Pipe => Box::new(pipe::Sender::from_owned_fd(fd)?),
        Kind::Socket => Box::new(socket(fd)?),
        Kind::Other => Box::new(tokio::io::stdout()),
    })
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

enum Kind {
    Pipe,
    Socket,
    Other,
}

fn kind(fd: &OwnedFd) -> io::Result<Kind> {
    let file = std::fs::File::from(fd.try_clone()?);
    let kind = file.metadata()?.file_type();
    Ok(match () {
        () if kind.is_fifo() => Kind::Pipe,
        () if kind.is_socket() => Kind::Socket,
        () => Kind::Other,
    })
}
