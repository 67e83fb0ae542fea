//! Labels by Kubernetes' rules, checked here so that a slip is named and not found out by a refused node.
//!
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>.

use std::collections::BTreeMap;

use interlink_daemon::Failure;
use interlink_wire::names::is_dns_subdomain;

use super::file::Labels;

/// The labels of the file and those of accelerator models.
pub(super) fn check(
    given: &Labels,
    models: BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, Failure> {
    for entry in &given.ignored {
        warnings.push(format!("NodeLabels entry {entry:?} has no \"=\" and is ignored"));
    }
    let mut out = BTreeMap::new();
    for (key, model) in models {
        let value = as_value(&model);
        if value != model {
            warnings.push(format!(
                "the accelerator model {model:?} is not a valid label value; the label {key} says {value:?}"
            ));
        }
        out.insert(key, value);
    }
    for (key, value) in &given.labels {
        if !is_key(key) {
            return Err(Failure::config(format!(
                "NodeLabels key {key:?} is not valid: an optional DNS name and \"/\", then at most 63 letters, digits, -, _ and ."
            )));
        }
        if !is_value(value) {
            return Err(Failure::config(format!(
                "NodeLabels value {value:?} of {key} is not valid: at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit"
            )));
        }
        out.insert(key.clone(), value.clone());
    }
    Ok(out)
}

/// Whether `text` can be the key of a label or taint.
pub(super) fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && !name.is_empty() && is_value(name),
        None => !text.is_empty() && is_value(text),
    }
}

/// Whether `text` can be the value of a label or taint; the empty text can.
pub(super) fn is_value(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// The nearest valid value: `Tesla V100 (32GB)` becomes `Tesla-V100--32GB`.
fn as_value(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' }).collect();
    let cut: String = plain.trim_matches(['-', '_', '.']).chars().take(63).collect();
    cut.trim_end_matches(['-', '_', '.']).to_owned()
}
