//! Where the last lines of a file begin, read backwards in blocks.

use std::io::{self, Read, Seek, SeekFrom};

/// One step backwards.
const BLOCK: u64 = 64 << 10;

/// Where the last `lines` lines of the bytes `start..end` begin. A last line without its newline counts.
///
/// # Errors
/// Whatever the file says.
pub fn last_lines(file: &mut (impl Read + Seek), start: u64, end: u64, lines: u64) -> io::Result<u64> {
    // The newline that ends the last line separates nothing.
    nth_newline_back(file, start, end.saturating_sub(1), lines)
}

/// Where the line that holds the byte at `position` begins, not before `start`.
///
/// # Errors
/// Whatever the file says.
pub fn line_start(file: &mut (impl Read + Seek), start: u64, position: u64) -> io::Result<u64> {
    nth_newline_back(file, start, position, 1)
}

/// The place behind the `n`th newline before `end`, counted backwards; `start` when there are fewer.
fn nth_newline_back(file: &mut (impl Read + Seek), start: u64, end: u64, n: u64) -> io::Result<u64> {
    let mut missing = n;
    let mut to = end;
    while to > start && missing > 0 {
        let from = to.saturating_sub(BLOCK).max(start);
        file.seek(SeekFrom::Start(from))?;
        let mut block = Vec::new();
        file.by_ref().take(to - from).read_to_end(&mut block)?;
        for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            missing -= 1;
            if missing == 0 {
                return Ok(from + index as u64 + 1);
            }
        }
        to = from;
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn tail(text: &str, start: u64, lines: u64) -> String {
        let at = last_lines(&mut Cursor::new(text.as_bytes()), start, text.len() as u64, lines).unwrap();
        text[usize::try_from(at).unwrap()..].to_owned()
    }

    #[test]
    fn lines_are_counted_from_the_end() {
        let cases = [
            ("a\nb\nc\n", 0, 1, "c\n"),
            ("a\nb\nc\n", 0, 2, "b\nc\n"),
            ("a\nb\nc\n", 0, 3, "a\nb\nc\n"),
            ("a\nb\nc\n", 0, 9, "a\nb\nc\n"),
            ("a\nb\nc", 0, 2, "b\nc"),
            ("a\n\n\n", 0, 2, "\n\n"),
            ("\n", 0, 1, "\n"),
            ("", 0, 3, ""),
            ("a", 0, 1, "a"),
            ("a\nb\nc\n", 2, 9, "b\nc\n"),
            ("a\nb\nc\n", 6, 1, ""),
        ];
        for (text, start, lines, expected) in cases {
            assert_eq!(tail(text, start, lines), expected, "{text:?} {start} {lines}");
        }
    }

    #[test]
    fn lines_longer_than_a_block_are_found() {
        let long = "x".repeat(200_000);
        let text = format!("first\n{long}\nlast\n");
        assert_eq!(tail(&text, 0, 2), format!("{long}\nlast\n"));
        assert_eq!(tail(&text, 0, 1), "last\n");
        assert_eq!(line_start(&mut Cursor::new(text.as_bytes()), 0, 100_000).unwrap(), 6);
    }
}
