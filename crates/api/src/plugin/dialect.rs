//! What has been learnt of the plugin: what it announces, and which known deviations it has shown.

use interlink_wire::capability;

/// The plugin's ways. Learnt from its answers; forgotten when it goes away, because another may come back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dialect {
    /// What it announced in its last ping; `None` before the first.
    pub capabilities: Option<Vec<String>>,
    /// It accepts creates only as a list of one (API before 0.5).
    pub list_create: bool,
    /// How it answers a status for several pods.
    pub batches: Batches,
}

/// How a plugin answers a status request for several pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Batches {
    /// Not yet seen.
    #[default]
    Unknown,
    /// For all of them.
    Whole,
    /// Only for the first: the rest must be asked one by one.
    FirstOnly,
}

impl Dialect {
    /// Whether the plugin announced this.
    #[must_use]
    pub fn can(&self, name: &str) -> bool {
        self.capabilities.as_ref().is_some_and(|list| list.iter().any(|had| had == name))
    }

    /// Whether a create may be sent again after it may have arrived.
    #[must_use]
    pub fn may_repeat_create(&self) -> bool {
        self.can(capability::IDEMPOTENT_CREATE)
    }

    /// Learns from a batch of `asked` pods of which `found` were answered. A plugin that answers for two can answer
    /// for all; one that answers for one or none of many leaves it open.
    pub fn learn_batch(&mut self, asked: usize, found: usize) {
        if asked > 1 && found > 1 {
            self.batches = Batches::Whole;
        }
    }

    /// Learns from asking, one by one, for what a batch had left out.
    pub fn learn_singles(&mut self, found: usize) {
        if found > 0 {
            self.batches = Batches::FirstOnly;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_learnt_from_what_is_answered() {
        let cases = [
            ("answers for two", (3, 2), 0, Batches::Whole),
            ("answers for one of many, and for others when asked", (3, 1), 2, Batches::FirstOnly),
            ("answers for one of many, and the others are unknown to it", (3, 1), 0, Batches::Unknown),
            ("one asked, one answered", (1, 1), 0, Batches::Unknown),
        ];
        for (case, (asked, found), singles, expected) in cases {
            let mut dialect = Dialect::default();
            dialect.learn_batch(asked, found);
            dialect.learn_singles(singles);
            assert_eq!(dialect.batches, expected, "{case}");
        }
    }

    #[test]
    fn a_create_is_repeated_only_for_a_plugin_that_announced_it() {
        assert!(!Dialect::default().may_repeat_create());
        let announced = |name: &str| Dialect { capabilities: Some(vec![name.into()]), ..Dialect::default() };
        assert!(announced("idempotentCreate").may_repeat_create());
        assert!(!announced("podList").may_repeat_create());
    }
}
