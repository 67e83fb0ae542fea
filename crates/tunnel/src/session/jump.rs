//! Through a jump host: a channel of its session is the line to the next server, and the end of the one is the end of
//! the other.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelOpenFailure};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::io::StreamReader;

use super::fault::{Fault, end_in_words};
use super::gatekeeper::Gatekeeper;
use super::step::Step;
use crate::config::Server;

/// How long the jump host's own word on its end may lag behind the end of what it carried.
const REASON: Duration = Duration::from_millis(200);

/// A line to a server: TCP, or a channel of the session before it.
pub(super) trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// Has the jump host at `jump` connect to `next`.
pub(super) async fn through(
    jump: &Server,
    handle: &Handle<Gatekeeper>,
    next: &Server,
    limit: Duration,
) -> Result<Box<dyn Line>, Fault> {
    let opened = handle.channel_open_direct_tcpip(next.host.clone(), u32::from(next.port), "127.0.0.1", 0);
    match timeout(limit, opened).await {
        Ok(Ok(channel)) => Ok(line(channel)),
        Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited))) => {
            Err(Fault::jump_forbidden(jump, next))
        }
        Ok(Err(russh::Error::ChannelOpenFailure(_))) => Err(Fault::beyond_jump(jump, next)),
        Ok(Err(err)) => Err(Fault::lost(jump, &end_in_words(&err))),
        Err(_) => Err(Fault::timeout(next, Step::Tcp, limit)),
    }
}

/// Takes what arrives out of the channel at once. Were it left there, the outer session would stand still until the inner
/// one reads, which it does not while it waits for the outer one to take what it writes. What can pile up is bounded by
/// the windows of the inner session's channels.
fn line(channel: Channel<Msg>) -> Box<dyn Line> {
    let (mut arriving, leaving) = channel.split();
    let (hold, held) = mpsc::unbounded_channel::<Bytes>();
    tokio::spawn(async move {
        loop {
            match arriving.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    if hold.send(data).is_err() {
                        return;
                    }
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => return,
                Some(_) => {}
            }
        }
    });
    let held = stream::unfold(held, async |mut held| held.recv().await.map(|data| (Ok::<_, io::Error>(data), held)));
    let writer: Pin<Box<dyn AsyncWrite + Send>> = Box::pin(leaving.make_writer());
    Box::new(tokio::io::join(StreamReader::new(Box::pin(held)), writer))
}

/// A session that others pass through.
pub(super) struct Jump {
    /// The jump host.
    pub(super) server: Server,
    /// Keeps the session.
    pub(super) handle: Handle<Gatekeeper>,
    /// Tells why it ended, in words.
    pub(super) end: oneshot::Receiver<String>,
}

/// One end for the whole chain. Holds the sessions of the jump hosts until then.
pub(super) fn end_of_all(mut jumps: Vec<Jump>, mut inner: oneshot::Receiver<String>) -> oneshot::Receiver<String> {
    if jumps.is_empty() {
        return inner;
    }
    let (ended, end) = oneshot::channel();
    tokio::spawn(async move {
        let words = {
            let mut jump_ends: Vec<_> =
                jumps.iter_mut().map(|jump| (jump.server.clone(), &mut jump.end)).map(named).map(Box::pin).collect();
            let first = futures_util::future::select_all(&mut jump_ends);
            tokio::pin!(first);
            tokio::select! {
                (words, _, _) = &mut first => words,
                words = &mut inner => {
                    let words = words.unwrap_or_else(|_| "its task ended".into());
                    // A jump host that is gone takes the server's session along, which knows no reason.
                    match timeout(REASON, first).await {
                        Ok((jump, _, _)) => jump,
                        Err(_) => words,
                    }
                }
            }
        };
        drop(jumps);
        // Nobody wants to know when the tunnel has stopped.
        let _ = ended.send(words);
    });
    end
}

async fn named((server, end): (Server, &mut oneshot::Receiver<String>)) -> String {
    let words = end.await.unwrap_or_else(|_| "its task ended".into());
    format!("the jump host {server}: {words}")
}
