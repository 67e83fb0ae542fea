//! A shell block: on which machine it runs, which commands it has, and what they are to say.
//!
//! ````text
//! ```sh login                          commands for the machine `login`
//! ```console local                     commands behind `$ `, and what each prints
//! ```sh local for=3                    each command is stopped after three seconds
//! ```sh local status=1                 each command ends with that exit status
//! ```sh local unrun="needs a browser"  not run by the test, which prints the reason
//! ````
//!
//! In what is printed, `…` stands for anything, and alone on a line for any lines.

use super::page::Fence;

/// A shell block of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The machine, by the name that the book gives it.
    pub machine: String,
    /// Its commands.
    pub steps: Vec<Step>,
    /// Why the test does not run it.
    pub unrun: Option<String>,
    /// Its line in the page.
    pub line: usize,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As a shell takes it; with its here-documents.
    pub command: String,
    /// Lines that it is to print, in this order; other lines may stand between.
    pub prints: Vec<String>,
    /// The exit status that it is to end with.
    pub status: i32,
    /// Stopped after so many seconds, and well so.
    pub stopped_after: Option<u64>,
}

impl Block {
    /// Reads a fenced block; `None` for one that is no shell block.
    ///
    /// # Errors
    /// What is wrong with it, in words for the author of the page.
    pub fn parse(fence: &Fence) -> Result<Option<Self>, String> {
        let words = shell_words(&fence.info)?;
        let mut words = words.iter().map(String::as_str);
        let session = match words.next() {
            Some("sh" | "bash" | "shell") => false,
            Some("console") => true,
            _ => return Ok(None),
        };
        let mut machine = None;
        let (mut unrun, mut status, mut stopped_after) = (None, 0, None);
        for word in words {
            let number = |value: &str| value.parse().map_err(|_| format!("{value:?} is not a number"));
            match word.split_once('=') {
                None if machine.is_none() => machine = Some(word.to_owned()),
                Some(("unrun", reason)) if !reason.trim().is_empty() => unrun = Some(reason.to_owned()),
                Some(("status", value)) => status = i32::try_from(number(value)?).unwrap_or(i32::MAX),
                Some(("for", value)) => stopped_after = Some(number(value)?),
                _ => return Err(format!("{word:?} is not understood")),
            }
        }
        let machine = machine.ok_or("the block does not say on which machine it runs, as in ```sh local")?;
        let found = if session { session_commands(&fence.text)? } else { script_commands(&fence.text)? };
        if found.is_empty() {
            return Err("the block has no command".to_owned());
        }
        let step = |(command, prints)| Step { command, prints, status, stopped_after };
        let steps = found.into_iter().map(step).collect();
        Ok(Some(Self { machine, steps, unrun, line: fence.line }))
    }
}

type Found = Vec<(String, Vec<String>)>;

/// Commands and nothing else.
fn script_commands(text: &str) -> Result<Found, String> {
    let mut found = Found::new();
    let mut open = String::new();
    for line in text.lines() {
        if open.is_empty() && (line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        open.push_str(line);
        open.push('\n');
        if complete(&open) {
            found.push((std::mem::take(&mut open).trim_end().to_owned(), Vec::new()));
        }
    }
    ended(&open)?;
    Ok(found)
}

/// Commands behind `$ `, and what they print.
fn session_commands(text: &str) -> Result<Found, String> {
    let mut found = Found::new();
    let mut open = String::new();
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) if open.is_empty() => open.push_str(command),
            _ if !open.is_empty() => open.push_str(line.strip_prefix("> ").unwrap_or(line)),
            _ => {
                let (_, prints) = found.last_mut().ok_or("output stands before the first `$ ` command")?;
                if !line.trim().is_empty() {
                    prints.push(line.trim_end().to_owned());
                }
                continue;
            }
        }
        open.push('\n');
        if complete(&open) {
            found.push((std::mem::take(&mut open).trim_end().to_owned(), Vec::new()));
        }
    }
    ended(&open)?;
    Ok(found)
}

