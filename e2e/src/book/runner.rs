//! Runs the shell blocks of a page, command by command, and compares what they say with what the page says.

use std::time::Instant;

use super::{Block, Page, Step};

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// What it printed on both streams.
    pub text: String,
}

/// The machines of the book.
pub trait Machines {
    /// Runs a command in a shell of the operator on that machine, stopped after `seconds` where given (status 124).
    fn run(&self, machine: &str, command: &str, seconds: Option<u64>) -> impl Future<Output = Said>;
}

/// What became of a page.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Commands that did what the page says.
    pub ran: usize,
    /// Blocks that were not run, with the reason.
    pub unrun: Vec<String>,
}

/// Runs all shell blocks of a page in their order, and ends at the first that does something else.
///
/// # Errors
/// Page, line, command, what was promised and what came.
pub async fn run(page: &Page, machines: &impl Machines) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for block in blocks(page)? {
        let at = format!("{}:{}", page.name, block.line);
        if let Some(reason) = &block.unrun {
            eprintln!("{at}: not run: {reason}");
            tally.unrun.push(format!("{at}: {reason}"));
            continue;
        }
        for step in &block.steps {
            let begun = Instant::now();
            let said = machines.run(&block.machine, &step.command, step.stopped_after).await;
            eprintln!("{at}: {}$ {} ({:.1?})", block.machine, step.command, begun.elapsed());
            judge(step, &said).map_err(|why| {
                format!("{at}: {}$ {}\n{why}; it printed:\n{}", block.machine, step.command, said.text)
            })?;
            tally.ran += 1;
        }
    }
    Ok(tally)
}

/// The shell blocks of a page.
///
/// # Errors
/// Page, line and what is wrong with the first that can't be read.
pub fn blocks(page: &Page) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    for fence in &page.fences {
        blocks.extend(Block::parse(fence).map_err(|why| format!("{}:{}: {why}", page.name, fence.line))?);
    }
    Ok(blocks)
}

/// Whether a command did what the page says.
///
/// # Errors
/// What it did not.
pub fn judge(step: &Step, said: &Said) -> Result<(), String> {
    let stopped = step.stopped_after.is_some() && said.status == Some(124);
    if !stopped && said.status != Some(step.status) {
        return Err(format!("it ended with {:?}, not {}", said.status, step.status));
    }
    let mut lines = said.text.lines();
    for wanted in &step.prints {
        if wanted.trim() != "…" && !lines.any(|line| matches(wanted, line)) {
            return Err(format!("the line {wanted:?} is missing, or comes too early"));
        }
    }
    Ok(())
}

/// Whether a printed line is the one of the page: `…` is anything, and columns may be of another width.
fn matches(wanted: &str, line: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (wanted, line) = (squeeze(wanted), squeeze(line));
    let mut parts = wanted.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default().trim_end()) else { return false };
    let mut open = false;
    for part in parts {
        open = true;
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
        open = false;
    }
    rest.is_empty() || open || wanted.ends_with('…')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(prints: &[&str]) -> Step {
        let prints = prints.iter().map(|line| (*line).to_owned()).collect();
        Step { command: "x".into(), prints, status: 0, stopped_after: None }
    }

    fn said(status: i32, text: &str) -> Said {
        Said { status: Some(status), text: text.into() }
    }

    #[test]
    fn what_is_printed_is_compared_line_by_line() {
        let cases: [(&[&str], &str, bool); 8] = [
            (&[], "whatever\n", true),
            (&["a  b"], "a b\n", true),
            (&["node/x condition met"], "node/y condition met\n", false),
            (&["one", "two"], "one\nmore\ntwo\n", true),
            (&["two", "one"], "one\ntwo\n", false),
            (&["pod/… created"], "pod/test created\n", true),
            (&["… Ready …"], "node-1   Ready   agent  5s\n", true),
            (&["Ready"], "NotReady\n", false),
        ];
        for (prints, text, good) in cases {
            assert_eq!(judge(&step(prints), &said(0, text)).is_ok(), good, "{prints:?} {text:?}");
        }
    }

    #[test]
    fn the_exit_status_counts() {
        assert!(judge(&step(&[]), &said(1, "")).is_err());
        assert!(judge(&Step { status: 1, ..step(&[]) }, &said(1, "")).is_ok());
        assert!(judge(&Step { stopped_after: Some(1), ..step(&[]) }, &said(124, "")).is_ok());
        assert!(judge(&step(&[]), &said(124, "")).is_err());
    }

    struct Echo;

    impl Machines for Echo {
        async fn run(&self, _: &str, command: &str, _: Option<u64>) -> Said {
            said(0, command)
        }
    }

    #[tokio::test]
    async fn a_page_is_run_to_its_first_broken_promise() {
        let page = Page::parse(
            "p.md",
            "```sh a\none\n```\n```sh a unrun=\"no\"\nx\n```\n```console a\n$ two\ntwo\n$ three\n4\n```\n",
        );
        let error = run(&page, &Echo).await.unwrap_err();
        assert!(error.contains("p.md:7") && error.contains("a$ three") && error.contains("\"4\""), "{error}");
    }
}
