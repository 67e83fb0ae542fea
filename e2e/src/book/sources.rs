//! What is only found in the source text of the programs: variables of the environment, annotations, sentences.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use interlink_testkit::binaries;

/// A text of a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal {
    /// The text, with what is inserted while it runs as `…`.
    pub text: String,
    /// What stands before it on its line.
    pub before: String,
    /// The calls, macros and attributes in whose parentheses it stands, the innermost last.
    pub within: Vec<String>,
}

/// A source file without its tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path below `crates/`.
    pub path: PathBuf,
    /// Its texts.
    pub literals: Vec<Literal>,
}

/// The source files below a folder of `crates/`, in the order of their paths.
///
/// # Errors
/// The folder that can't be read, and why.
pub fn below(folder: &str) -> Result<Vec<Source>, String> {
    let crates = binaries::workspace().join("crates");
    let mut paths = Vec::new();
    walk(&crates.join(folder), &mut paths)?;
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let short = path.strip_prefix(&crates).unwrap_or(&path).to_owned();
        sources.push(Source { path: short, literals: literals(without_tests(&text)) });
    }
    Ok(sources)
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" && name != "testdata" {
            walk(&path, paths)?;
        } else if name.ends_with(".rs") && name != "tests.rs" {
            paths.push(path);
        }
    }
    Ok(())
}

/// Annotations, labels and taints that are the project's own: `domain/name`.
#[must_use]
pub fn annotations(sources: &[Source]) -> BTreeSet<String> {
    let ours = |text: &&str| {
        text.split_once('/').is_some_and(|(domain, name)| {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            let foreign = domain.ends_with("kubernetes.io") || domain.ends_with("k8s.io");
            domain.contains('.') && !foreign && domain.chars().all(plain) && !name.is_empty() && name.chars().all(plain)
        })
    };
    let known = |domain: &str| ["interlink", "vk.io", "virtual-kubelet.io"].iter().any(|part| domain.contains(part));
    texts(sources).filter(ours).filter(|text| known(text)).map(str::to_owned).collect()
}

/// Names of variables of the environment.
#[must_use]
pub fn variables(sources: &[Source]) -> BTreeSet<String> {
    let name = |text: &str| {
        text.len() > 3
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let placeholder = |before: &str| before.contains("value_name") || before.contains("rename");
    let all = sources.iter().flat_map(|source| &source.literals);
    let found = all.filter(|literal| name(&literal.text) && !placeholder(&literal.before));
    found.map(|literal| literal.text.clone()).filter(|name| !name.starts_with("CARGO_")).collect()
}

/// What a text can stand in that nobody reads as an error or a warning: reasons in the code, chatter of the log, help,
/// what others say and we look for, what is well, and the help of metrics.
const QUIET: [&str; 17] = [
    "expect",
    "assert!",
    "assert_eq!",
    "unreachable!",
    "debug!",
    "info!",
    "trace!",
    "arg",
    "command",
    "allow",
    "contains",
    "starts_with",
    "good",
    "gauges",
    "counters",
    "seconds",
    "family",
];

/// What a person may read when something is wrong: a line of at least three words that does not stand in [`QUIET`].
#[must_use]
pub fn sentences(source: &Source) -> Vec<&str> {
    let loud = |literal: &&Literal| !literal.within.iter().any(|call| QUIET.contains(&call.as_str()));
    let several = |text: &&str| {
        let words = text.split_whitespace().filter(|word| word.chars().any(char::is_alphabetic));
        words.count() >= 3 && !text.contains('\n')
    };
    source.literals.iter().filter(loud).map(|literal| literal.text.trim()).filter(several).collect()
}

fn texts(sources: &[Source]) -> impl Iterator<Item = &str> {
    sources.iter().flat_map(|source| source.literals.iter().map(|literal| literal.text.as_str()))
}

/// Tests are at the end of a file.
fn without_tests(text: &str) -> &str {
    let end = text.match_indices("#[cfg(test)]").find(|(at, mark)| {
        let next = text.get(at + mark.len()..).unwrap_or_default();
        let next = next.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
        next.split_whitespace().any(|word| word == "mod") && next.ends_with('{')
    });
    end.map_or(text, |(at, _)| text.get(..at).unwrap_or(text))
}

/// String literals, a continued one as one text.
fn literals(text: &str) -> Vec<Literal> {
    let mut found = Vec::new();
    let mut line_start = 0;
    let mut within = Vec::new();
    let mut chars = text.char_indices().peekable();
    let mut previous = ' ';
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' => line_start = at + 1,
            '/' if previous == '/' => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            '\'' => {
                // a character, and not the name of a lifetime
                let mut next = text.get(at + 1..).unwrap_or_default().chars();
                match (next.next(), next.next()) {
                    (Some('\\'), _) => {
                        chars.next();
                        chars.next();
                        while chars.next_if(|(_, c)| *c != '\'').is_some() {}
                        chars.next();
                    }
                    (Some(_), Some('\'')) => {
                        chars.next();
                        chars.next();
                    }
                    _ => {}
                }
            }
            '(' | '[' | '{' => within.push(called(text.get(..at).unwrap_or_default()).to_owned()),
            ')' | ']' | '}' => drop(within.pop()),
            '"' => {
                let before = text.get(line_start..at).unwrap_or_default().trim().to_owned();
                let mut words = String::new();
                while let Some((_, c)) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => match chars.next() {
                            Some((at, '\n')) => {
                                line_start = at + 1;
                                while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
                            }
                            Some((_, 'n')) => words.push('\n'),
                            Some((_, c)) => words.push(c),
                            None => break,
                        },
                        c => words.push(c),
                    }
                }
                found.push(Literal { text: inserted(&words), before, within: within.clone() });
            }
            _ => {}
        }
        previous = c;
    }
    found
}

/// The name right before a parenthesis, as `warn!` in `tracing::warn!(`.
fn called(before: &str) -> &str {
    let name = |c: char| c.is_alphanumeric() || c == '_' || c == '!';
    before.get(before.trim_end_matches(name).len()..).unwrap_or_default()
}

/// `{name}` is what is inserted; `{{` is a brace.
fn inserted(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' if chars.next_if_eq(&'{').is_some() => out.push('{'),
            '}' if chars.next_if_eq(&'}').is_some() => out.push('}'),
            '{' => {
                while chars.next_if(|c| *c != '}').is_some() {}
                chars.next();
                out.push('…');
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "//! Why it fails.\nconst A: &str = \"slurm-job.vk.io/flags\"; // \"not this\"\n#[arg(help = \"a help of four words\")]\nlet b = env(\"NODENAME\"); let q: Set<'a> = ['\"', '(', '\\''];\nlet c = format!(\"the socket {path} \\\n    is not there {{x}}\");\nlet d = y.expect(\"it has just been made here\");\ntracing::info!(\n    n = z(1),\n    \"all is well up to here\"\n);\n#[cfg(test)]\npub(crate) mod tests {\n    \"a text of the tests\"\n}\n";

    fn source() -> Source {
        Source { path: "x.rs".into(), literals: literals(without_tests(TEXT)) }
    }

    #[test]
    fn names_and_messages_are_found_and_tests_comments_and_chatter_are_not() {
        let sources = [source()];
        assert_eq!(annotations(&sources).into_iter().collect::<Vec<_>>(), ["slurm-job.vk.io/flags"]);
        assert_eq!(variables(&sources).into_iter().collect::<Vec<_>>(), ["NODENAME"]);
        assert_eq!(sentences(&sources[0]), ["the socket … is not there {x}"]);
    }
}
