//! The report as metrics for the textfile collector of Prometheus' node_exporter.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;

use super::step::{Step, Verdict};

/// The steps as text in Prometheus' exposition format. Several steps of a hop and name are one: all of them must be well.
#[must_use]
pub fn render(steps: &[Step], now: Timestamp) -> String {
    let mut well: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    let mut latency: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for step in steps.iter().filter(|step| !matches!(step.verdict, Verdict::Skipped(_))) {
        let key = (step.id.name(), step.hop.as_str());
        *well.entry(key).or_insert(true) &= step.fault().is_none();
        if let Some(took) = step.latency {
            latency.insert(key, took.as_secs_f64());
        }
    }
    let faults = steps.iter().filter(|step| step.is_root_cause()).count();
    let warnings = steps.iter().filter(|step| matches!(step.verdict, Verdict::Warned(_))).count();
    let mut out = String::new();
    let mut family = |name: &str, help: &str, samples: &[(String, String)]| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let labels = |(step, hop): &(&str, &str)| format!("{{step=\"{}\",hop=\"{}\"}}", escaped(step), escaped(hop));
    let one = |value: String| [(String::new(), value)];
    family("interlink_check_success", "Whether every hop works.", &one(u8::from(faults == 0).to_string()));
    family("interlink_check_faults", "Faults that nothing else explains.", &one(faults.to_string()));
    family("interlink_check_warnings", "What works, but somebody should know.", &one(warnings.to_string()));
    let seconds = now.as_millisecond() as f64 / 1000.0;
    family("interlink_check_timestamp_seconds", "When it was looked.", &one(format!("{seconds:.3}")));
    let samples: Vec<_> = well.iter().map(|(key, well)| (labels(key), u8::from(*well).to_string())).collect();
    family("interlink_check_step_success", "Whether a step of the walk along the chain is well.", &samples);
    let samples: Vec<_> = latency.iter().map(|(key, took)| (labels(key), format!("{took:.6}"))).collect();
    family("interlink_check_step_duration_seconds", "How long its answer took.", &samples);
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes `text` so that a reader sees the old file or the new one, never a part. The collector's user may read it.
///
/// # Errors
/// The system's.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // The collector reads only names that end in .prom.
    let unfinished = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    // Of a run with this number that was killed; and nothing that somebody put there leads elsewhere.
    let _ = std::fs::remove_file(&unfinished);
    let written = File::create_new(&unfinished).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()
    });
    let moved = written.and_then(|()| std::fs::rename(&unfinished, path));
    if moved.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::Id;
    use std::time::Duration;

    #[test]
    fn every_step_that_was_looked_at_is_a_sample() {
        let steps = [
            Step::good(Id::Ping, "api", "answers").took(Some(Duration::from_millis(2))),
            Step::good(Id::Agreement, "api", "fits"),
            Step::failed(Id::Agreement, "api", "c", "r"),
            Step::warned(Id::Rights, "kubernetes", "c", "r"),
            Step::skipped(Id::Cluster, "kubernetes", "none"),
            Step::good(Id::Scheduler, "a \"b\"\\", "up"),
        ];
        let text = render(&steps, Timestamp::from_millisecond(1_500).unwrap());
        for line in [
            "# TYPE interlink_check_success gauge",
            "interlink_check_success 0",
            "interlink_check_faults 1",
            "interlink_check_warnings 1",
            "interlink_check_timestamp_seconds 1.500",
            "interlink_check_step_success{step=\"agreement\",hop=\"api\"} 0",
            "interlink_check_step_success{step=\"rights\",hop=\"kubernetes\"} 1",
            "interlink_check_step_success{step=\"scheduler\",hop=\"a \\\"b\\\"\\\\\"} 1",
            "interlink_check_step_duration_seconds{step=\"chain ping\",hop=\"api\"} 0.002000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("api server"));
    }

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("interlink.prom");
        write(&path, "one\n").unwrap();
        let first = File::open(&path).unwrap();
        write(&path, "two\n").unwrap();
        assert_eq!(io::read_to_string(first).unwrap(), "one\n", "a reader keeps what it has opened");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        let planted = dir.path().join(format!(".interlink.prom.{}", std::process::id()));
        std::os::unix::fs::symlink(dir.path().join("else"), &planted).unwrap();
        write(&path, "three\n").unwrap();
        assert!(!dir.path().join("else").exists(), "a link in its place is not followed");
        std::fs::create_dir(dir.path().join("d.prom")).unwrap();
        assert!(write(&dir.path().join("d.prom"), "x").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing unfinished is left");
    }
}
