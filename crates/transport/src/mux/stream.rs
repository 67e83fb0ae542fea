//! One connection over the multiplexed stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};
use tokio_util::sync::CancellationToken;

use super::opener::Opener;

/// How long the request to break off a connection may take.
const BREAK_OFF: Duration = Duration::from_secs(10);

/// A connection. A proper end is an end; the loss of what carries it is an error.
#[derive(Debug)]
pub struct MuxStream {
    stream: Compat<yamux::Stream>,
    /// Cancelled when nothing is carried any more.
    lost: CancellationToken,
    /// Where it was opened, and until then counted.
    opened: Option<(Opener, OwnedSemaphorePermit)>,
}

impl MuxStream {
    pub(super) fn new(
        stream: yamux::Stream,
        lost: CancellationToken,
        opened: Option<(Opener, OwnedSemaphorePermit)>,
    ) -> Self {
        Self { stream: stream.compat(), lost, opened }
    }

    /// Its number, the same at both ends.
    pub(super) fn number(&self) -> u32 {
        self.stream.get_ref().id().val()
    }

    /// What breaks it off at the other end, if it was opened here.
    pub(super) fn aborter(&self) -> Option<Aborter> {
        self.opened.as_ref().map(|(opener, _)| Aborter { opener: opener.clone(), number: self.number() })
    }

    /// Cancelled when what carries this connection is gone.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

/// Breaks off a connection whose end was already passed on.
pub(super) struct Aborter {
    opener: Opener,
    number: u32,
}

impl Aborter {
    pub(super) async fn abort(&self) {
        self.opener.abort(self.number).await;
    }
}

/// Whoever gives up a connection that has not ended breaks it off at the other end too: the library's own word for that
/// looks like a proper end there, and a service may go on after one.
impl Drop for MuxStream {
    fn drop(&mut self) {
        let Some(aborter) = self.aborter() else { return };
        if self.stream.get_ref().is_closed() || self.lost.is_cancelled() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { timeout(BREAK_OFF, aborter.abort()).await });
        }
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before && buf.remaining() > 0 && self.lost.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
