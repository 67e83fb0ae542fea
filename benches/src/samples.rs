//! Medians and quantiles.

/// What a number of rounds says: the middle, and how far the rounds lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// The median.
    pub(crate) median: f64,
    /// A quarter of the rounds lies below.
    pub(crate) low: f64,
    /// A quarter of the rounds lies above.
    pub(crate) high: f64,
}

impl Summary {
    /// Of at least one value.
    ///
    /// # Panics
    /// Without values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |fraction| quantile(&values, fraction).expect("a benchmark has at least one round");
        Self { median: at(0.5), low: at(0.25), high: at(0.75) }
    }
}

/// The value below which that fraction of the sorted values lies, interpolated; `None` of nothing.
pub(crate) fn quantile(sorted: &[f64], fraction: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[allow(clippy::cast_precision_loss, reason = "sample counts are small")]
    let place = fraction.clamp(0.0, 1.0) * last as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the last index")]
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_neighbours() {
        for (values, fraction, expected) in [
            (vec![], 0.5, None),
            (vec![7.0], 0.99, Some(7.0)),
            (vec![1.0, 2.0], 0.5, Some(1.5)),
            (vec![1.0, 2.0, 30.0], 0.5, Some(2.0)),
            (vec![0.0, 10.0, 20.0, 30.0, 40.0], 0.25, Some(10.0)),
            (vec![0.0, 10.0], 0.99, Some(9.9)),
            (vec![0.0, 10.0], 2.0, Some(10.0)),
        ] {
            assert_eq!(quantile(&values, fraction), expected, "{values:?} {fraction}");
        }
    }

    #[test]
    fn a_summary_needs_no_order_and_shrugs_at_an_outlier() {
        let summary = Summary::of([5.0, 1.0, 900.0, 3.0, 4.0]);
        assert_eq!(summary, Summary { median: 4.0, low: 3.0, high: 5.0 });
    }
}
