//! What a benchmark is.

use std::pin::Pin;

use crate::figure::Figure;

/// One benchmark: it starts real peers, measures ours and the peer's in alternating rounds, and ends everything.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The figures it gives, by name: what is measured, a dot, the quantity.
    pub(crate) figures: &'static [&'static str],
    /// What is compared with what, in one line.
    pub(crate) about: &'static str,
    /// The programs under test that it needs.
    pub(crate) programs: &'static [&'static str],
    /// Measures.
    pub(crate) run: fn() -> Run,
}

/// A benchmark on its way.
pub(crate) type Run = Pin<Box<dyn Future<Output = anyhow::Result<Vec<Figure>>>>>;

impl Bench {
    /// Whether one of its figures begins so.
    pub(crate) fn has(&self, prefix: &str) -> bool {
        self.figures.iter().any(|name| name.starts_with(prefix))
    }
}
