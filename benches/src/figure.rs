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
    /// The ratio to reach.
    #[serde(skip)]
    pub(crate) goal: f64,
    /// Which side of the goal is the good one.
    #[serde(skip)]
    pub(crate) better: Better,
}

/// Which direction is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// Rates: a ratio of the goal or more.
    Higher,
    /// Times, memory, CPU: a ratio of the goal or less.
    Lower,
}

impl Figure {
    /// The medians of alternating rounds, each with ours and the peer's; the goal is to be as good.
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
        Self { name, unit, ours, peer, peer_name, ratio, goal: 1.0, better }
    }

    /// With another goal than to be as good.
    pub(crate) fn goal(self, goal: f64) -> Self {
        Self { goal, ..self }
    }

    /// How ours compares.
    pub(crate) fn verdict(&self) -> Verdict {
        let Summary { median, low, high } = self.ratio;
        let good = |ratio| match self.better {
            Better::Higher => ratio >= self.goal,
            Better::Lower => ratio <= self.goal,
        };
        match (good(median), good(low) || good(high)) {
            (true, _) => Verdict::AtLeastAsGood,
            (false, true) => Verdict::WithinTheNoise,
            (false, false) => Verdict::Worse,
        }
    }
}

/// What a ratio and its spread say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The median is on the good side.
    AtLeastAsGood,
    /// The median is not, but a quarter of the rounds or more is.
    WithinTheNoise,
    /// Neither.
    Worse,
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
        assert_eq!(time.verdict(), Verdict::AtLeastAsGood);
    }

    #[test]
    fn a_figure_is_worse_only_when_most_rounds_say_so() {
        for (better, rounds, expected) in [
            (Better::Lower, [0.8, 0.9, 3.0], Verdict::AtLeastAsGood),
            (Better::Lower, [0.5, 1.1, 3.0], Verdict::WithinTheNoise),
            (Better::Lower, [1.1, 1.1, 3.0], Verdict::Worse),
            (Better::Higher, [0.8, 1.0, 1.1], Verdict::AtLeastAsGood),
            (Better::Higher, [0.5, 0.9, 1.3], Verdict::WithinTheNoise),
            (Better::Higher, [0.5, 0.9, 0.9], Verdict::Worse),
        ] {
            let figure = Figure::of_rounds("f", "s", better, "peer", &rounds.map(|ours| (ours, 1.0)));
            assert_eq!(figure.verdict(), expected, "{better:?} {rounds:?}");
        }
    }

    #[test]
    fn a_goal_may_be_another_one_than_to_be_as_good() {
        let figure = Figure::of_rounds("f", "MB/s", Better::Higher, "peer", &[(1.2, 1.0)]);
        assert_eq!(figure.clone().goal(1.3).verdict(), Verdict::Worse);
        assert_eq!(figure.goal(0.9).verdict(), Verdict::AtLeastAsGood);
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
