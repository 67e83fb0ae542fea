//! What Slurm says of a job.

use std::collections::BTreeMap;

/// A job as one line of `scontrol -o show job` or of the job completion file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    fields: BTreeMap<String, String>,
}

impl Job {
    /// Reads one line of `Key=Value` words; a word without `=` belongs to the value before it.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut last = String::new();
        for word in line.split_whitespace() {
            if let Some((key, value)) = word.split_once('=') {
                last = key.to_owned();
                fields.entry(last.clone()).or_insert_with(|| value.to_owned());
            } else if let Some(value) = fields.get_mut(&last) {
                value.push(' ');
                value.push_str(word);
            }
        }
        fields.contains_key("JobId").then_some(Self { fields })
    }

    /// The value of a field by Slurm's name of it (`"WorkDir"`), empty if it has none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Its number.
    pub fn id(&self) -> &str {
        self.field("JobId")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        let name = self.field("JobName");
        if name.is_empty() { self.field("Name") } else { name }
    }

    /// Its state (`PENDING`, `RUNNING`, `COMPLETED`, …).
    pub fn state(&self) -> &str {
        self.field("JobState")
    }

    /// Its exit code and signal (`3:0`).
    pub fn exit_code(&self) -> &str {
        self.field("ExitCode")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_are_read() {
        let shown = "JobId=7 JobName=a b UserId=hpcuser(1000) JobState=RUNNING Reason=None ExitCode=0:0 Comment=k=v";
        let job = Job::parse(shown).expect("a job");
        assert_eq!((job.id(), job.name(), job.state(), job.exit_code()), ("7", "a b", "RUNNING", "0:0"));
        assert_eq!(job.field("Comment"), "k=v");
        let completed = "JobId=8 UserId=hpcuser(1000) GroupId=hpcuser(1000) Name=x JobState=FAILED ExitCode=3:0 ";
        let job = Job::parse(completed).expect("a job");
        assert_eq!((job.id(), job.name(), job.state(), job.exit_code()), ("8", "x", "FAILED", "3:0"));
        assert_eq!(Job::parse("No jobs in the system"), None);
    }
}
