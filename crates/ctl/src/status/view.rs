//! A snapshot as text of a given size, and as JSON. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Snapshot;
use super::chain::{Hop, State};
use super::pods::{Listed, Pod};

/// What is written on.
#[derive(Debug, Clone, Copy)]
pub struct Paper {
    /// Columns, or no limit.
    pub width: Option<usize>,
    /// Lines, or no limit.
    pub height: Option<usize>,
    /// Whether colours can be seen.
    pub colours: bool,
}

impl Paper {
    /// For files, pipes and programs.
    #[must_use]
    pub fn plain() -> Self {
        Self { width: None, height: None, colours: false }
    }
}

/// The snapshot for people.
#[must_use]
pub fn text(snapshot: &Snapshot, paper: Paper) -> String {
    let mut lines = vec![format!("interlink, {:.0}", snapshot.at), String::new()];
    let hops: Vec<[String; 5]> = snapshot.hops.iter().map(|hop| hop_cells(hop, snapshot.at)).collect();
    lines.extend(table(["HOP", "STATE", "SINCE", "LATENCY", "WORD"], &hops));
    lines.push(String::new());
    match &snapshot.pods {
        Listed::Unknown(why) => lines.push(format!("pods are not known: {}", one_line(why))),
        Listed::Pods(pods) if pods.is_empty() => lines.push("no pods".to_owned()),
        Listed::Pods(pods) => {
            let cells: Vec<[String; 6]> = pods.iter().map(|pod| pod_cells(pod, snapshot.at)).collect();
            lines.extend(table(["POD", "PHASE", "JOB", "NODE", "SINCE", "LAST EVENT"], &cells));
        }
    }
    if let Some(height) = paper.height.filter(|height| lines.len() > *height) {
        let hidden = lines.len() - height.saturating_sub(1);
        lines.truncate(height.saturating_sub(1));
        lines.push(format!("… {hidden} more lines; --once shows all"));
    }
    let marks: Vec<Option<&str>> = (0..lines.len()).map(|at| colour(snapshot, at)).collect();
    let mut out = String::new();
    for (line, mark) in lines.iter().zip(marks) {
        let cut: String = match paper.width {
            Some(width) => line.chars().take(width).collect(),
            None => line.clone(),
        };
        // Writing to a String can't fail.
        let _ = match mark.filter(|_| paper.colours) {
            Some(code) => writeln!(out, "\x1b[{code}m{cut}\x1b[0m"),
            None => writeln!(out, "{cut}"),
        };
    }
    out
}

/// Lines of hops that are not well stand out.
fn colour(snapshot: &Snapshot, line: usize) -> Option<&'static str> {
    // A title, a blank line and the table's head come first.
    match snapshot.hops.get(line.checked_sub(3)?)?.state {
        State::Up => None,
        State::Starting => Some("33"),
        State::Down | State::Stopped | State::Silent => Some("31"),
    }
}

fn hop_cells(hop: &Hop, now: Timestamp) -> [String; 5] {
    let latency = hop.latency.map(|took| format!("{:.1} ms", took.as_secs_f64() * 1000.0)).unwrap_or_default();
    [hop.name.clone(), hop.state.word().to_owned(), age(hop.since, now), latency, one_line(&hop.words)]
}

fn pod_cells(pod: &Pod, now: Timestamp) -> [String; 6] {
    let name = format!("{}/{}", pod.namespace, pod.name);
    [name, pod.phase.to_owned(), pod.job.clone(), pod.node.clone(), age(pod.since, now), one_line(&pod.event)]
}

/// Words of other programs: in one line, and without what a terminal would obey.
fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Columns as wide as their widest cell; the last one as it is.
fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.clone().map(|cell| one_line(&cell))).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &[String; N]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(line(&head.map(str::to_owned))).chain(rows.iter().map(line)).collect()
}

/// `12s`, `5m`, `3h20m`, `4d2h`, as kubectl shows ages.
fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else { return String::new() };
    // A compute node's clock may be ahead of ours.
    let seconds = now.duration_since(since).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if minutes < 2 => format!("{seconds}s"),
        () if hours < 2 => format!("{minutes}m"),
        () if days < 2 => format!("{hours}h{}m", minutes % 60),
        () => format!("{days}d{}h", hours % 24),
    }
}

