//! What the demo tells a person, on stdout: compact, one line a fact, colours only on a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Width of the column with names of hops and containers.
const NAME: usize = 17;

/// The demo's lines.
#[derive(Debug)]
pub struct Screen {
    started: Instant,
    colours: bool,
}

impl Default for Screen {
    fn default() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { started: Instant::now(), colours }
    }
}

impl Screen {
    /// A plain line.
    pub fn line(&self, text: &str) {
        // Nobody may be reading; the demo goes on and its exit code tells.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Something that is as it should be; how long it took, where that matters.
    pub fn good(&self, name: &str, what: &str, took: Option<Duration>) {
        let took = took.map(|took| format!("  ({:.1} s)", took.as_secs_f64())).unwrap_or_default();
        self.line(&format!("  {} {name:<NAME$} {what}{took}", self.coloured("32", "✓")));
    }

    /// Something that is not.
    pub fn bad(&self, name: &str, what: &str) {
        self.line(&format!("  {} {name:<NAME$} {what}", self.coloured("31", "✗")));
    }

    /// Something that happened, with the time since the demo began.
    pub fn event(&self, what: &str) {
        self.line(&format!("  {:>5.1} s  {what}", self.elapsed().as_secs_f64()));
    }

    /// Since the demo began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn coloured(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
