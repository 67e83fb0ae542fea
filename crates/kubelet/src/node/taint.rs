//! Taints of the node: which ones are there, and which ones a pod has to tolerate.

use std::fmt;

use interlink_wire::pod::Toleration;
use serde::{Deserialize, Serialize};

/// The taint that every virtual node has, so that only pods that mean it come here.
pub const FIXED_KEY: &str = "virtual-node.interlink/no-schedule";

/// A core/v1 Taint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Taint {
    pub key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    pub effect: String,
}

impl Taint {
    /// The taint that every virtual node has.
    #[must_use]
    pub fn fixed() -> Self {
        Self { key: FIXED_KEY.into(), value: "true".into(), effect: "NoSchedule".into() }
    }

    /// A taint as the API server has it, with its other fields dropped.
    #[must_use]
    pub fn list(node: &serde_json::Value) -> Vec<Self> {
        let taints = node.get("spec").and_then(|s| s.get("taints"));
        taints.and_then(|t| Vec::deserialize(t).ok()).unwrap_or_default()
    }

    /// A taint from its parts; an effect that Kubernetes doesn't know counts as `NoSchedule`, and `false` says so.
    #[must_use]
    pub fn read(key: &str, value: &str, effect: &str) -> (Self, bool) {
        let known = matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute");
        let effect = if known { effect } else { "NoSchedule" };
        (Self { key: key.into(), value: value.into(), effect: effect.into() }, known)
    }

    /// Whether one of `tolerations` lets a pod pass.
    /// Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>.
    #[must_use]
    pub fn is_tolerated(&self, tolerations: &[Toleration]) -> bool {
        tolerations.iter().any(|t| {
            let effect = t.effect.is_empty() || t.effect == self.effect;
            let key = t.key == self.key || (t.key.is_empty() && t.operator == "Exists");
            let value = t.operator == "Exists" || t.value == self.value;
            effect && key && value
        })
    }

    /// Whether it keeps pods from being bound to the node.
    #[must_use]
    pub fn keeps_out(&self) -> bool {
        self.effect != "PreferNoSchedule"
    }
}

impl fmt::Display for Taint {
    /// As kubectl writes it: `key=value:effect`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.as_str() {
            "" => write!(f, "{}:{}", self.key, self.effect),
            value => write!(f, "{}={value}:{}", self.key, self.effect),
        }
    }
}

/// The taints that a node which has `current` is to have: ours as `wanted`, without what was ours before (`key:effect`
/// each), and everybody else's as they are. `None` if nothing is to change.
#[must_use]
pub fn merged(current: &[Taint], ours_before: &[&str], wanted: &[Taint]) -> Option<Vec<Taint>> {
    let same_place = |a: &Taint, b: &Taint| a.key == b.key && a.effect == b.effect;
    let is_ours = |t: &Taint| ours_before.contains(&format!("{}:{}", t.key, t.effect).as_str());
    let mut taints: Vec<Taint> = current
        .iter()
        .filter_map(|t| match wanted.iter().find(|w| same_place(w, t)) {
            Some(wanted) => Some(wanted.clone()),
            None if is_ours(t) => None,
            None => Some(t.clone()),
        })
        .collect();
    for taint in wanted {
        if !taints.iter().any(|t| same_place(t, taint)) {
            taints.push(taint.clone());
        }
    }
    (taints != current).then_some(taints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_taints_are_touched() {
        let taint = |key: &str, value: &str| Taint::read(key, value, "NoSchedule").0;
        let foreign = taint("node.kubernetes.io/network-unavailable", "");
        let current = vec![foreign.clone(), Taint::fixed(), taint("old", ""), taint("mine", "1")];
        let before = ["old:NoSchedule", "mine:NoSchedule"];
        let wanted = [Taint::fixed(), taint("mine", "2"), taint("new", "")];
        let expected = vec![foreign, Taint::fixed(), taint("mine", "2"), taint("new", "")];
        assert_eq!(merged(&current, &before, &wanted), Some(expected.clone()));
        assert_eq!(merged(&expected, &before, &wanted), None);
        assert_eq!(merged(&[], &[], &wanted).map(|t| t.len()), Some(3));
    }

    #[test]
    fn tolerations_match_as_kubernetes_says() {
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: effect.into(),
        };
        let cases = [
            (toleration(FIXED_KEY, "Exists", "", ""), true),
            (toleration(FIXED_KEY, "Exists", "", "NoSchedule"), true),
            (toleration(FIXED_KEY, "Exists", "", "NoExecute"), false),
            (toleration(FIXED_KEY, "Equal", "true", "NoSchedule"), true),
            (toleration(FIXED_KEY, "", "true", ""), true),
            (toleration(FIXED_KEY, "Equal", "no", ""), false),
            (toleration("", "Exists", "", ""), true),
            (toleration("", "", "", ""), false),
            (toleration("other", "Exists", "", ""), false),
        ];
        for (toleration, passes) in cases {
            assert_eq!(Taint::fixed().is_tolerated(std::slice::from_ref(&toleration)), passes, "{toleration:?}");
        }
        assert!(!Taint::fixed().is_tolerated(&[]));
    }
}
