//! Follows the output of one container to its very end, across outages, without a byte lost or doubled.
//!
//! The contract cannot resume a log at an offset, and existing API servers end a broken stream as if it were whole. So
//! what was shown is counted, the log is asked for again from its beginning and that much is skipped; and only a log
//! that was read after its container had ended counts as complete.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use interlink_wire::{ContainerState, Fault, LogStruct, PodStatus};
use tokio::sync::watch;

use super::api::Api;
use super::output::{Piece, Sender};
use super::screen::Screen;

/// The shortest wait before a log is asked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest, for peers that end every stream at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A stream that stays open so long after its container has ended is given up and read afresh.
const AFTER_END: Duration = Duration::from_secs(5);

/// One container's log.
#[derive(Debug)]
pub struct Follower<'a> {
    /// The chain.
    pub api: &'a Api,
    /// Where outages are told.
    pub screen: &'a Screen,
    /// Which log; its container's name is the key in the status.
    pub request: LogStruct,
    /// The pod's state as it changes.
    pub status: watch::Receiver<Option<PodStatus>>,
    /// Where output goes, and as whose.
    pub out: Sender,
    /// Position of the container.
    pub container: usize,
}

impl Follower<'_> {
    /// Until all output is shown, or there never will be any.
    pub async fn follow(mut self) {
        if self.started().await {
            let mut shown = 0;
            let mut pause = PAUSE;
            loop {
                let ended = self.ended();
                self.request.opts.follow = !ended;
                let before = shown;
                match self.read(&mut shown).await {
                    Ok(()) if ended => break,
                    Ok(()) => {}
                    Err(fault) if fault.retry => {}
                    Err(fault) if ended => {
                        if self.ran() {
                            self.screen.say(&format!("no output of {}: {fault}", self.request.container_name));
                        }
                        break;
                    }
                    // A container that has just started may have no log yet.
                    Err(_) => {}
                }
                pause = if shown > before { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                self.pause(pause).await;
            }
        }
        let _ = self.out.send(Piece { container: self.container, bytes: None }).await;
    }

    /// Reads the log once and shows what is new. A hop that doesn't answer is told; a stream that breaks off doesn't
    /// know which hop it was.
    async fn read(&mut self, shown: &mut u64) -> Result<(), Fault> {
        let stream = self.api.logs(&self.request).await;
        if let Err(fault) = &stream
            && fault.retry
        {
            self.screen.down(fault, &[]);
        }
        let stream = stream?;
        self.screen.up();
        let mut stream = std::pin::pin!(stream);
        let mut skip = *shown;
        loop {
            let next = tokio::select! {
                next = stream.next() => next,
                () = self.overdue() => return Ok(()),
            };
            let Some(chunk) = next else { return Ok(()) };
            let chunk = chunk.map_err(|e| Fault::passing("api", "broken", e.to_string()))?;
            let fresh = unseen(chunk, &mut skip);
            if !fresh.is_empty() {
                *shown += fresh.len() as u64;
                let _ = self.out.send(Piece { container: self.container, bytes: Some(fresh) }).await;
            }
        }
    }

    /// Returns a while after the container has ended, if that was not known when the log was asked for.
    async fn overdue(&self) {
        if !self.request.opts.follow {
            return std::future::pending().await;
        }
        let mut status = self.status.clone();
        let name = self.request.container_name.clone();
        let _ = status.wait_for(|s| state(s.as_ref(), &name).is_some_and(|s| s.terminated().is_some())).await;
        tokio::time::sleep(AFTER_END).await;
    }

    /// Waits until there may be output; false if the pod's state is no longer watched.
    async fn started(&mut self) -> bool {
        let name = self.request.container_name.clone();
        let begun = |s: &Option<PodStatus>| {
            matches!(state(s.as_ref(), &name), Some(ContainerState::Running(_) | ContainerState::Terminated(_)))
        };
        self.status.wait_for(begun).await.is_ok()
    }

    async fn pause(&mut self, pause: Duration) {
        let ended = self.ended();
        let name = self.request.container_name.clone();
        let changed =
            self.status.wait_for(|s| state(s.as_ref(), &name).is_some_and(|s| s.terminated().is_some()) != ended);
        if let Ok(Err(_)) = tokio::time::timeout(pause, changed).await {
            tokio::time::sleep(pause).await;
        }
    }

    fn ended(&self) -> bool {
        state(self.status.borrow().as_ref(), &self.request.container_name).is_some_and(|s| s.terminated().is_some())
    }

    /// Whether it ever ran: a container that the scheduler refused has no log, and that is no news.
    fn ran(&self) -> bool {
        state(self.status.borrow().as_ref(), &self.request.container_name)
            .and_then(ContainerState::terminated)
            .is_some_and(|t| t.started_at.is_some())
    }
}

/// The state of the container named `name`.
fn state<'a>(status: Option<&'a PodStatus>, name: &str) -> Option<&'a ContainerState> {
    let status = status?;
    status.init_containers.iter().chain(&status.containers).find(|c| c.name == name).map(|c| &c.state)
}

/// What of `chunk` was not shown before; `skip` is what is still to be passed over, in bytes.
fn unseen(mut chunk: Bytes, skip: &mut u64) -> Bytes {
    let known = usize::try_from(*skip).unwrap_or(usize::MAX).min(chunk.len());
    *skip -= known as u64;
    chunk.split_off(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_is_passed_over() {
        let mut skip = 5;
        let chunks = ["abc", "def", "ghi"].map(|c| unseen(Bytes::from_static(c.as_bytes()), &mut skip));
        assert_eq!(chunks, ["", "f", "ghi"]);
        assert_eq!(skip, 0);
    }
}
