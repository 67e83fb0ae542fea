//! The table for a person, and the JSON for a program.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::figure::{Better, Figure, Verdict};
use crate::samples::Summary;

/// One line a figure: medians, in brackets the middle half of the rounds, and which direction is better.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut rows = vec![["figure", "unit", "ours", "peer", "", "ours / peer", ""].map(str::to_owned)];
    for figure in figures {
        let better = match figure.better {
            Better::Higher => format!("≥ {} is better", figure.goal),
            Better::Lower => format!("≤ {} is better", figure.goal),
        };
        let verdict = match figure.verdict() {
            Verdict::AtLeastAsGood => "",
            Verdict::WithinTheNoise => ", within the noise",
            Verdict::Worse => ", NOT REACHED",
        };
        rows.push([
            figure.name.to_owned(),
            figure.unit.to_owned(),
            spread(figure.ours),
            spread(figure.peer),
            figure.peer_name.to_owned(),
            spread(figure.ratio),
            format!("{better}{verdict}"),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut table = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        let _ = writeln!(table, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    table.push_str("Medians of the rounds, the ratio's too; in brackets their middle half.\n");
    table
}

/// Writes the list of figures.
///
/// # Errors
/// When the file or its folder cannot be written.
pub(crate) fn write_json(figures: &[Figure], file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut text = serde_json::to_string_pretty(figures)?;
    text.push('\n');
    std::fs::write(file, text)
}

fn spread(rounds: Summary) -> String {
    format!("{} ({}–{})", number(rounds.median), number(rounds.low), number(rounds.high))
}

/// Three digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_which_direction_is_better_and_what_was_not_reached() {
        let figures = [
            Figure::of_rounds("tunnel.rtt_p50", "µs", Better::Lower, "ssh -L", &[(90.0, 100.0), (91.0, 104.0)]),
            Figure::of_rounds("submit.rate", "pods/s", Better::Higher, "sbatch loop", &[(30.0, 40.0)]),
        ];
        let text = table(&figures);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "tunnel.rtt_p50  µs      90.5 (90.2–90.8)  102 (101–103)     ssh -L       0.89 (0.88–0.89)  ≤ 1 is better"
        );
        assert_eq!(
            lines[2],
            "submit.rate     pods/s  30.0 (30.0–30.0)  40.0 (40.0–40.0)  sbatch loop  0.75 (0.75–0.75)  ≥ 1 is better, NOT REACHED"
        );
    }
}
