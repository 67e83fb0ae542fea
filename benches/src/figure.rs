//! What a benchmark finds out.

use serde::{Serialize, Serializer};

use crate::samples::Summary;

/// One quantity, ours beside the peer's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// Its name (`tunnel.rtt_p50`).
    pub(crate) name: &'static str,
    /// Of both values: `µs`, `pods/s`, `MB`, `%` of a core.
    pub(crate) unit: &'static str,
    /// Ours.
    #[serde(serialize_with = "median")]
    pub(crate) ours: Summary,
    /// The peer's.
    #[serde(serialize_with = "median")]
    pub(crate) peer: Summary,
    /// Who the peer is.
    pub(crate) peer_name: &'static str,
    /// Ours divided by the peer's, round by round: what disturbs a round disturbs both, so this is steadier than the
    /// ratio of the medians.
    #[serde(serialize_with = "median")]
    pub(crate) ratio: Summary,
    /// Which ratio is a good one.
    #[serde(skip)]
    pub(crate) better: Better,
}

/// Which direction is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// Rates: a ratio of 1 or more.
    Higher,
    /// Times, memory, CPU: a ratio of 1 or less.
    Lower,
}

impl Figure {
    /// The medians of alternating rounds, each with ours and the peer's.
    pub(crate) fn of_rounds(
        name: &'static str,
        unit: &'static str,
        better: Better,
        peer_name: &'static str,
        rounds: &[(f64, f64)],
    ) -> Self {
        let ours = Summary::of(rounds.iter().map(|(ours, _)| *ours));
        let peer = Summary::of(rounds.iter().map(|(_, peer)| *peer));
        let ratio = Summary::of(rounds.iter().map(|(ours, peer)| ours / peer));
        Self { name, unit, ours, peer, peer_name, ratio, better }
    }

    /// Whether ours is at least as good.
    pub(crate) fn is_won(&self) -> bool {
        match self.better {
            Better::Higher => self.ratio.median >= 1.0,
            Better::Lower => self.ratio.median <= 1.0,
        }
    }
}

fn median<S: Serializer>(summary: &Summary, serializer: S) -> Result<S::Ok, S::Error> {
    summary.median.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_ours_divided_by_the_peers_and_its_direction_is_the_figures() {
        let rounds = [(8.0, 10.0), (9.0, 12.0), (100.0, 11.0)];
        let time = Figure::of_rounds("t", "µs", Better::Lower, "peer", &rounds);
        assert_eq!((time.ours.median, time.peer.median, time.ratio.median), (9.0, 11.0, 0.8));
        assert!(time.is_won());
        assert!(!Figure::of_rounds("r", "pods/s", Better::Higher, "peer", &rounds).is_won());
    }

    #[test]
    fn json_has_the_agreed_keys_and_nothing_else() {
        let figure = Figure::of_rounds("submit.rate", "pods/s", Better::Higher, "sbatch loop", &[(6.0, 4.0)]);
        assert_eq!(
            serde_json::to_value(figure).unwrap(),
            serde_json::json!({
                "name": "submit.rate", "unit": "pods/s", "ours": 6.0, "peer": 4.0, "peer_name": "sbatch loop", "ratio": 1.5
            })
        );
    }
}
