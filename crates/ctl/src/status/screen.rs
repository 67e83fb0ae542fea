//! The terminal: its other screen, written over in place, and given back at the end.

use std::io::{IsTerminal, Write};

use super::Snapshot;
use super::view::{self, Paper};

/// Where the size of the terminal can't be told.
const USUAL: (usize, usize) = (80, 24);

/// A terminal that shows snapshots until it is dropped.
#[derive(Debug)]
pub struct Screen {
    colours: bool,
}

impl Screen {
    /// Takes the terminal; `None` where stdout is none.
    #[must_use]
    pub fn open() -> Option<Self> {
        if !std::io::stdout().is_terminal() {
            return None;
        }
        Some(Self { colours: std::env::var_os("NO_COLOR").is_none() })
    }

    /// Shows a snapshot in the place of the one before.
    pub fn show(&mut self, snapshot: &Snapshot) {
        let size = terminal_size::terminal_size();
        let (width, height) = size.map_or(USUAL, |(width, height)| (width.0.into(), height.0.into()));
        // The line behind the last one is the cursor's.
        let paper = Paper { width: Some(width), height: Some(height.saturating_sub(1)), colours: self.colours };
        let text = view::text(snapshot, paper).replace('\n', "\x1b[K\n");
        // The other screen, its first line, the text, and nothing below it: no flicker. A terminal that is gone is told
        // by SIGHUP.
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "\x1b[?1049h\x1b[?25l\x1b[H{text}\x1b[J").and_then(|()| out.flush());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "\x1b[?25h\x1b[?1049l").and_then(|()| out.flush());
    }
}
