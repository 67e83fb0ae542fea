//! Carries out a plan, forwards or backwards, and says what it does.

use std::io::Write as _;
use std::path::Path;

use super::record::{Record, digest};
use super::step::{Plan, Seen, Site};

/// How much was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Steps that changed something, or would.
    pub changed: usize,
    /// Steps that were as they should be.
    pub same: usize,
}

/// One line for the operator. Nobody reading it is no reason to stop half way.
pub fn say(line: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush());
}

/// Shows what would be done, and does nothing.
///
/// # Errors
/// One sentence: the step, and why it can't be told.
pub async fn show(plan: &Plan, site: &mut Site) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for step in plan {
        let seen = step.look(site).await.map_err(|why| format!("{}: {why}", step.title()))?;
        let (verb, lines) = match seen {
            Seen::AsWanted => {
                tally.same += 1;
                continue;
            }
            Seen::Missing(lines) => ("would make", lines),
            Seen::Differs(lines) => ("would change", lines),
            Seen::Edited(sentence) => ("would leave", vec![sentence]),
        };
        tally.changed += 1;
        say(format!("{verb:<12} {}", step.title()));
        for line in lines {
            say(format!("               {line}"));
        }
        site.changed.extend(step.file());
    }
    Ok(tally)
}

/// Makes everything so. The record is written after each step, so that the next run knows what this one has done.
///
/// # Errors
/// One sentence: the step, why it failed, and how far it came.
pub async fn make(plan: &Plan, site: &mut Site, other: &Record, record: &Path) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (number, step) in plan.iter().enumerate() {
        let title = step.title();
        let failed = |why: String| {
            format!("{title}: {why} ({number} of {} steps are done; run this again and it goes on there)", plan.len())
        };
        let seen = step.look(site).await.map_err(failed)?;
        let verb = match &seen {
            Seen::AsWanted => {
                tally.same += 1;
                adopt(step.file().as_deref(), &title, site, other);
                continue;
            }
            Seen::Missing(_) => "made",
            Seen::Differs(_) => "changed",
            Seen::Edited(_) => "left",
        };
        if matches!(seen, Seen::Missing(_)) && site.record.made.insert(title.clone()) {
            // before it is made, so that what dies in between is not forgotten
            keep(&site.record, record).map_err(failed)?;
        }
        let made = step.make(site).await;
        // also what a step has done before it failed: `uninstall` takes it away
        keep(&site.record, record).map_err(failed)?;
        made.map_err(failed)?;
        tally.changed += 1;
        say(format!("{verb:<9} {title}"));
        if let Seen::Edited(sentence) = seen {
            say(format!("          {sentence}"));
        }
    }
    keep(&site.record, record)?;
    Ok(tally)
}

/// What was there already is ours too if the other role has made it, or if it is exactly what we would have laid down.
fn adopt(file: Option<&Path>, title: &str, site: &mut Site, other: &Record) {
    let ours = site.record.made.contains(title);
    if other.made.contains(title) {
        site.record.made.insert(title.to_owned());
    }
    if let Some(file) = file
        && !ours
        && !site.record.files.contains_key(file)
        && let Ok(bytes) = std::fs::read(file)
    {
        site.record.files.insert(file.to_owned(), digest(&bytes));
    }
}

fn keep(record: &Record, path: &Path) -> Result<(), String> {
    // the first step makes its directory
    if path.parent().is_some_and(Path::is_dir) { record.write(path) } else { Ok(()) }
}

/// Undoes everything, last step first.
///
/// # Errors
/// One sentence: the step and why it failed. What was undone before stays so, and a second run goes on.
pub async fn undo(plan: &Plan, site: &mut Site, record: &Path) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for step in plan.iter().rev() {
        let title = step.title();
        let undone = step.undo(site).await;
        let undone = undone
            .map_err(|why| format!("{title}: {why} (what came before is gone; run this again and it goes on there)"))?;
        if undone {
            tally.changed += 1;
            say(format!("removed   {title}"));
        } else {
            tally.same += 1;
        }
        if record.exists() {
            site.record.write(record)?;
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::super::step::Step;
    use super::super::step::account::Owner;
    use super::super::step::file::File;
    use super::*;

    /// Lays a file down, and then can't go on.
    #[derive(Debug)]
    struct HalfDone(File);

    #[async_trait]
    impl Step for HalfDone {
        fn title(&self) -> String {
            self.0.title()
        }

        async fn look(&self, site: &Site) -> Result<Seen, String> {
            self.0.look(site).await
        }

        async fn make(&self, site: &mut Site) -> Result<(), String> {
            self.0.make(site).await?;
            Err("no further".into())
        }

        async fn undo(&self, site: &mut Site) -> Result<bool, String> {
            self.0.undo(site).await
        }
    }

    #[tokio::test]
    async fn what_a_step_did_before_it_failed_is_on_record_and_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let (path, record) = (dir.path().join("unit"), dir.path().join("installed.json"));
        let plan: Plan = vec![Box::new(HalfDone(File::text(&path, "words", 0o600, Owner::Us)))];
        let failed = make(&plan, &mut Site::default(), &Record::default(), &record).await;
        assert!(failed.unwrap_err().contains("no further") && path.exists());
        let on_record = Record::read(&record).unwrap().unwrap();
        assert!(on_record.files.contains_key(&path), "{on_record:?}");
        let mut site = Site { record: on_record, ..Site::default() };
        undo(&plan, &mut site, &record).await.unwrap();
        assert!(!path.exists());
    }

    /// The process died between the file and its note.
    #[tokio::test]
    async fn a_file_that_its_run_had_only_begun_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let (path, record) = (dir.path().join("unit"), dir.path().join("installed.json"));
        std::fs::write(&path, "words").unwrap();
        let file = File::text(&path, "words", 0o600, Owner::Us);
        let mut site = Site::default();
        assert!(!file.undo(&mut site).await.unwrap(), "nobody says that it is ours");
        site.record.made.insert(file.title());
        undo(&vec![Box::new(file)], &mut site, &record).await.unwrap();
        assert!(!path.exists());
    }
}
