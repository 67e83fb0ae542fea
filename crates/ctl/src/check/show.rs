//! The report: for people, the root causes first and then every step; for programs, JSON.

use std::fmt::Write as _;

use serde_json::Value;

use super::step::{Step, Verdict};

/// Width of the column with hops.
const HOP: usize = 15;
/// Width of the column with steps.
const NAME: usize = 15;

/// The steps as a list.
#[must_use]
pub fn json(steps: &[Step]) -> String {
    let list: Vec<Value> = steps.iter().map(Step::json).collect();
    format!("{:#}\n", Value::Array(list))
}

/// The steps for people, with colours where `colours`.
#[must_use]
pub fn text(steps: &[Step], colours: bool) -> String {
    let paint = |code: &str, text: &str| if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut out = String::new();
    // Writing to a String can't fail.
    for step in steps.iter().filter(|step| step.is_root_cause()) {
        if let Some(fault) = step.fault() {
            let _ = writeln!(out, "{} {}: {}", paint("31", "✗"), step.hop, fault.cause);
            let _ = writeln!(out, "  remedy: {}", fault.remedy);
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    for step in steps {
        let (mark, words, remedy) = match &step.verdict {
            Verdict::Good(seen) => (paint("32", "✓"), seen.as_str(), None),
            Verdict::Skipped(why) => (paint("2", "-"), why.as_str(), None),
            Verdict::Warned(fault) => (paint("33", "!"), fault.cause.as_str(), Some(&fault.remedy)),
            Verdict::Failed(fault) => (paint("31", "✗"), fault.cause.as_str(), Some(&fault.remedy)),
        };
        let latency = step.latency.map(|took| format!(" ({:.1} ms)", took.as_secs_f64() * 1000.0)).unwrap_or_default();
        let _ = writeln!(out, "  {mark} {:<HOP$} {:<NAME$} {words}{latency}", step.hop, step.id.name());
        let indent = " ".repeat(HOP + NAME + 6);
        match (step.follows, remedy) {
            (Some(root), _) => {
                let root = steps.iter().find(|other| other.id == root);
                let named = root.map(|root| format!("{} {}", root.hop, root.id.name())).unwrap_or_default();
                let _ = writeln!(out, "{indent}a consequence of: {named}");
            }
            (None, Some(remedy)) => {
                let _ = writeln!(out, "{indent}remedy: {remedy}");
            }
            (None, None) => {}
        }
    }
    let failed = steps.iter().filter(|step| step.fault().is_some()).count();
    let roots = steps.iter().filter(|step| step.is_root_cause()).count();
    let _ = match (roots, failed - roots) {
        (0, _) => writeln!(out, "every hop works"),
        (1, 0) => writeln!(out, "1 fault"),
        (roots, 0) => writeln!(out, "{roots} faults"),
        (1, more) => writeln!(out, "1 fault, with {more} of its consequences"),
        (roots, more) => writeln!(out, "{roots} faults, with {more} of their consequences"),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::{Id, mark_consequences};

    #[test]
    fn the_root_cause_comes_first_and_consequences_say_that_they_are() {
        let mut steps = vec![
            Step::good(Id::ApiProcess, "api", "runs").took(Some(std::time::Duration::from_millis(2))),
            Step::failed(Id::Link, "tunnel", "login:22 can't be connected to", "start sshd"),
            Step::failed(Id::Ping, "api", "the tunnel is down", "start it"),
        ];
        mark_consequences(&mut steps);
        let shown = text(&steps, false);
        assert!(shown.starts_with("✗ tunnel: login:22 can't be connected to\n  remedy: start sshd\n\n"), "{shown}");
        assert!(shown.contains("✓ api             process         runs (2.0 ms)"), "{shown}");
        assert!(shown.contains("a consequence of: tunnel ssh connection"), "{shown}");
        assert!(shown.ends_with("1 fault, with 1 of its consequences\n"), "{shown}");
        assert!(!shown.contains("start it"), "the remedy is the root cause's");
        assert_eq!(serde_json::from_str::<Vec<Value>>(&json(&steps)).unwrap().len(), 3);
    }
}
