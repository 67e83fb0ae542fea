//! Links within the book.

use super::{Book, Page};

/// The links that lead nowhere: `page:line: target: why`. Addresses outside are not asked.
#[must_use]
pub fn broken(book: &Book) -> Vec<String> {
    let mut broken = Vec::new();
    for page in &book.pages {
        for link in &page.links {
            if let Err(why) = follow(book, page, &link.target) {
                broken.push(format!("{}:{}: {}: {why}", page.name, link.line, link.target));
            }
        }
    }
    broken
}

fn follow(book: &Book, from: &Page, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let page = if file.is_empty() {
        from
    } else if let Some(page) = book.pages.iter().find(|page| page.name == beside(&from.name, file)) {
        page
    } else {
        return Err("the summary names no such page".to_owned());
    };
    match anchor {
        Some(anchor) if !page.anchors.iter().any(|known| known == anchor) => {
            Err(format!("{} has no such heading", page.name))
        }
        _ => Ok(()),
    }
}

/// The page that `file` means on the page `from`.
fn beside(from: &str, file: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_counts_from_its_own_page() {
        for (from, file, page) in
            [("a.md", "b.md", "b.md"), ("r/a.md", "../b.md", "b.md"), ("r/a.md", "./c.md", "r/c.md")]
        {
            assert_eq!(beside(from, file), page);
        }
    }

    #[test]
    fn files_and_headings_must_exist() {
        let a = Page::parse("a.md", "# Top\n[1](b.md) [2](b.md#part) [3](#top) [4](https://example.org/x)\n");
        let b = Page::parse("b.md", "## Part\n[5](c.md) [6](a.md#nothing) [7](#nope)\n");
        let found = broken(&Book { folder: "x".into(), pages: vec![a, b] });
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|line| line.starts_with("b.md:2: ")), "{found:?}");
    }
}
