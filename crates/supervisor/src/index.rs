//! Times of a container's output: `run-<ctr>.index`, beside the raw bytes of `run-<ctr>.out`.
//!
//! One text line a record, `<byte offset> <RFC 3339>`: what begins at that offset was read from the container at that
//! time. A record is written before its bytes, so a reader never sees bytes with the time of older ones. Lines that are
//! torn (a full disk, a crash) or not in order are skipped: their bytes take the time of the record before.

use jiff::Timestamp;

/// The times of one output file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputIndex {
    records: Vec<(u64, Timestamp)>,
}

/// One record as its line, newline included.
pub(crate) fn line(offset: u64, at: Timestamp) -> String {
    format!("{offset} {at:.9}\n")
}

impl OutputIndex {
    /// Reads the records of an index file, as much of it as there is.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut records: Vec<(u64, Timestamp)> = Vec::new();
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let Some(record) = line.strip_suffix(b"\n").and_then(|l| std::str::from_utf8(l).ok()).and_then(record)
            else {
                continue;
            };
            if records.last().is_none_or(|(offset, _)| *offset <= record.0) {
                records.push(record);
            }
        }
        Self { records }
    }

    /// When the byte at `offset` was read; `None` when nothing is known about it.
    #[must_use]
    pub fn time_at(&self, offset: u64) -> Option<Timestamp> {
        let after = self.records.partition_point(|(start, _)| *start <= offset);
        after.checked_sub(1).map(|i| self.records[i].1)
    }

    /// Offset of the first byte that was read at `since` or later; `None` when there is none yet.
    #[must_use]
    pub fn offset_since(&self, since: Timestamp) -> Option<u64> {
        self.records.iter().find(|(_, at)| *at >= since).map(|(offset, _)| *offset)
    }

    /// Records in the order of their offsets.
    pub fn records(&self) -> impl Iterator<Item = (u64, Timestamp)> + '_ {
        self.records.iter().copied()
    }
}

fn record(line: &str) -> Option<(u64, Timestamp)> {
    let (offset, at) = line.split_once(' ')?;
    Some((offset.parse().ok()?, at.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_record_holds_until_the_next() {
        let text = [line(0, at(10)), line(5, at(20)), line(9, at(30))].concat();
        let index = OutputIndex::parse(text.as_bytes());
        let cases = [(0, Some(10)), (4, Some(10)), (5, Some(20)), (8, Some(20)), (9, Some(30)), (1000, Some(30))];
        for (offset, second) in cases {
            assert_eq!(index.time_at(offset), second.map(at), "{offset}");
        }
        assert_eq!(OutputIndex::default().time_at(0), None);
    }

    #[test]
    fn since_gives_the_first_byte_that_is_young_enough() {
        let text = [line(0, at(10)), line(5, at(20))].concat();
        let index = OutputIndex::parse(text.as_bytes());
        for (since, offset) in [(0, Some(0)), (10, Some(0)), (11, Some(5)), (20, Some(5)), (21, None)] {
            assert_eq!(index.offset_since(at(since)), offset, "{since}");
        }
    }

    #[test]
    fn nanoseconds_survive() {
        let exact = Timestamp::new(1, 123_456_789).unwrap();
        assert_eq!(line(7, exact), "7 1970-01-01T00:00:01.123456789Z\n");
        assert_eq!(OutputIndex::parse(line(7, exact).as_bytes()).time_at(7), Some(exact));
    }

    #[test]
    fn torn_lines_do_no_harm() {
        let cases: [(&str, &[(u64, i64)]); 5] = [
            ("0 1970-01-01T00:00:10Z\n5 1970-01-01T0", &[(0, 10)]),
            ("0 1970-01-01T00:00:10Z\n5 1970\n9 1970-01-01T00:00:30Z\n", &[(0, 10), (9, 30)]),
            ("5 1970-01-01T00:00:10Z\n3 1970-01-01T00:00:20Z\n", &[(5, 10)]),
            ("\n\n", &[]),
            ("x", &[]),
        ];
        for (text, records) in cases {
            let found: Vec<(u64, Timestamp)> = OutputIndex::parse(text.as_bytes()).records().collect();
            assert_eq!(found, records.iter().map(|(o, s)| (*o, at(*s))).collect::<Vec<_>>(), "{text:?}");
        }
    }
}
