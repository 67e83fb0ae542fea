//! A container's output: raw bytes into `run-<ctr>.out`, their times into `run-<ctr>.index`.
//!
//! The pipe is drained whatever the disk says: a full one costs output, never the container's progress.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::sys::statfs::{NFS_SUPER_MAGIC, fstatfs};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::index;
use crate::layout::Kind;

/// One read: what a pipe holds by default.
const CHUNK: usize = 64 * 1024;
/// Records are not written more often than this: a time more exact than that says nothing about when a line was made.
const INDEX_RESOLUTION: SignedDuration = SignedDuration::from_millis(1);
/// How long bytes may stay in this node's cache where other nodes can't see it.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Output that could not be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Loss {
    bytes: u64,
    cause: String,
}

impl Loss {
    /// One sentence; `None` when all was written.
    pub(crate) fn sentence(&self) -> Option<String> {
        (self.bytes > 0).then(|| format!("{} bytes of its output could not be written: {}", self.bytes, self.cause))
    }
}

/// Copies a container's output until it ends or `give_up` fires; then makes it durable.
pub(crate) async fn pump(mut pipe: pipe::Receiver, mut sink: Sink, mut give_up: oneshot::Receiver<()>) -> Loss {
    let mut buffer = vec![0; CHUNK];
    let mut sync_at: Option<Instant> = None;
    loop {
        let read = tokio::select! {
            read = pipe.read(&mut buffer) => read,
            _ = &mut give_up => break,
            () = sleep_until(sync_at.unwrap_or_else(Instant::now)), if sync_at.is_some() => {
                sync_at = None;
                sink = blocking(sink, Sink::sync).await;
                continue;
            }
        };
        let Ok(count @ 1..) = read else { break };
        let (now, chunk) = (Timestamp::now(), std::mem::take(&mut buffer));
        let (back, chunk) = blocking((sink, chunk), move |(sink, chunk)| sink.write(now, &chunk[..count])).await;
        (sink, buffer) = (back, chunk);
        if sink.remote && sync_at.is_none() {
            sync_at = Some(Instant::now() + SYNC_INTERVAL);
        }
    }
    sink = blocking(sink, Sink::sync).await;
    sink.loss
}

/// Runs file work off the reactor.
async fn blocking<T: Send + 'static>(mut value: T, work: impl FnOnce(&mut T) + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(move || {
        work(&mut value);
        value
    });
    match done.await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // the runtime goes down: nobody reads what we would answer
            Err(_) => std::future::pending().await,
        },
    }
}

/// The two files of one container.
pub(crate) struct Sink {
    output_path: PathBuf,
    output: Option<File>,
    index: Option<File>,
    offset: u64,
    stamped: Option<Timestamp>,
    /// The index ends in the middle of a line.
    torn: bool,
    /// On NFS: what is not synced may reach the login node half a minute late.
    remote: bool,
    loss: Loss,
}

impl Sink {
    /// Opens the files; what cannot be opened counts as output that cannot be written.
    pub(crate) fn open(pod_dir: &Path, kind: Kind, container: &str) -> Self {
        let mut sink = Self {
            output_path: pod_dir.join(kind.output(container)),
            output: None,
            index: append(&pod_dir.join(kind.index(container))).ok(),
            offset: 0,
            stamped: None,
            torn: false,
            remote: false,
            loss: Loss::default(),
        };
        let _ = sink.reopen();
        sink
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = append(&self.output_path)?;
        self.offset = file.metadata()?.len();
        self.remote = fstatfs(&file).is_ok_and(|fs| fs.filesystem_type() == NFS_SUPER_MAGIC);
        self.output = Some(file);
        Ok(())
    }

    fn write(&mut self, now: Timestamp, mut chunk: &[u8]) {
        if self.output.is_none()
            && let Err(error) = self.reopen()
        {
            return self.lost(chunk, &error);
        }
        // before the bytes: see the module `index`
        self.stamp(now);
        let Some(output) = &mut self.output else { return };
        while !chunk.is_empty() {
            match output.write(chunk) {
                Ok(0) => return self.lost(chunk, &io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.offset += count as u64;
                    chunk = &chunk[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.lost(chunk, &error),
            }
        }
    }

    fn stamp(&mut self, now: Timestamp) {
        let recent = self.stamped.is_some_and(|last| now >= last && now.duration_since(last) < INDEX_RESOLUTION);
        let Some(index) = self.index.as_mut().filter(|_| !recent) else { return };
        let line = index::line(self.offset, now);
        let text = if self.torn { format!("\n{line}") } else { line };
        match index.write(text.as_bytes()) {
            Ok(count) => {
                self.torn = count < text.len() && (self.torn || count > 0);
                if !self.torn {
                    self.stamped = Some(now);
                }
            }
            // these bytes take the time of the record before
            Err(_) => self.stamped = None,
        }
    }

    fn lost(&mut self, chunk: &[u8], error: &io::Error) {
        self.loss.bytes += chunk.len() as u64;
        self.loss.cause = error.to_string();
    }

    fn sync(&mut self) {
        for file in [&self.output, &self.index].into_iter().flatten() {
            let _ = file.sync_data();
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::OutputIndex;

    #[test]
    fn every_byte_has_the_time_at_which_it_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink::open(dir.path(), Kind::Main, "c");
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        sink.write(at(1000), b"one\n");
        sink.write(at(2000), b"\0two");
        assert_eq!(std::fs::read(dir.path().join("run-c.out")).unwrap(), b"one\n\0two");
        let index = OutputIndex::parse(&std::fs::read(dir.path().join("run-c.index")).unwrap());
        assert_eq!(index.records().collect::<Vec<_>>(), [(0, at(1000)), (4, at(2000))]);
        assert_eq!(sink.loss.sentence(), None);
    }

    #[test]
    fn a_full_disk_loses_output_and_says_how_much() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("run-c.out")).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("run-c.index")).unwrap();
        let mut sink = Sink::open(dir.path(), Kind::Main, "c");
        sink.write(Timestamp::now(), b"12345");
        sink.write(Timestamp::now(), b"678");
        let sentence = sink.loss.sentence().unwrap();
        assert!(sentence.starts_with("8 bytes of its output") && sentence.contains("No space left"), "{sentence}");
    }

    #[test]
    fn output_goes_on_after_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        for text in [&b"abc"[..], b"def"] {
            Sink::open(dir.path(), Kind::Init, "c").write(Timestamp::now(), text);
        }
        assert_eq!(std::fs::read(dir.path().join("init-c.out")).unwrap(), b"abcdef");
        let index = OutputIndex::parse(&std::fs::read(dir.path().join("init-c.index")).unwrap());
        assert_eq!(index.records().map(|(offset, _)| offset).collect::<Vec<_>>(), [0, 3]);
    }
}
