//! A supervisor that the service manager starts.
//!
//! Below a service of its own the plugin lives in a sandbox, and what it starts would, too: without the namespaces that
//! containers need, and in the service's control group. Where the variable [`SOCKET`] names a socket of the service manager, the plugin
//! hands the job over there instead: the submit lock, the job's output file and a line of JSON. The service manager starts
//! one unit a connection (`interlink-local-pod@.service`), which becomes the supervisor and answers with the job id, as a
//! child would.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use super::START;

/// The variable that names the socket.
pub(super) const SOCKET: &str = "INTERLINK_LOCAL_PODS";

/// The most that the line may take; it holds a path and a few variables.
const LINE: u64 = 1 << 20;

/// What the supervisor is to know. Paths and values may be any bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    pod_dir: Vec<u8>,
    environment: Vec<(String, Vec<u8>)>,
}

/// Hands over the job of `pod_dir` and gives the line with its id; empty where the supervisor ended before it had one.
/// Blocks, at most as long as a supervisor may take.
///
/// # Errors
/// When nobody takes it; nothing was started then, or it will end without having noted an id.
pub(super) fn hand_over(
    socket: &Path,
    pod_dir: &Path,
    environment: impl Iterator<Item = (&'static str, OsString)>,
    lock: &File,
    out: &File,
) -> io::Result<String> {
    let order = Order {
        pod_dir: pod_dir.as_os_str().as_bytes().to_vec(),
        environment: environment.map(|(name, value)| (name.to_owned(), value.into_vec())).collect(),
    };
    let mut line = serde_json::to_vec(&order)?;
    line.push(b'\n');
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(START))?;
    stream.set_read_timeout(Some(START))?;
    let files = [lock.as_fd(), out.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    with.push(SendAncillaryMessage::ScmRights(&files));
    let sent = rustix::net::sendmsg(&stream, &[IoSlice::new(&line)], &mut with, SendFlags::NOSIGNAL)?;
    stream.write_all(line.get(sent..).unwrap_or_default())?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE)).read_line(&mut answer)?;
    Ok(answer)
}

/// In the unit that the service manager has started for one connection, which is its standard input: becomes the
/// supervisor. Returns the exit code only where it can't.
#[must_use]
pub fn take_over() -> u8 {
    let error = match receive(&io::stdin()) {
        Ok((order, files)) => become_supervisor(&order, files),
        Err(error) => error,
    };
    eprintln!("no pod was started here: {error}");
    interlink_supervisor::exit::CANNOT_WRITE
}

fn receive(stdin: &io::Stdin) -> io::Result<(Order, [OwnedFd; 2])> {
    let stream = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    // A plugin that was killed in between must not leave a unit that waits for it.
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut bytes = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let got =
        rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut with, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let files: Vec<OwnedFd> = with
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        })
        .flatten()
        .collect();
    let files = <[OwnedFd; 2]>::try_from(files)
        .map_err(|files| io::Error::other(format!("{} files came instead of 2", files.len())))?;
    bytes.truncate(got);
    if bytes.last() != Some(&b'\n') {
        BufReader::new(stream.take(LINE)).read_until(b'\n', &mut bytes)?;
    }
    Ok((serde_json::from_slice(&bytes)?, files))
}

/// The same program again, with what a child of the plugin would have.
fn become_supervisor(order: &Order, [lock, out]: [OwnedFd; 2]) -> io::Error {
    let pod_dir = PathBuf::from(OsString::from_vec(order.pod_dir.clone()));
    let started = || -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["supervise", "--detached", "--pod-dir"]).arg(&pod_dir).current_dir(&pod_dir);
        command.env_clear().envs(order.environment.iter().map(|(n, v)| (n, OsString::from_vec(v.clone()))));
        let answer = io::stdin().as_fd().try_clone_to_owned()?;
        command.stdin(Stdio::from(lock)).stdout(Stdio::from(answer)).stderr(Stdio::from(out));
        Ok(command)
    };
    match started() {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn an_order_arrives_with_its_files_however_long_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let (lock, out) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        for size in [1, 100_000] {
            let value = OsString::from_vec(vec![0xff; size]);
            std::thread::scope(|scope| {
                let given = [("A", value.clone())];
                let asked = scope.spawn(|| hand_over(&socket, Path::new("/a/b"), given.into_iter(), &lock, &out));
                let (mut stream, _) = listener.accept().unwrap();
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
                let mut with = RecvAncillaryBuffer::new(&mut space);
                let mut bytes = vec![0; 4096];
                let got = rustix::net::recvmsg(
                    &stream,
                    &mut [IoSliceMut::new(&mut bytes)],
                    &mut with,
                    RecvFlags::CMSG_CLOEXEC,
                )
                .unwrap();
                bytes.truncate(got.bytes);
                while bytes.last() != Some(&b'\n') {
                    let mut more = vec![0; 65536];
                    let read = stream.read(&mut more).unwrap();
                    bytes.extend_from_slice(&more[..read]);
                }
                let order: Order = serde_json::from_slice(&bytes).unwrap();
                assert_eq!(order.pod_dir, b"/a/b");
                assert_eq!(order.environment, [("A".to_owned(), vec![0xff; size])]);
                assert_eq!(with.drain().count(), 1);
                stream.write_all(b"local-1-2\n").unwrap();
                assert_eq!(asked.join().unwrap().unwrap(), "local-1-2\n");
            });
        }
    }

    #[test]
    fn a_supervisor_that_ends_before_it_has_an_id_leaves_an_empty_answer_and_nobody_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let file = tempfile::tempfile().unwrap();
        let none = || std::iter::empty::<(&'static str, OsString)>();
        assert!(hand_over(&socket, Path::new("/"), none(), &file, &file).is_err());
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| hand_over(&socket, Path::new("/"), none(), &file, &file));
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = [0; 512];
            assert!(stream.read(&mut line).unwrap() > 0);
            drop(stream);
            assert_eq!(asked.join().unwrap().unwrap(), "");
        });
    }
}
