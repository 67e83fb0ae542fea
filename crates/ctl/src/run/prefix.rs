//! Output of several containers on one screen: whole lines, each with its container's name. Pure.

use bytes::{Bytes, BytesMut};

/// The longest line that is held back until it is whole, in bytes; a longer one is shown in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// Puts `[name] ` before every line of one container's output.
#[derive(Debug)]
pub struct Prefixer {
    prefix: Option<String>,
    held: BytesMut,
}

impl Prefixer {
    /// `None`: what comes in goes out unchanged and at once.
    #[must_use]
    pub fn new(name: Option<&str>) -> Self {
        Self { prefix: name.map(|name| format!("[{name}] ")), held: BytesMut::new() }
    }

    /// What can be shown after `chunk` has come.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let Some(prefix) = &self.prefix else { return chunk };
        self.held.extend_from_slice(&chunk);
        let mut out = BytesMut::new();
        while let Some(end) = self.held.iter().position(|b| *b == b'\n') {
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(&self.held.split_to(end + 1));
        }
        if self.held.len() >= LONGEST_LINE {
            out.extend_from_slice(&self.finish());
        }
        out.freeze()
    }

    /// The last line, if the output did not end with a newline; one is added, because another container may go on.
    pub fn finish(&mut self) -> Bytes {
        let Some(prefix) = self.prefix.as_ref().filter(|_| !self.held.is_empty()) else { return Bytes::new() };
        let mut out = BytesMut::from(prefix.as_bytes());
        out.extend_from_slice(&self.held.split());
        out.extend_from_slice(b"\n");
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: Option<&str>, chunks: &[&'static str]) -> Vec<String> {
        let mut prefixer = Prefixer::new(name);
        let mut out: Vec<Bytes> = chunks.iter().map(|c| prefixer.push(Bytes::from_static(c.as_bytes()))).collect();
        out.push(prefixer.finish());
        out.into_iter().map(|b| String::from_utf8(b.to_vec()).unwrap()).collect()
    }

    #[test]
    fn lines_are_held_until_they_are_whole() {
        assert_eq!(
            shown(Some("a"), &["one\ntw", "o\n\nth", "ree"]),
            ["[a] one\n", "[a] two\n[a] \n", "", "[a] three\n"]
        );
    }

    #[test]
    fn a_single_container_is_shown_as_it_is() {
        assert_eq!(shown(None, &["one\ntw", "o"]), ["one\ntw", "o", ""]);
    }

    #[test]
    fn an_endless_line_does_not_fill_the_memory() {
        let mut prefixer = Prefixer::new(Some("a"));
        let out = prefixer.push(Bytes::from(vec![b'x'; LONGEST_LINE]));
        assert_eq!(out.len(), LONGEST_LINE + "[a] \n".len());
        assert!(prefixer.finish().is_empty());
    }
}
