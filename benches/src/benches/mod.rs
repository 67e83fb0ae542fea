//! The benchmarks, one a file.

mod install;
mod submit_rate;
mod tunnel;

use crate::bench::Bench;

/// All of them, in the order in which they run.
pub(crate) const ALL: &[Bench] = &[
    tunnel::rtt::BENCH,
    tunnel::bulk::BENCH,
    tunnel::burst::BENCH,
    tunnel::idle::BENCH,
    tunnel::crowd::BENCH,
    tunnel::wan::BENCH,
    tunnel::recover::BENCH,
    submit_rate::BENCH,
    install::BENCH,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_figure_has_one_benchmark_and_a_prefix_to_ask_for_it() {
        let names: Vec<&str> = ALL.iter().flat_map(|bench| bench.figures).copied().collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert!(names.iter().all(|name| name.contains('.')), "{names:?}");
    }

    #[test]
    fn figures_are_chosen_by_prefix() {
        let chosen = |prefix: &str| -> Vec<&str> {
            ALL.iter().filter(|bench| bench.has(prefix)).map(|bench| bench.figures[0]).collect()
        };
        assert_eq!(chosen("").len(), ALL.len());
        assert!(chosen("tunnel").len() > 1 && chosen("tunnel").iter().all(|name| name.starts_with("tunnel.")));
        assert_eq!(chosen("tunnel.rtt_p99"), ["tunnel.rtt_p50"]);
        assert_eq!(chosen("submit."), ["submit.rate"]);
        assert!(chosen("rate").is_empty());
    }
}
