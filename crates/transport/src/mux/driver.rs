//! Turns the wheel: the library's streams only move while its connection is polled.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::TokioAsyncReadCompatExt as _;
use tokio_util::sync::CancellationToken;

/// Several frames, so that a busy stream needs few system calls.
const BUFFER: usize = 64 << 10;

/// A request for a stream.
pub(super) type Request = oneshot::Sender<yamux::Stream>;

/// Drives the connection until it ends, and returns why in words; `None` for a proper end.
pub(super) async fn drive<T>(
    io: T,
    mode: yamux::Mode,
    mut requests: Option<mpsc::Receiver<Request>>,
    mut inbound: impl FnMut(yamux::Stream),
    lost: CancellationToken,
) -> Option<String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // The library writes and reads each frame in two pieces.
    let io = BufStream::with_capacity(BUFFER, BUFFER, io);
    let mut connection = yamux::Connection::new(io.compat(), super::config(), mode);
    let mut asked: Option<Request> = None;
    // Readers that see their end in this very turn ask whether it was a proper one.
    let lost = lost.drop_guard();
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = open(&mut connection, &mut requests, &mut asked, cx) {
                return Poll::Ready(Err(ended));
            }
            match connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => inbound(stream),
                Poll::Ready(Some(Err(err))) => return Poll::Ready(Err(err)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    drop(lost);
    match ended {
        Ok(()) | Err(yamux::ConnectionError::Closed) => None,
        Err(yamux::ConnectionError::Io(err)) if err.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(err) => Some(err.to_string()),
    }
}

/// Serves the requests for streams; ready only when the connection failed.
fn open<T>(
    connection: &mut yamux::Connection<T>,
    requests: &mut Option<mpsc::Receiver<Request>>,
    asked: &mut Option<Request>,
    cx: &mut Context<'_>,
) -> Poll<yamux::ConnectionError>
where
    T: futures_util::AsyncRead + futures_util::AsyncWrite + Unpin,
{
    let Some(receiver) = requests else { return Poll::Pending };
    loop {
        if asked.is_none() {
            match receiver.poll_recv(cx) {
                Poll::Ready(Some(request)) => *asked = Some(request),
                Poll::Ready(None) => {
                    // Nobody will ask any more; the streams live on.
                    *requests = None;
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        match connection.poll_new_outbound(cx) {
            Poll::Ready(Ok(stream)) => {
                if let Some(request) = asked.take() {
                    // Who asked may have given up.
                    let _ = request.send(stream);
                }
            }
            Poll::Ready(Err(err)) => return Poll::Ready(err),
            Poll::Pending => return Poll::Pending,
        }
    }
}
