//! The line that begins. Login shells print banners, so it is looked for behind other words.

use std::fmt::Write as _;

/// Name and version of what follows.
pub const LINE: &str = "interlink-mux/1";
/// What all versions begin with.
const NAME: &[u8] = b"interlink-mux/";
/// How many bytes of banners are skipped.
pub const LIMIT: usize = 64 << 10;
/// Bytes of foreign words that an error repeats.
const QUOTED: usize = 200;

/// Why there is no greeting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// Another version.
    #[error("it speaks {0}, this program {LINE}: both ends should be of the same release")]
    Version(String),
    /// Something else talks.
    #[error("it says something else: {0}")]
    Foreign(String),
}

/// What was said so far.
#[derive(Debug, Default)]
pub struct Greeting {
    seen: Vec<u8>,
    /// Where the line that is not yet complete begins.
    line: usize,
}

impl Greeting {
    /// Adds what came. With the greeting complete, returns what came behind it.
    ///
    /// # Errors
    /// [`GreetingError`] when there is no hope.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, GreetingError> {
        self.seen.extend_from_slice(bytes);
        while let Some(length) = self.seen[self.line..].iter().position(|b| *b == b'\n') {
            let end = self.line + length;
            let line = self.seen[self.line..end].trim_ascii_end();
            // A banner may lack its newline, so the greeting may begin in the middle of a line.
            if let Some(at) = line.windows(NAME.len()).position(|part| part == NAME) {
                let version = &line[at..];
                if version == LINE.as_bytes() {
                    return Ok(Some(self.seen.split_off(end + 1)));
                }
                return Err(GreetingError::Version(printable(version)));
            }
            self.line = end + 1;
        }
        if self.seen.len() > LIMIT { Err(GreetingError::Foreign(self.words())) } else { Ok(None) }
    }

    /// What was said instead, for a person.
    #[must_use]
    pub fn words(&self) -> String {
        printable(self.seen.trim_ascii())
    }
}

/// The last words of `bytes` in one line, without what would confuse a terminal.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let cut = bytes.len().saturating_sub(QUOTED);
    let text = String::from_utf8_lossy(&bytes[cut..]);
    let mut words = String::new();
    if cut > 0 {
        words.push('…');
    }
    for c in text.trim().chars() {
        match c {
            '\n' | '\t' => words.push(' '),
            c if c.is_control() => {}
            c => {
                // Writing to a String can't fail.
                let _ = words.write_char(c);
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_behind_banners_however_it_arrives() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"interlink-mux/1\n", b""),
            (b"interlink-mux/1\r\nrest", b"rest"),
            (b"Welcome!\n\n \xff\nLast login: today\ninterlink-mux/1\n\x00\x01", b"\x00\x01"),
            (b"no newline interlink-mux/1\nx", b"x"),
            (b"interlink-mu\ninterlink-mux/1\n", b""),
        ];
        for (text, rest) in cases {
            for step in 1..=text.len() {
                let mut greeting = Greeting::default();
                let mut found = None;
                for chunk in text.chunks(step) {
                    match &mut found {
                        None => found = greeting.feed(chunk).unwrap(),
                        Some(behind) => behind.extend_from_slice(chunk),
                    }
                }
                assert_eq!(found.as_deref(), Some(rest), "{text:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn other_versions_and_other_programs_are_told_apart() {
        let version = Greeting::default().feed(b"interlink-mux/2\n").unwrap_err().to_string();
        assert!(version.contains("interlink-mux/2") && version.contains("same release"), "{version}");
        let mut greeting = Greeting::default();
        assert_eq!(greeting.feed(b"This account is \x1b[1mnot available.\n"), Ok(None));
        assert_eq!(greeting.words(), "This account is [1mnot available.");
        let endless = greeting.feed(&vec![b'y'; LIMIT]).unwrap_err();
        assert!(matches!(&endless, GreetingError::Foreign(words) if words.len() < 300), "{endless}");
    }

    #[test]
    fn exactly_the_limit_of_banners_is_skipped() {
        let banner = [vec![b'.'; LIMIT - LINE.len() - 2], b"\n".to_vec()].concat();
        let mut greeting = Greeting::default();
        assert_eq!(greeting.feed(&banner), Ok(None));
        assert_eq!(greeting.feed(format!("{LINE}\n").as_bytes()), Ok(Some(Vec::new())));
    }
}
