//! Reads one output file from where the request wants it, block by block.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::tail;
use super::times::Times;
use super::wanted::Wanted;

/// The most that one block holds of the file.
const BLOCK: u64 = 64 << 10;

/// A reader that knows where it is. Between two blocks it holds no descriptor of the output, so that each look opens it
/// afresh: that is what makes a look current on NFS.
#[derive(Debug)]
pub struct Reader {
    output: PathBuf,
    index: PathBuf,
    wanted: Wanted,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    position: u64,
    at_line_start: bool,
    times: Option<Times>,
    left: Option<u64>,
}

impl Reader {
    /// Reads `output`, whose times are in `index`.
    #[must_use]
    pub fn new(output: PathBuf, index: PathBuf, wanted: Wanted) -> Self {
        Self { output, index, wanted, place: None }
    }

    /// The next bytes for the client; empty at the end of what is there now.
    ///
    /// # Errors
    /// Whatever the file system says; a file that isn't there (yet) is empty.
    pub fn read_on(&mut self) -> io::Result<Vec<u8>> {
        let mut file = match File::open(&self.output) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if self.place.is_none() {
            self.place = self.begin(&mut file)?;
        }
        let Some(place) = &mut self.place else { return Ok(Vec::new()) };
        if place.left == Some(0) {
            return Ok(Vec::new());
        }
        file.seek(SeekFrom::Start(place.position))?;
        let mut block = Vec::new();
        file.take(BLOCK).read_to_end(&mut block)?;
        let bytes = if self.wanted.timestamps { place.stamped(&block)? } else { block.clone() };
        place.position += block.len() as u64;
        Ok(place.limited(bytes))
    }

    /// Whether the client has got all that it wants, whatever is still written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.left == Some(0))
    }

    /// Where to begin; `None` while nothing young enough is there.
    fn begin(&self, file: &mut File) -> io::Result<Option<Place>> {
        let end = file.metadata()?.len();
        let mut start = 0;
        if let Some(since) = self.wanted.since
            && let Some(mut times) = Times::open(&self.index)?
        {
            match times.offset_since(since)? {
                // A record may begin in the middle of a line.
                Some(offset) => start = tail::line_start(file, 0, offset.min(end))?,
                None => return Ok(None),
            }
        }
        if let Some(lines) = self.wanted.tail {
            start = tail::last_lines(file, start, end, lines)?;
        }
        let times = if self.wanted.timestamps { Times::open(&self.index)? } else { None };
        Ok(Some(Place { position: start, at_line_start: true, times, left: self.wanted.limit }))
    }
}

impl Place {
    /// Puts the time before each line, as kubelet does it.
    fn stamped(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(block.len() + 64);
        let mut offset = self.position;
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            if self.at_line_start
                && let Some(times) = &mut self.times
                && let Some(at) = times.at(offset)?
            {
                out.extend_from_slice(format!("{at:.9} ").as_bytes());
            }
            out.extend_from_slice(line);
            self.at_line_start = line.ends_with(b"\n");
            offset += line.len() as u64;
        }
        Ok(out)
    }

    fn limited(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some(left) = &mut self.left {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use interlink_wire::{LogOpts, LogStruct};
    use jiff::Timestamp;

    use super::*;

    fn wanted(opts: LogOpts) -> Wanted {
        let request = LogStruct {
            namespace: "ns".into(),
            pod_uid: "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d".into(),
            container_name: "c".into(),
            opts,
            ..LogStruct::default()
        };
        Wanted::read(&request, Timestamp::from_second(100).unwrap()).unwrap()
    }

    fn all(reader: &mut Reader) -> String {
        let mut out = Vec::new();
        loop {
            let bytes = reader.read_on().unwrap();
            if bytes.is_empty() {
                return String::from_utf8(out).unwrap();
            }
            out.extend(bytes);
        }
    }

    fn read(opts: LogOpts) -> String {
        let dir = tempfile::tempdir().unwrap();
        let (output, index) = (dir.path().join("o"), dir.path().join("i"));
        std::fs::write(&output, "one\ntwo\nthree\n").unwrap();
        std::fs::write(&index, "0 1970-01-01T00:00:10Z\n6 1970-01-01T00:00:20Z\n8 1970-01-01T00:00:30Z\n").unwrap();
        all(&mut Reader::new(output, index, wanted(opts)))
    }

    #[test]
    fn the_wanted_part_is_read() {
        let since = |second| Some(Timestamp::from_second(second).unwrap());
        let cases = [
            (LogOpts::default(), "one\ntwo\nthree\n"),
            (LogOpts { tail: 1, ..LogOpts::default() }, "three\n"),
            (LogOpts { tail: 99, ..LogOpts::default() }, "one\ntwo\nthree\n"),
            (LogOpts { limit_bytes: 6, ..LogOpts::default() }, "one\ntw"),
            (LogOpts { limit_bytes: 600, ..LogOpts::default() }, "one\ntwo\nthree\n"),
            (LogOpts { since_time: since(15), ..LogOpts::default() }, "two\nthree\n"),
            (LogOpts { since_seconds: 75, ..LogOpts::default() }, "three\n"),
            (LogOpts { since_time: since(31), ..LogOpts::default() }, ""),
            (LogOpts { since_time: since(15), tail: 1, ..LogOpts::default() }, "three\n"),
            (
                LogOpts { timestamps: true, tail: 2, ..LogOpts::default() },
                "1970-01-01T00:00:10.000000000Z two\n1970-01-01T00:00:30.000000000Z three\n",
            ),
        ];
        for (opts, expected) in cases {
            assert_eq!(read(opts.clone()), expected, "{opts:?}");
        }
    }

    #[test]
    fn what_is_written_later_is_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let (output, index) = (dir.path().join("o"), dir.path().join("i"));
        let mut reader = Reader::new(output.clone(), index, wanted(LogOpts { tail: 1, ..LogOpts::default() }));
        assert_eq!(all(&mut reader), "");
        std::fs::write(&output, "a\nb").unwrap();
        assert_eq!(all(&mut reader), "b");
        std::fs::write(&output, "a\nbc\nd").unwrap();
        assert_eq!(all(&mut reader), "c\nd");
    }
}