/// The snapshot for programs: `at`, `hops` and `pods`, or `podsUnknown` with the reason.
#[must_use]
pub fn json(snapshot: &Snapshot) -> String {
    let hops = snapshot.hops.iter().map(|hop| {
        let latency = hop.latency.map(|took| (took.as_secs_f64() * 10_000.0).round() / 10.0);
        json!({"hop": hop.name, "state": hop.state.word(), "since": hop.since, "latency_ms": latency, "word": hop.words})
    });
    let mut out = json!({"at": snapshot.at, "hops": hops.collect::<Vec<Value>>()});
    match &snapshot.pods {
        Listed::Pods(pods) => {
            let pods = pods.iter().map(|pod| {
                json!({"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "phase": pod.phase,
                    "job": pod.job, "node": pod.node, "since": pod.since, "lastEvent": pod.event})
            });
            out["pods"] = pods.collect::<Vec<Value>>().into();
        }
        Listed::Unknown(why) => out["podsUnknown"] = why.as_str().into(),
    }
    format!("{out:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn snapshot() -> Snapshot {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let hop = |name: &str, state, words: &str| Hop {
            name: name.into(),
            state,
            since: Some(time("2026-01-01T00:00:00Z")),
            latency: Some(Duration::from_micros(1260)),
            words: words.into(),
        };
        let pod = |name: &str| Pod {
            namespace: "lab".into(),
            name: name.into(),
            uid: format!("u-{name}"),
            phase: "Running",
            job: "12".into(),
            node: "n1".into(),
            since: Some(time("2026-01-01T02:59:50Z")),
            event: "Running\nwith \x1b[2Jtricks".into(),
        };
        Snapshot {
            at: time("2026-01-01T03:00:00Z"),
            hops: vec![hop("api", State::Up, "unix:///r/api.sock"), hop("tunnel", State::Down, "refused; start sshd")],
            pods: Listed::Pods(vec![pod("a"), pod("longer-name")]),
        }
    }

    #[test]
    fn the_chain_and_the_pods_are_two_tables() {
        let expected = "\
interlink, 2026-01-01T03:00:00Z

HOP     STATE  SINCE  LATENCY  WORD
api     up     3h0m   1.3 ms   unix:///r/api.sock
tunnel  down   3h0m   1.3 ms   refused; start sshd

POD              PHASE    JOB  NODE  SINCE  LAST EVENT
lab/a            Running  12   n1    10s    Running with [2Jtricks
lab/longer-name  Running  12   n1    10s    Running with [2Jtricks
";
        assert_eq!(text(&snapshot(), Paper::plain()), expected);
    }

    #[test]
    fn a_small_screen_is_never_overrun() {
        let paper = Paper { width: Some(20), height: Some(7), colours: true };
        let shown = text(&snapshot(), paper);
        assert_eq!(shown.lines().count(), 7);
        assert!(shown.contains("\x1b[31mtunnel  down   3h0m \x1b[0m\n"), "{shown:?}");
        assert!(shown.lines().last().unwrap().starts_with("… 3 more lines"), "{shown}");
        assert!(!shown.contains("[2J"), "what a pod says is not obeyed");
    }

    #[test]
    fn json_has_all_of_it() {
        let value: Value = serde_json::from_str(&json(&snapshot())).unwrap();
        assert_eq!(value["hops"][1]["state"], "down");
        assert_eq!(value["hops"][1]["latency_ms"], 1.3);
        assert_eq!(value["pods"][0]["since"], "2026-01-01T02:59:50Z");
        let unknown = Snapshot { pods: Listed::Unknown("silent".into()), ..snapshot() };
        let value: Value = serde_json::from_str(&json(&unknown)).unwrap();
        assert!(value["podsUnknown"] == "silent" && value.get("pods").is_none());
        assert!(text(&unknown, Paper::plain()).ends_with("pods are not known: silent\n"));
    }
}
