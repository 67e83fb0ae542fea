//! The side that dials for the other.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::driver::drive;
use super::greeting::{Greeting, LINE};
use super::stream::MuxStream;
use super::{CONNECTED, REFUSED, WANT_ABORT, WANT_SERVICE, carry, opener};
use crate::endpoint::Endpoint;
use crate::stream::Stream;

/// How long the other side may take to greet back.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the service may take to accept, and a stream to say what it wants.
pub const DIAL: Duration = Duration::from_secs(10);

/// Greets over `io`, then connects each stream that is opened over it to `service`, until `io` ends.
///
/// # Errors
/// When the other side does not greet back, or breaks the protocol.
pub async fn answer<T>(mut io: T, service: &Endpoint) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    opener::greet(&mut io).await?;
    match timeout(PATIENCE, greeted(&mut io)).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return Ok(()),
        Ok(Err(err)) => return Err(err),
        Err(_) => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nobody greeted back within {PATIENCE:?}")));
        }
    }
    let lost = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let open = Connections::default();
    let inbound = |stream| {
        let (service, stream) = (service.clone(), MuxStream::new(stream, lost.clone(), None));
        tasks.spawn(serve(stream, service, open.clone()));
        // What has ended need not be kept.
        while tasks.try_join_next().is_some() {}
    };
    let ended = drive(io, yamux::Mode::Server, None, inbound, lost.clone()).await;
    // Nobody is there any more who could take what the service still says.
    tasks.shutdown().await;
    ended.map_or(Ok(()), |why| Err(io::Error::other(why)))
}

/// Byte by byte, because the next one belongs to another protocol. False for an end before the first word.
async fn greeted<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<bool> {
    let mut greeting = Greeting::default();
    let mut byte = [0];
    // With room for the end of the line of a terminal.
    for _ in 0..=LINE.len() + 1 {
        if io.read(&mut byte).await? == 0 {
            if greeting.words().is_empty() {
                return Ok(false);
            }
            break;
        }
        if greeting.feed(&byte).map_err(io::Error::other)?.is_some() {
            return Ok(true);
        }
    }
    Err(io::Error::other(format!(
        "{:?} came instead of {LINE:?}: this command is started by ssh-tunnel -rexec, not by a person",
        greeting.words()
    )))
}

/// The connections that are open, by the numbers of their streams.
#[derive(Clone, Default)]
struct Connections(Arc<Mutex<HashMap<u32, CancellationToken>>>);

impl Connections {
    /// Enters one; cancelled when the other side breaks it off.
    fn enter(&self, number: u32) -> CancellationToken {
        let aborted = CancellationToken::new();
        self.open().insert(number, aborted.clone());
        aborted
    }

    /// Breaks one off, if it is still there, and forgets it.
    fn end(&self, number: u32) {
        if let Some(connection) = self.open().remove(&number) {
            connection.cancel();
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u32, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(mut stream: MuxStream, service: Endpoint, open: Connections) {
    match timeout(DIAL, stream.read_u8()).await {
        Ok(Ok(WANT_SERVICE)) => {
            let number = stream.number();
            let aborted = open.enter(number);
            tokio::select! {
                () = connect(stream, service) => {}
                () = aborted.cancelled() => {}
            }
            open.end(number);
        }
        Ok(Ok(WANT_ABORT)) => {
            if let Ok(Ok(number)) = timeout(DIAL, stream.read_u32()).await {
                open.end(number);
            }
            let _ = stream.shutdown().await;
        }
        Ok(_) | Err(_) => {}
    }
}

async fn connect(mut stream: MuxStream, service: Endpoint) {
    let dialled = match timeout(DIAL, Stream::connect(&service)).await {
        Ok(dialled) => dialled.map_err(|err| err.to_string()),
        Err(_) => Err(format!("no answer within {DIAL:?}")),
    };
    match dialled {
        Ok(local) => {
            if stream.write_all(&[CONNECTED]).await.is_ok() {
                carry(local, stream).await;
            }
        }
        Err(err) => {
            let mut why = format!("{service} can't be connected to: {err}").into_bytes();
            why.truncate(u8::MAX.into());
            let length = u8::try_from(why.len()).unwrap_or(u8::MAX);
            let said = [&[REFUSED, length], &why[..]].concat();
            if stream.write_all(&said).await.is_ok() {
                let _ = stream.shutdown().await;
                let _ = timeout(DIAL, stream.read(&mut [0])).await;
            }
        }
    }
}
