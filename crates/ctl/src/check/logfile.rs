//! The report as lines of a log, as the health check of the existing guide writes them.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;

use super::step::{Step, Verdict};

/// The lines of one run: `TIME: OK|WARNING|ERROR - HOP STEP: …`, between a first and a last one.
#[must_use]
pub fn render(steps: &[Step], began: Timestamp, ended: Timestamp) -> String {
    let mut out = format!("{began:.0}: Starting interLink health check\n");
    // Writing to a String can't fail.
    for step in steps {
        let about = format!("{} {}", step.hop, step.id.name());
        let _ = match &step.verdict {
            Verdict::Skipped(_) => Ok(()),
            Verdict::Good(seen) => writeln!(out, "{ended:.0}: OK - {about}: {}", line(seen)),
            Verdict::Warned(f) => {
                writeln!(out, "{ended:.0}: WARNING - {about}: {}; {}", line(&f.cause), line(&f.remedy))
            }
            Verdict::Failed(f) => match step.follows {
                Some(root) => {
                    writeln!(out, "{ended:.0}: ERROR - {about}: {} (a consequence of {})", line(&f.cause), root.name())
                }
                None => writeln!(out, "{ended:.0}: ERROR - {about}: {}; {}", line(&f.cause), line(&f.remedy)),
            },
        };
    }
    let faults = steps.iter().filter(|step| step.is_root_cause()).count();
    let _ = writeln!(out, "{ended:.0}: interLink health check completed, {faults} faults");
    out
}

/// In one line: words of other programs may have several.
fn line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Appends `text` in one piece; a new file is 0640.
///
/// # Errors
/// The system's.
pub fn append(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::{Id, mark_consequences};

    #[test]
    fn a_run_is_lines_with_times() {
        let mut steps = [
            Step::good(Id::ApiProcess, "api", "runs"),
            Step::failed(Id::Link, "tunnel", "refused\n  twice", "start sshd"),
            Step::failed(Id::Ping, "api", "no way", "x"),
            Step::warned(Id::Rights, "kubernetes", "too many", "fewer"),
            Step::skipped(Id::Cluster, "kubernetes", "none"),
        ];
        mark_consequences(&mut steps);
        let text = render(&steps, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix("1970-01-01T00:00:00Z: ").unwrap()).collect();
        assert_eq!(
            lines,
            [
                "Starting interLink health check",
                "OK - api process: runs",
                "ERROR - tunnel ssh connection: refused twice; start sshd",
                "ERROR - api chain ping: no way (a consequence of ssh connection)",
                "WARNING - kubernetes rights: too many; fewer",
                "interLink health check completed, 1 faults",
            ]
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("health-check.log");
        append(&path, &text).unwrap();
        append(&path, &text).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 12);
    }
}