fn ended(open: &str) -> Result<(), String> {
    if open.is_empty() { Ok(()) } else { Err(format!("the command {:?} does not end in the block", open.trim_end())) }
}

/// Whether a shell would start, and not ask for another line: no quote, continuation or here-document is open.
fn complete(text: &str) -> bool {
    let mut lines = text.lines();
    let mut quote = None;
    let mut continued = false;
    while let Some(line) = lines.next() {
        continued = false;
        let mut chars = line.chars().peekable();
        let mut documents = Vec::new();
        while let Some(c) = chars.next() {
            match (quote, c) {
                (Some('\''), '\'') | (Some('"'), '"') => quote = None,
                (Some('\''), _) => {}
                (_, '\\') => continued = chars.next().is_none(),
                (None, '\'' | '"') => quote = Some(c),
                (None, '<') if chars.peek() == Some(&'<') => {
                    chars.next();
                    let rest: String = chars.clone().collect();
                    let rest = rest.trim_start_matches('-').trim_start();
                    let end = rest.find(|c: char| c.is_whitespace() || c == '|' || c == ';').unwrap_or(rest.len());
                    documents.push(rest.get(..end).unwrap_or_default().replace(['\'', '"'], ""));
                }
                _ => {}
            }
        }
        for end in documents {
            if !lines.by_ref().any(|line| line.trim_start_matches('\t') == end) {
                return false;
            }
        }
    }
    quote.is_none() && !continued
}

/// The info string: words, where `name="several words"` is one.
fn shell_words(info: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in info.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    if quoted { Err(format!("a quote in {info:?} does not end")) } else { Ok(words) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(info: &str, text: &str) -> Result<Option<Block>, String> {
        Block::parse(&Fence { info: info.into(), text: text.into(), line: 7 })
    }

    fn commands(info: &str, text: &str) -> Vec<String> {
        of(info, text).unwrap().unwrap().steps.into_iter().map(|step| step.command).collect()
    }

    #[test]
    fn a_script_is_split_where_a_shell_would_start() {
        let text = "# first\nls -l\n\necho 'a\nb' \\\n  c\ncat > x <<EOF\n# kept\n$ y\nEOF\ntrue\n";
        assert_eq!(
            commands("sh local", text),
            ["ls -l", "echo 'a\nb' \\\n  c", "cat > x <<EOF\n# kept\n$ y\nEOF", "true"]
        );
    }

    #[test]
    fn a_session_has_commands_and_what_they_print() {
        let block = of("console login", "$ squeue -h\n1 …\n$ cat <<'E'\n> x\n> E\nx\n").unwrap().unwrap();
        let pairs: Vec<_> = block.steps.iter().map(|s| (s.command.as_str(), s.prints.join("|"))).collect();
        assert_eq!(pairs, [("squeue -h", "1 …".to_owned()), ("cat <<'E'\nx\nE", "x".to_owned())]);
        assert_eq!(block.machine, "login");
    }

    #[test]
    fn the_info_string_says_how_it_runs() {
        let block = of("sh local for=3 status=1 unrun=\"no such machine\"", "x").unwrap().unwrap();
        let step = &block.steps[0];
        assert_eq!((step.stopped_after, step.status, block.unrun.as_deref()), (Some(3), 1, Some("no such machine")));
        assert_eq!(of("yaml", "x").unwrap(), None);
        assert_eq!(of("", "x").unwrap(), None);
    }

    #[test]
    fn a_block_that_can_not_be_run_is_a_mistake() {
        for (info, text, part) in [
            ("sh", "ls", "on which machine"),
            ("sh local nice", "ls", "\"nice\""),
            ("sh local for=x", "ls", "\"x\""),
            ("sh local unrun=", "ls", "unrun="),
            ("sh local unrun=\"a", "ls", "quote"),
            ("sh local", "# nothing", "no command"),
            ("sh local", "cat <<EOF\n", "does not end"),
            ("console local", "words\n", "before the first"),
        ] {
            let error = of(info, text).unwrap_err();
            assert!(error.contains(part), "{info}: {error}");
        }
    }
}
