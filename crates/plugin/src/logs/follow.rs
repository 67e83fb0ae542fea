//! Streams a container's output to its client, until the end of what is there or until the container has ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use interlink_supervisor::layout::Kind;
use tokio::sync::mpsc;

use super::reader::Reader;
use crate::lifecycle::pod::Pod;

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(150);
/// Blocks on their way to a slow client.
const AHEAD: usize = 4;

/// What is followed.
#[derive(Debug)]
pub struct Followed {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Which list the container is in.
    pub kind: Kind,
    /// Its name.
    pub container: String,
}

impl Followed {
    /// Whether nothing more will be written.
    fn has_ended(&self) -> bool {
        let facts = self.pod.facts();
        if facts.gone || facts.is_settled() {
            return true;
        }
        let Some(report) = &facts.report else { return false };
        let list = if self.kind == Kind::Init { &report.init } else { &report.containers };
        list.iter()
            .find(|status| status.name == self.container)
            .is_some_and(|status| status.state.terminated().is_some())
    }
}

/// Reads until the end, or with `followed` until that has ended. Stops when the client goes away.
#[must_use]
pub fn stream(reader: Reader, followed: Option<Followed>) -> mpsc::Receiver<io::Result<Bytes>> {
    let (client, stream) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let gone = client.clone();
        tokio::select! {
            () = gone.closed() => {}
            () = pump(reader, followed, client) => {}
        }
    });
    stream
}

async fn pump(mut reader: Reader, followed: Option<Followed>, client: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        // Asked before reading: what was written before the end is then read.
        let last = followed.as_ref().is_none_or(Followed::has_ended);
        loop {
            let read = tokio::task::spawn_blocking(move || {
                let bytes = reader.read_on();
                (reader, bytes)
            });
            let Ok((back, bytes)) = read.await else { return };
            reader = back;
            match bytes {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => {
                    if client.send(Ok(bytes.into())).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // The connection breaks off, so that the client doesn't take it for the end.
                    let _ = client.send(Err(error)).await;
                    return;
                }
            }
        }
        if last || reader.is_done() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
