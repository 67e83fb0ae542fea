//! Bytes both ways between a local connection and a channel.
//!
//! The two directions end on their own: the end of one is passed on (shutdown ↔ EOF) while the other goes on. The
//! channel is closed when both ended, when either side broke, and always exactly once.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use interlink_transport::Stream;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::backlog::{Backlog, Budget, STALL};
use super::landing::Landing;
use super::route::Traffic;

/// How long a service whose client is gone may take to end by itself.
const FAREWELL: Duration = Duration::from_millis(500);

thread_local! {
    /// Where the reads of all connections land, so that a thousand idle ones hold no buffer.
    static LANDING: RefCell<Landing> = RefCell::default();
}

/// All connections of this process share one.
static BUDGET: Budget = Budget::new();

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides said so.
    Finished,
    /// The client is gone.
    ClientBroke,
    /// The client stopped reading, see [`super::backlog`].
    Stalled,
    /// The session is gone.
    SessionLost,
}

/// Carries bytes until both directions ended.
pub async fn splice(stream: Stream, channel: Channel<Msg>, traffic: &Traffic) -> End {
    match stream {
        Stream::Unix(stream) => {
            let (mut reader, mut writer) = stream.into_split();
            run(&mut reader, &mut writer, channel, traffic).await
        }
        Stream::Tcp(stream) => {
            let (mut reader, mut writer) = stream.into_split();
            let end = run(&mut reader, &mut writer, channel, traffic).await;
            if end != End::Finished {
                // A plain close would look like the proper end of the data.
                let reset = libc::linger { l_onoff: 1, l_linger: 0 };
                let _ = setsockopt(writer.as_ref(), sockopt::Linger, &reset);
            }
            // Dropping a writer alone would send a proper end first.
            writer.forget();
            end
        }
    }
}

/// How the direction towards the server ended.
enum Upload {
    /// The client's end was passed on.
    Ended,
    /// The client is gone.
    ClientBroke,
    /// The session is gone.
    SessionLost,
}

/// How the direction towards the client ended.
enum Download {
    /// The server closed the channel, and the client has everything.
    Ended,
    /// The client stopped reading.
    Stalled,
    /// The client closed its reading side.
    NobodyReads,
    /// The session is gone.
    SessionLost,
}

async fn run<R, W>(reader: &mut R, writer: &mut W, channel: Channel<Msg>, traffic: &Traffic) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut from_server, to_server) = channel.split();
    // Keeps its permit: told before or after the download asks, it is heard.
    let uploaded = Notify::new();
    let mut ended = false;
    let end = {
        let up = upload(reader, &to_server, traffic);
        let down = async {
            match download(&mut from_server, writer, traffic).await {
                Download::Ended => End::Finished,
                Download::Stalled => End::Stalled,
                Download::SessionLost => End::SessionLost,
                // Either the client is gone, which the upload tells, or it only wants to send.
                Download::NobodyReads => tokio::select! {
                    end = discard(&mut from_server) => end,
                    () = uploaded.notified() => End::ClientBroke,
                },
            }
        };
        tokio::pin!(up, down);
        loop {
            tokio::select! {
                done = &mut up, if !ended => match done {
                    Upload::Ended => {
                        ended = true;
                        uploaded.notify_one();
                    }
                    Upload::ClientBroke => break End::ClientBroke,
                    Upload::SessionLost => break End::SessionLost,
                },
                // The server closes a channel once both directions ended: that is the end of the connection.
                end = &mut down => break end,
            }
        }
    };
    match end {
        End::Finished | End::SessionLost => {}
        // A service that is told of the end usually ends too, and the server then closes the channel. That is better
        // than closing it ourselves: the library keeps what it knows of a channel until the server closes it.
        End::ClientBroke => {
            let told = ended || to_server.eof().await.is_ok();
            if !told || timeout(FAREWELL, discard(&mut from_server)).await.is_err() {
                let _ = to_server.close().await;
            }
        }
        // The session may be gone by now, and the channel with it; or it waits for room in this very channel, and takes
        // nothing from anybody before it has it.
        End::Stalled => {
            drop(from_server);
            let _ = to_server.close().await;
        }
    }
    end
}

/// Client to server, until the client ends.
async fn upload<R: AsyncRead + Unpin>(reader: &mut R, to_server: &ChannelWriteHalf<Msg>, traffic: &Traffic) -> Upload {
    loop {
        match read_chunk(reader).await {
            Ok(chunk) if chunk.is_empty() => {
                return if to_server.eof().await.is_ok() { Upload::Ended } else { Upload::SessionLost };
            }
            // Waits for the server's window: that is the brake on a client faster than the service.
            Ok(chunk) => {
                traffic.to_server.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                if to_server.data_bytes(chunk).await.is_err() {
                    return Upload::SessionLost;
                }
            }
            Err(_) => return Upload::ClientBroke,
        }
    }
}

/// Server to client, until the server closes the channel.
async fn download<W: AsyncWrite + Unpin>(
    from_server: &mut ChannelReadHalf,
    writer: &mut W,
    traffic: &Traffic,
) -> Download {
    let mut backlog = Backlog::new(&BUDGET);
    let (mut eof, mut closed, mut passed_on) = (false, false, false);
    let mut last_taken = Instant::now();
    loop {
        if backlog.is_empty() {
            if (eof || closed) && !passed_on {
                passed_on = true;
                // A client that is gone already needs no end.
                let _ = writer.shutdown().await;
            }
            if closed {
                return Download::Ended;
            }
        }
        let stalled = async {
            if backlog.is_full() {
                sleep_until(last_taken + STALL).await;
            } else {
                pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            taken = write_some(writer, &backlog), if !backlog.is_empty() => match taken {
                Ok(taken) => {
                    last_taken = Instant::now();
                    traffic.from_server.fetch_add(taken as u64, Ordering::Relaxed);
                    backlog.advance(taken);
                }
                Err(_) => return Download::NobodyReads,
            },
            message = from_server.wait(), if !closed && !backlog.is_full() => match message {
                Some(ChannelMsg::Data { data }) => {
                    if backlog.is_empty() {
                        last_taken = Instant::now();
                    }
                    backlog.push(data);
                }
                Some(ChannelMsg::Eof) => eof = true,
                Some(ChannelMsg::Close) => closed = true,
                Some(_) => {}
                None => return Download::SessionLost,
            },
            () = stalled => return Download::Stalled,
        }
    }
}

/// Takes what nobody wants until the server closes the channel.
async fn discard(from_server: &mut ChannelReadHalf) -> End {
    loop {
        match from_server.wait().await {
            Some(ChannelMsg::Close) => return End::Finished,
            Some(_) => {}
            None => return End::SessionLost,
        }
    }
}

/// What the client has for us; empty at its end.
async fn read_chunk<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Bytes> {
    poll_fn(|cx| LANDING.with_borrow_mut(|landing| landing.poll_read(reader, cx))).await
}

async fn write_some<W: AsyncWrite + Unpin>(writer: &mut W, backlog: &Backlog) -> io::Result<usize> {
    match writer.write_vectored(&backlog.slices()).await {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        other => other,
    }
}
