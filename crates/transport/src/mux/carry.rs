//! Bytes both ways between a connection of this machine and one over the multiplexed stream.
//!
//! The two directions end on their own, and each end is passed on. A stream whose end was already passed on can't be
//! broken off afterwards (the library tells the other side nothing), so when the local connection is gone, the other side
//! is told by way of another stream, or, where it is the one that opened the connection, heard out.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::stream::MuxStream;
use crate::stream::Stream;

/// Read at once: what the library puts into one frame.
const CHUNK: usize = 16 << 10;

thread_local! {
    /// Where reads land before their exact size is known, so that a thousand idle connections hold no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// How long a service whose client is gone may take to end by itself.
const FAREWELL: Duration = Duration::from_millis(500);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides said so.
    Finished,
    /// The local side broke.
    LocalBroke,
    /// The other side broke, or what carried it.
    FarBroke,
}

/// Carries bytes until both directions ended.
pub async fn carry(local: Stream, far: MuxStream) -> End {
    carry_counted(local, far, &AtomicU64::new(0), &AtomicU64::new(0)).await
}

/// As [`carry`], and adds the bytes that went to the far end and that came from it.
pub async fn carry_counted(mut local: Stream, far: MuxStream, to_far: &AtomicU64, from_far: &AtomicU64) -> End {
    let end = run(&mut local, far, to_far, from_far).await;
    if let (Stream::Tcp(local), End::FarBroke) = (&local, end) {
        // A plain close would look like the proper end of the data.
        let reset = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(local, sockopt::Linger, &reset);
    }
    end
}

async fn run(local: &mut Stream, far: MuxStream, to_far: &AtomicU64, from_far: &AtomicU64) -> End {
    let (lost, aborter) = (far.lost(), far.aborter());
    let told = aborter.as_ref();
    let (mut local_reader, mut local_writer) = tokio::io::split(local);
    let (mut far_reader, mut far_writer) = tokio::io::split(far);
    let up = async {
        let end = copy(&mut local_reader, &mut far_writer, to_far).await;
        if end != Copied::WriterBroke {
            // The other side learns nothing from a broken reader here but its end.
            let _ = far_writer.shutdown().await;
        }
        end
    };
    let down = async {
        let end = copy(&mut far_reader, &mut local_writer, from_far).await;
        match end {
            Copied::All => {
                let _ = local_writer.shutdown().await;
            }
            Copied::WriterBroke => {
                if let Some(aborter) = told {
                    aborter.abort().await;
                }
                let _ = tokio::io::copy(&mut far_reader, &mut tokio::io::sink()).await;
            }
            Copied::ReaderBroke => {}
        }
        end
    };
    tokio::pin!(up, down);
    let (up, down) = tokio::select! {
        // Nothing can be sent any more, and what came is delivered.
        end = &mut down => match end {
            Copied::ReaderBroke => return End::FarBroke,
            end => tokio::select! {
                up = &mut up => (up, end),
                // A client that only waits would never learn of it.
                () = lost.cancelled() => return End::FarBroke,
            },
        },
        end = &mut up => match (end, told) {
            // Nobody is there any more. A service that is told so usually ends by itself; one that only waits does not.
            (Copied::ReaderBroke, Some(aborter)) => match timeout(FAREWELL, &mut down).await {
                Ok(down) => (end, down),
                Err(_) => {
                    aborter.abort().await;
                    return End::LocalBroke;
                }
            },
            _ => (end, (&mut down).await),
        },
    };
    match (up, down) {
        (Copied::All, Copied::All) => End::Finished,
        (Copied::WriterBroke, _) | (_, Copied::ReaderBroke) => End::FarBroke,
        (Copied::ReaderBroke, _) | (_, Copied::WriterBroke) => End::LocalBroke,
    }
}

/// How one direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    All,
    ReaderBroke,
    WriterBroke,
}

async fn copy<R, W>(reader: &mut R, writer: &mut W, count: &AtomicU64) -> Copied
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        match read(reader).await {
            Ok(chunk) if chunk.is_empty() => return Copied::All,
            Ok(chunk) => {
                if write(writer, &chunk).await.is_err() {
                    return Copied::WriterBroke;
                }
                count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            Err(_) => return Copied::ReaderBroke,
        }
    }
}

/// What the reader has; empty at its end.
async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Bytes> {
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *reader).poll_read(cx, &mut buf))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(buf.filled())))
        })
    })
    .await
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}
