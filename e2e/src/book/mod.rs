//! The book in `docs/`, as its tests read it.
//!
//! ```text
//!   SUMMARY.md ─▶ Book ─▶ Page ─┬─▶ links: does every file and heading exist?
//!                               ├─▶ tables: does the reference name each key, flag and annotation of the code?
//!                               └─▶ Block ─▶ Step ─▶ runner: does each command do on a machine what the page says?
//! ```
//!
//! - [`page`]: headings, links and fenced blocks of one file.
//! - [`block`]: what a fenced block says about where and how it runs, and its commands.
//! - [`runner`]: runs the steps of a page and compares.
//! - [`stage`]: the machines that it runs them on.
//! - [`guide`]: the commands of the existing project's guide, and what they do there.
//! - [`links`]: links within the book, and to files of the repository.
//! - [`keys`]: the keys that a configuration type reads, asked of its own deserializer.
//! - [`sources`]: what is only found in the source text: variables, annotations, messages.
//! - [`messages`]: the pages that explain each message, compared with the source.
//! - [`reference`]: the pages that are compared with all this.

pub mod block;
pub mod guide;
pub mod keys;
pub mod links;
pub mod messages;
pub mod page;
pub mod reference;
pub mod runner;
pub mod sources;
pub mod stage;

use std::fs;
use std::path::{Path, PathBuf};

use interlink_testkit::binaries;

pub use block::{Block, Step};
pub use page::Page;

/// All pages that the summary names, in its order.
#[derive(Debug, Clone)]
pub struct Book {
    /// `docs/src`.
    pub folder: PathBuf,
    /// The pages, the summary first.
    pub pages: Vec<Page>,
}

impl Book {
    /// Reads the book of this workspace.
    ///
    /// # Errors
    /// The file that can't be read, and why.
    pub fn read() -> Result<Self, String> {
        let folder = binaries::workspace().join("docs/src");
        let summary = read_page(&folder, "SUMMARY.md")?;
        let named: Vec<String> = summary.links.iter().map(|link| link.target.clone()).collect();
        let mut pages = vec![summary];
        for name in named {
            pages.push(read_page(&folder, &name)?);
        }
        Ok(Self { folder, pages })
    }

    /// The page of that file name, relative to `docs/src`.
    ///
    /// # Errors
    /// When the summary names no such page.
    pub fn page(&self, name: &str) -> Result<&Page, String> {
        self.pages.iter().find(|page| page.name == name).ok_or_else(|| format!("SUMMARY.md names no page {name}"))
    }
}

fn read_page(folder: &Path, name: &str) -> Result<Page, String> {
    let path = folder.join(name);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Page::parse(name, &text))
}
