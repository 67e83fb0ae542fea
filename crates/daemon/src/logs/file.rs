//! A log file of our own (`-logfile`): appended to, opened again on SIGHUP, and never a reason to stop.
//!
//! Between the moment in which logrotate renames the file and the signal, lines go to the renamed one: none is lost. On
//! a full disk lines are dropped, counted, and the count is written as soon as there is room.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::libc;
use tracing_subscriber::fmt::MakeWriter;

/// For the owner, and for a group that reads logs; the umask may take the group away.
const MODE: u32 = 0o640;

/// The file and where it is.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Lines that found no room.
    lost: u64,
    /// Whether the last line ends in its middle.
    torn: bool,
}

impl LogFile {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// The system's refusal.
    pub(super) fn open(path: &Path) -> io::Result<Box<Self>> {
        let path = std::path::absolute(path)?;
        let file = append(&path)?;
        Ok(Box::new(Self { path, open: Mutex::new(Open { file, lost: 0, torn: false }) }))
    }

    /// Opens what is at the path now.
    ///
    /// # Errors
    /// The system's refusal; lines go where they went before.
    pub(super) fn open_again(&self) -> io::Result<()> {
        let file = append(&self.path)?;
        let mut open = self.lock();
        open.file = file;
        open.torn = false;
        Ok(())
    }

    /// Where it is.
    pub(super) fn path(&self) -> impl fmt::Display + '_ {
        self.path.display()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not even the other end of a pipe that nobody reads may hold the program up.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)
}

impl Open {
    /// Writes a line, or counts it as lost.
    fn line(&mut self, line: &[u8]) {
        let mut head = Vec::new();
        if self.torn {
            head.push(b'\n');
        }
        if self.lost > 0 {
            let now = jiff::Timestamp::now();
            head.extend_from_slice(
                format!("ts={now} level=error message=\"{} lines before this one found no room\"\n", self.lost)
                    .as_bytes(),
            );
        }
        if !head.is_empty() && !self.write(&head) {
            self.lost += 1;
            return;
        }
        if self.write(line) {
            self.lost = 0;
        } else {
            self.lost += 1;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => break,
                Ok(written) => rest = &rest[written..],
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if rest.is_empty() {
            self.torn = false;
        } else if rest.len() < bytes.len() {
            self.torn = true;
        }
        rest.is_empty()
    }
}

impl<'a> MakeWriter<'a> for &'static LogFile {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        Lines(self)
    }
}

/// Where one event is written to, whole.
pub(super) struct Lines(&'static LogFile);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(log: &LogFile, line: &str) {
        log.lock().line(line.as_bytes());
    }

    #[test]
    fn a_file_is_appended_to_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.log");
        for line in ["one\n", "two\n"] {
            write(&LogFile::open(&path).unwrap(), line);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn lines_go_on_in_the_renamed_file_until_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("p.log"), dir.path().join("p.log.1"));
        let log = LogFile::open(&path).unwrap();
        write(&log, "1\n");
        std::fs::rename(&path, &old).unwrap();
        write(&log, "2\n");
        log.open_again().unwrap();
        write(&log, "3\n");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "1\n2\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "3\n");
        std::fs::remove_dir_all(dir.path()).unwrap();
        assert!(log.open_again().is_err());
        write(&log, "goes where it went before\n");
    }

    #[test]
    fn without_room_lines_are_counted_and_nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.log");
        let log = LogFile::open(Path::new("/dev/full")).unwrap();
        write(&log, "lost\n");
        write(&log, "lost too\n");
        log.lock().file = append(&path).unwrap();
        write(&log, "there is room\n");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("2 lines before this one found no room\"\nthere is room\n"), "{text}");
        write(&log, "still\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{text}still\n"));
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_refused_or_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(LogFile::open(&path).is_err());
        let _reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        let log = LogFile::open(&path).unwrap();
        for _ in 0..10_000 {
            write(&log, "a line that nobody reads\n");
        }
        assert!(log.lock().lost > 0);
    }
}
