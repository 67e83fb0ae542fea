//! When each line was written, from the supervisor's index beside the output, read forwards with one record in hand.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use interlink_supervisor::index::OutputIndex;
use jiff::Timestamp;

/// The times of one output file, for positions that only grow.
#[derive(Debug)]
pub struct Times {
    lines: BufReader<File>,
    torn: Vec<u8>,
    now: Option<Timestamp>,
    next: Option<(u64, Timestamp)>,
}

impl Times {
    /// Opens an index; `None` where there is none (the existing plugin writes none).
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self { lines: BufReader::new(file), torn: Vec::new(), now: None, next: None })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// When the byte at `offset` was written; `None` when nothing is known about it.
    ///
    /// # Errors
    /// Whatever the file says.
    pub fn at(&mut self, offset: u64) -> io::Result<Option<Timestamp>> {
        while let Some((start, time)) = self.peek()? {
            if start > offset {
                break;
            }
            self.now = Some(time);
            self.next = None;
        }
        Ok(self.now)
    }

    /// Offset of the first byte written at `since` or later; `None` when there is none yet.
    ///
    /// # Errors
    /// Whatever the file says.
    pub fn offset_since(&mut self, since: Timestamp) -> io::Result<Option<u64>> {
        while let Some((start, time)) = self.peek()? {
            if time >= since {
                return Ok(Some(start));
            }
            self.now = Some(time);
            self.next = None;
        }
        Ok(None)
    }

    fn peek(&mut self) -> io::Result<Option<(u64, Timestamp)>> {
        while self.next.is_none() {
            self.lines.read_until(b'\n', &mut self.torn)?;
            if self.torn.last() != Some(&b'\n') {
                // The rest of the line is still to be written.
                return Ok(None);
            }
            let line = std::mem::take(&mut self.torn);
            self.next = OutputIndex::parse(&line).records().next();
        }
        Ok(self.next)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_index_that_grows_is_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run-c.index");
        assert!(Times::open(&path).unwrap().is_none());
        let mut file = File::create(&path).unwrap();
        write!(file, "0 1970-01-01T00:00:10Z\n5 1970-01-01T00:0").unwrap();
        let mut times = Times::open(&path).unwrap().unwrap();
        assert_eq!(times.at(0).unwrap(), Some(at(10)));
        assert_eq!(times.at(7).unwrap(), Some(at(10)));
        writeln!(file, "0:20Z\nnonsense\n9 1970-01-01T00:00:30Z").unwrap();
        assert_eq!(times.at(7).unwrap(), Some(at(20)));
        assert_eq!(times.at(9).unwrap(), Some(at(30)));
    }

    #[test]
    fn since_is_the_first_record_young_enough() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run-c.index");
        std::fs::write(&path, "0 1970-01-01T00:00:10Z\n5 1970-01-01T00:00:20Z\n").unwrap();
        for (since, offset) in [(0, Some(0)), (11, Some(5)), (21, None)] {
            assert_eq!(Times::open(&path).unwrap().unwrap().offset_since(at(since)).unwrap(), offset);
        }
    }
}
