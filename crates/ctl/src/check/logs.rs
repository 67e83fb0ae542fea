//! The log files of the programs: whether each still writes to the file that it was told to, or to one that was rotated
//! away without a word to it.

use std::path::{Path, PathBuf};

use super::modes;
use super::step::{Id, Step};

/// A program's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Its hop.
    pub hop: &'static str,
    /// Its process.
    pub pid: u32,
    /// Where it was told to write.
    pub named: PathBuf,
    /// The files that it has open, by the names that they have now.
    pub open: Vec<PathBuf>,
}

/// Asks the kernel; `None` for a program that logs elsewhere, or whose files this user may not see.
#[must_use]
pub fn of(hop: &'static str, pid: u32) -> Option<Log> {
    let proc = Path::new("/proc").join(pid.to_string());
    let args = std::fs::read(proc.join("cmdline")).ok()?;
    let args: Vec<String> = args.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let named = PathBuf::from(modes::flag(&args, "-logfile")?);
    let files = std::fs::read_dir(proc.join("fd")).ok()?;
    let open = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).collect();
    Some(Log { hop, pid, named, open })
}

/// Judges them; nothing where none has a file of its own.
#[must_use]
pub fn judge(logs: &[Log]) -> Vec<Step> {
    let mut steps: Vec<Step> = logs.iter().filter_map(|log| Some(strayed(log, &elsewhere(log)?))).collect();
    if steps.is_empty() && !logs.is_empty() {
        let named: Vec<String> = logs.iter().map(|log| log.named.display().to_string()).collect();
        steps.push(Step::good(Id::Logs, "chain", format!("written to {}", named.join(", "))));
    }
    steps
}

/// What it writes to instead: a file of that name with something behind it, as rotation leaves it.
fn elsewhere(log: &Log) -> Option<PathBuf> {
    if !log.named.is_absolute() || log.open.contains(&log.named) {
        return None;
    }
    let name = log.named.to_string_lossy();
    let rotated = |file: &&PathBuf| file.to_string_lossy().strip_prefix(&*name).is_some_and(|rest| !rest.is_empty());
    log.open.iter().find(rotated).cloned()
}

fn strayed(log: &Log, to: &Path) -> Step {
    Step::warned(
        Id::Logs,
        log.hop,
        format!(
            "the process {} was told to log to {}, but writes to {}: the file was rotated away and nobody said so",
            log.pid,
            log.named.display(),
            to.display()
        ),
        format!("run kill -HUP {}, and have logrotate do so in postrotate, as deploy/logrotate does", log.pid),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::Verdict;

    #[test]
    fn a_program_that_writes_to_a_rotated_file_is_named() {
        let log = |open: &[&str]| Log {
            hop: "tunnel",
            pid: 7,
            named: "/o/t.log".into(),
            open: open.iter().map(PathBuf::from).collect(),
        };
        for (open, stray) in [
            (&["/dev/null", "/o/t.log"][..], None),
            (&["/o/t.log.1"], Some("/o/t.log.1")),
            (&["socket:[1]", "/o/t.log (deleted)"], Some("/o/t.log (deleted)")),
            (&["/o/other.log"], None),
            (&["/o/t.log.1", "/o/t.log"], None),
        ] {
            let steps = judge(&[log(open)]);
            match (&steps[0].verdict, stray) {
                (Verdict::Good(seen), None) => assert!(seen.contains("/o/t.log"), "{seen}"),
                (Verdict::Warned(fault), Some(stray)) => {
                    assert!(fault.cause.contains(&format!("but writes to {stray}: the file was rotated away")));
                    assert!(fault.remedy.contains("kill -HUP 7") && fault.remedy.contains("postrotate"), "{fault:?}");
                }
                other => panic!("{open:?}: {other:?}"),
            }
        }
        assert!(judge(&[]).is_empty());
    }

    #[test]
    fn a_process_without_such_a_flag_has_no_log_of_its_own() {
        assert_eq!(of("api", std::process::id()), None);
    }
}
