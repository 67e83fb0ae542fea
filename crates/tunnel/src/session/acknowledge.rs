//! The TCP connection to the server, read by somebody who acknowledges at once.
//!
//! Linux delays acknowledgements of a connection that also sends. A sender whose speed follows the rate of
//! acknowledgements (BBR) then slows down: on one machine by a fifth. So after each large read the next
//! acknowledgement is asked for at once (`TCP_QUICKACK`, tcp(7), which lasts a few segments only); a few bytes, as of a
//! key stroke, are acknowledged as ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of a read that belongs to a stream of many.
const LARGE: usize = 32 << 10;

/// A connection whose large reads are acknowledged at once.
#[derive(Debug)]
pub(super) struct Acknowledging(pub(super) TcpStream);

impl AsyncRead for Acknowledging {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        if buf.filled().len() - before >= LARGE {
            // Where it can't be had it is as without it.
            let _ = self.0.set_quickack(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Acknowledging {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Two ends of a connection.
    async fn ends() -> (Acknowledging, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Acknowledging(near.unwrap()), far.unwrap().0)
    }

    #[tokio::test]
    async fn a_large_read_is_acknowledged_at_once_and_a_small_one_as_ever() {
        for (sent, quick) in [(2 * LARGE, true), (10, false)] {
            let (mut near, mut far) = ends().await;
            far.write_all(&vec![7; sent]).await.unwrap();
            while near.0.peek(&mut vec![0; sent]).await.unwrap() < sent {
                tokio::task::yield_now().await;
            }
            near.0.set_quickack(false).unwrap();
            let mut received = vec![0; sent];
            assert_eq!(near.read(&mut received).await.unwrap(), sent);
            assert_eq!(near.0.quickack().unwrap(), quick, "after {sent} bytes");
            assert!(received.iter().all(|byte| *byte == 7));
        }
    }
}
