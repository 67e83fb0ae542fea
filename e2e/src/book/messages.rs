//! The pages with the programs' messages: what each means and what to do, written by hand and compared with the source.
//!
//! ```text
//! - `a text of the source`; `another that is printed behind it`\\
//!   `a text with the same meaning`
//!
//!   What it means. **Do:** what helps.
//! ```
//!
//! One item is one entry: its first paragraph has the texts as the source has them, `…` for what is inserted. A comment at
//! the end of a page lists what is no message of its own: parts of others, and what is said when all is well.

use std::collections::BTreeMap;

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::{Page, sources};

/// The pages, and the folders of `crates/` whose messages they explain.
pub const PAGES: [(&str, &[&str]); 6] = [
    ("reference/messages/ssh-tunnel.md", &["tunnel/src"]),
    ("reference/messages/interlink.md", &["api/src"]),
    ("reference/messages/virtual-kubelet.md", &["kubelet/src"]),
    ("reference/messages/interlink-plugin.md", &["plugin/src", "supervisor/src"]),
    ("reference/messages/interlinkctl.md", &["ctl/src"]),
    ("reference/messages/all.md", &["daemon/src", "transport/src", "wire/src"]),
];

const LEFT_OUT: &str = "<!-- Not messages of their own";

/// An item of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    texts: Vec<String>,
    explained: bool,
}

/// What page and source don't have in common, in words for whoever changed one of them.
///
/// # Errors
/// A source that can't be read.
pub fn differences(page: &Page, folders: &[&str]) -> Result<Vec<String>, String> {
    let mut said = BTreeMap::new();
    let mut literals = Vec::new();
    for folder in folders {
        for source in sources::below(folder)? {
            for text in sources::sentences(&source) {
                said.entry(text.to_owned()).or_insert_with(|| source.path.display().to_string());
            }
            literals.extend(source.literals.into_iter().map(|literal| literal.text));
        }
    }
    Ok(compared(page, &said, &literals))
}

/// `said`: the messages with their files; `literals`: every text of these files.
fn compared(page: &Page, said: &BTreeMap<String, String>, literals: &[String]) -> Vec<String> {
    let name = &page.name;
    let entries = entries(&page.text);
    let named: Vec<&str> = entries.iter().flat_map(|entry| &entry.texts).map(String::as_str).collect();
    let left_out = left_out(&page.text);
    let missing = said.iter().filter(|(text, _)| !named.contains(&text.as_str()) && !left_out.contains(&text.as_str()));
    let missing = missing.map(|(text, path)| {
        format!("{name} has no entry for {} of crates/{path}: say what it means and what to do", code(text))
    });
    let there = |text: &str| literals.iter().any(|literal| literal.trim() == text);
    let gone = named.iter().chain(&left_out).filter(|text| !there(text));
    let gone =
        gone.map(|text| format!("{name} has {}, which the source no longer has: correct it, or remove it", code(text)));
    let bare = entries.iter().filter(|entry| !entry.explained);
    let bare = bare.map(|entry| format!("{name} does not say what {:?} means", entry.texts));
    missing.chain(gone).chain(bare).collect()
}

/// As a page has it.
fn code(text: &str) -> String {
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// The items that begin with code.
fn entries(text: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut open: Option<Entry> = None;
    let mut paragraphs = 0;
    for event in Parser::new(text) {
        let Some(entry) = &mut open else {
            if event == Event::Start(Tag::Item) {
                (open, paragraphs) = (Some(Entry::default()), 0);
            }
            continue;
        };
        match event {
            Event::End(TagEnd::Paragraph) => paragraphs += 1,
            Event::Code(code) if paragraphs == 0 => entry.texts.push(code.trim().to_owned()),
            Event::Text(words) if paragraphs > 0 => entry.explained |= words.split_whitespace().count() > 1,
            Event::End(TagEnd::Item) => found.extend(open.take().filter(|entry| !entry.texts.is_empty())),
            _ => {}
        }
    }
    found
}

/// The lines of the comment at the end.
fn left_out(text: &str) -> Vec<&str> {
    let (_, comment) = text.split_once(LEFT_OUT).unwrap_or_default();
    comment.lines().filter_map(|line| line.strip_prefix("- ")).map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "- `the first … text`; `its remedy is this`\\\n  `the same again`\n\n  Means that `it` fails.\n\n- `nobody says what`\n\n<!-- Not messages of their own: x\n- left out\n-->\n";

    fn of(said: &[&str], literals: &[&str]) -> Vec<String> {
        let said = said.iter().map(|text| ((*text).to_owned(), "x.rs".to_owned())).collect();
        let literals: Vec<String> = literals.iter().map(|text| (*text).to_owned()).collect();
        compared(&Page::parse("p.md", PAGE), &said, &literals)
    }

    #[test]
    fn an_entry_has_the_texts_of_its_first_paragraph() {
        let entry =
            |texts: &[&str], explained| Entry { texts: texts.iter().map(|t| (*t).to_owned()).collect(), explained };
        let first = entry(&["the first … text", "its remedy is this", "the same again"], true);
        assert_eq!(entries(PAGE), [first, entry(&["nobody says what"], false)]);
    }

    #[test]
    fn what_only_one_side_has_is_named() {
        let all = ["the first … text", "its remedy is this", " the same again", "nobody says what", "left out"];
        let bare = r#"p.md does not say what ["nobody says what"] means"#;
        assert_eq!(of(&["the first … text", "left out"], &all), [bare]);
        let found = of(&["a new one here"], &all[1..]);
        assert!(found[0].contains("no entry for `a new one here` of crates/x.rs"), "{found:?}");
        assert!(found[1].contains("`the first … text`, which the source no longer has"), "{found:?}");
    }
}
