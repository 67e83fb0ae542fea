//! One Markdown file.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A link of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it leads, as written.
    pub target: String,
    /// Its line, from 1.
    pub line: usize,
}

/// A fenced block of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// What stands behind the opening fence.
    pub info: String,
    /// The lines between the fences.
    pub text: String,
    /// The line of the opening fence, from 1.
    pub line: usize,
}

/// What tests need of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// File name relative to `docs/src`.
    pub name: String,
    /// The names by which its headings can be linked to, as mdBook makes them.
    pub anchors: Vec<String>,
    /// Its links.
    pub links: Vec<Link>,
    /// Its fenced blocks.
    pub fences: Vec<Fence>,
    /// The code in the first cell of each table row, behind the title of that column.
    pub first_cells: Vec<(String, String)>,
    /// The whole text.
    pub text: String,
}

impl Page {
    /// Reads a page.
    #[must_use]
    pub fn parse(name: &str, text: &str) -> Self {
        let mut page = Self {
            name: name.to_owned(),
            anchors: Vec::new(),
            links: Vec::new(),
            fences: Vec::new(),
            first_cells: Vec::new(),
            text: text.to_owned(),
        };
        let mut heading: Option<String> = None;
        let mut fence: Option<Fence> = None;
        let mut cell: Option<usize> = None;
        let mut column = String::new();
        let mut in_head = false;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = 1 + text.get(..range.start).unwrap_or_default().matches('\n').count();
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.anchors.extend(heading.take().map(|title| anchor(&title))),
                Event::Start(Tag::Link { dest_url, .. }) => {
                    page.links.push(Link { target: dest_url.into_string(), line });
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    fence = Some(Fence { info: info.into_string(), text: String::new(), line });
                }
                Event::End(TagEnd::CodeBlock) => page.fences.extend(fence.take()),
                Event::Start(Tag::TableHead) => {
                    (in_head, cell) = (true, Some(0));
                    column.clear();
                }
                Event::End(TagEnd::TableHead) => in_head = false,
                Event::Start(Tag::TableRow) => cell = Some(0),
                Event::End(TagEnd::TableCell) => cell = cell.map(|number| number + 1),
                Event::Code(code) => {
                    if let Some(title) = &mut heading {
                        title.push_str(&code);
                    }
                    if cell == Some(0) && !in_head {
                        page.first_cells.push((column.clone(), code.into_string()));
                    }
                }
                Event::Text(words) => {
                    if in_head && cell == Some(0) {
                        column.push_str(&words);
                    }
                    if let Some(title) = &mut heading {
                        title.push_str(&words);
                    }
                    if let Some(fence) = &mut fence {
                        fence.text.push_str(&words);
                    }
                }
                _ => {}
            }
        }
        page
    }
}

/// The name of a heading in links.
fn anchor(title: &str) -> String {
    let letter = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_lowercase().next().unwrap_or(c)),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    };
    title.trim().chars().filter_map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_links_fences_and_tables_are_found() {
        let text = "# A `plugin`, and more!\n\nSee [b](b.md#top).\n\n```sh login\nls\n```\n\n| key | what |\n|---|---|\n| `A` | `x` |\n";
        let page = Page::parse("a.md", text);
        assert_eq!(page.anchors, ["a-plugin-and-more"]);
        assert_eq!(page.links, [Link { target: "b.md#top".into(), line: 3 }]);
        assert_eq!(page.fences, [Fence { info: "sh login".into(), text: "ls\n".into(), line: 5 }]);
        assert_eq!(page.first_cells, [("key".to_owned(), "A".to_owned())]);
    }
}
