//! Bytes both ways between a connection of this machine and one over the multiplexed stream.
//!
//! The two directions end on their own, and each end is passed on. A stream whose end was already passed on can't be
//! broken off afterwards (the library tells the other side nothing), so when the local connection is gone, what still
//! comes is thrown away until the other side ends too; otherwise it would wait for room for ever.

use std::io;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::stream::MuxStream;
use crate::stream::Stream;

/// Read at once: what the library puts into one frame.
const CHUNK: usize = 16 << 10;

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
pub async fn carry(mut local: Stream, far: MuxStream) -> End {
    let end = run(&mut local, far).await;
    if let (Stream::Tcp(local), End::FarBroke) = (&local, end) {
        // A plain close would look like the proper end of the data.
        let reset = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(local, sockopt::Linger, &reset);
    }
    end
}

async fn run(local: &mut Stream, far: MuxStream) -> End {
    let lost = far.lost();
    let (mut local_reader, mut local_writer) = tokio::io::split(local);
    let (mut far_reader, mut far_writer) = tokio::io::split(far);
    let up = async {
        let end = copy(&mut local_reader, &mut far_writer).await;
        if end != Copied::WriterBroke {
            // The other side learns nothing from a broken reader here but its end.
            let _ = far_writer.shutdown().await;
        }
        end
    };
    let down = async {
        let end = copy(&mut far_reader, &mut local_writer).await;
        match end {
            Copied::All => {
                let _ = local_writer.shutdown().await;
            }
            Copied::WriterBroke => {
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
        end = &mut up => (end, (&mut down).await),
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

async fn copy<R, W>(reader: &mut R, writer: &mut W) -> Copied
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return Copied::All,
            Ok(n) => {
                if write(writer, &buffer[..n]).await.is_err() {
                    return Copied::WriterBroke;
                }
            }
            Err(_) => return Copied::ReaderBroke,
        }
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}
