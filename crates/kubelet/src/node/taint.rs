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

#[cfg(test)]
mod tests {
    use super::*;

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
