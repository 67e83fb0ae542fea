//! What became of a submission, as files beside the intent.

use std::fs::{File, TryLockError};
use std::io;

use interlink_supervisor::{durable, layout};
use interlink_wire::{JobId, PodUid};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::JobDir;
use crate::scheduler::JobRecord;

const JOB: &str = "JobID.jid";
const UID: &str = "PodUID.uid";
const NAMESPACE: &str = "PodNamespace.ns";
const REFUSED: &str = "refused.json";
const VERDICT: &str = "verdict.json";
const LOST: &str = "lost.json";
const SUBMIT_LOCK: &str = "submit.lock";

/// The scheduler's definite refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its own words.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// How the scheduler says that the job ended, where the supervisor has not said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The scheduler's record.
    pub record: JobRecord,
    /// The last line that the job wrote outside of its containers.
    #[serde(default)]
    pub last_words: String,
    /// When it was decided.
    pub at: Timestamp,
}

/// Notes the job id, in the existing plugin's three files.
///
/// # Errors
/// Whatever the file system says.
pub fn store_job(dir: &JobDir, namespace: &str, uid: &PodUid, job: &JobId) -> io::Result<()> {
    durable::place(&dir.join(NAMESPACE), namespace.as_bytes())?;
    durable::place(&dir.join(UID), uid.as_str().as_bytes())?;
    durable::replace(&dir.join(JOB), job.as_str().as_bytes())
}

/// The job that runs the pod: the one that claimed the directory, else the one that we submitted.
#[must_use]
pub fn load_job(dir: &JobDir) -> Option<JobId> {
    // The claim is another machine's to make.
    let read = |name: &str| {
        let text = durable::read(&dir.join(name)).ok()??;
        JobId::parse(std::str::from_utf8(&text).ok()?.trim()).ok()
    };
    read(layout::CLAIM).or_else(|| read(JOB))
}

impl Refused {
    /// Notes it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn store(&self, dir: &JobDir) -> io::Result<()> {
        store_json(dir, REFUSED, self)
    }

    /// Reads it; `None` when the submission was not refused.
    #[must_use]
    pub fn load(dir: &JobDir) -> Option<Self> {
        load_json(dir, REFUSED)
    }
}

impl Verdict {
    /// Notes it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn store(&self, dir: &JobDir) -> io::Result<()> {
        store_json(dir, VERDICT, self)
    }

    /// Reads it; `None` when there is none.
    #[must_use]
    pub fn load(dir: &JobDir) -> Option<Self> {
        load_json(dir, VERDICT)
    }
}

/// A job that the scheduler lost before it ran anything: the pod is submitted once more, and not a third time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lost {
    job: String,
    at: Timestamp,
}

/// Gives up a job that the scheduler lost; false where that may not be: something of the pod may have run, or it was
/// done before. When a late job of the two does start, the claim lets one of them run.
///
/// # Errors
/// Whatever the file system says; then nothing is changed that matters.
pub fn give_up_lost(dir: &JobDir, job: &JobId) -> io::Result<bool> {
    for file in [LOST, layout::CLAIM, layout::STATE] {
        if durable::read(&dir.join(file))?.is_some() {
            return Ok(false);
        }
    }
    store_json(dir, LOST, &Lost { job: job.to_string(), at: Timestamp::now() })?;
    match std::fs::remove_file(dir.join(JOB)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

fn store_json(dir: &JobDir, name: &str, value: &impl Serialize) -> io::Result<()> {
    durable::replace(&dir.join(name), &serde_json::to_vec(value).map_err(io::Error::other)?)
}

fn load_json<T: serde::de::DeserializeOwned>(dir: &JobDir, name: &str) -> Option<T> {
    serde_json::from_slice(&std::fs::read(dir.join(name)).ok()?).ok()
}

/// Whether a submission may have been tried: the lock file is made just before.
#[must_use]
pub fn was_attempted(dir: &JobDir) -> bool {
    dir.join(SUBMIT_LOCK).exists()
}

/// The lock that whoever submits this pod holds.
///
/// The submitting command inherits it as its standard input, so it is held for as long as that command or anything
/// that it started may still submit, whatever happens to us.
#[derive(Debug)]
pub struct SubmitLock(File);

impl SubmitLock {
    /// Takes the lock; `None` while another holds it.
    ///
    /// # Errors
    /// Whatever the file system says. One that has no locks is warned about and taken as free.
    pub fn try_take(dir: &JobDir) -> io::Result<Option<Self>> {
        let path = dir.join(SUBMIT_LOCK);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                tracing::warn!(path = %path.display(), err = %error, "the file system has no locks; a submission after a crash relies on the claim alone");
                Ok(Some(Self(file)))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The descriptor for the submitting command.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn for_child(&self) -> io::Result<File> {
        self.0.try_clone()
    }
}

/// Whether a lock failed because the file system has none (Lustre without `-o flock`, some FUSE).
#[must_use]
pub fn has_no_locks(error: &io::Error) -> bool {
    use nix::libc::{ENOLCK, ENOSYS, EOPNOTSUPP};
    error.raw_os_error().is_some_and(|code| [ENOLCK, ENOSYS, EOPNOTSUPP].contains(&code))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn pod_dir() -> (tempfile::TempDir, JobDir, PodUid) {
        let dir = tempfile::tempdir().unwrap();
        let uid = PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap();
        let pod = JobDir::of(dir.path(), "ns", &uid);
        std::fs::create_dir(pod.path()).unwrap();
        (dir, pod, uid)
    }

    #[test]
    fn the_lock_lasts_as_long_as_the_command_that_inherited_it() {
        let (_dir, pod, _) = pod_dir();
        assert!(!was_attempted(&pod));
        let lock = SubmitLock::try_take(&pod).unwrap().unwrap();
        assert!(was_attempted(&pod));
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::from(lock.for_child().unwrap())).spawn().unwrap();
        drop(lock);
        assert!(SubmitLock::try_take(&pod).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(SubmitLock::try_take(&pod).unwrap().is_some());
    }

    #[test]
    fn a_lost_job_is_given_up_once_and_only_if_nothing_ran() {
        let job = JobId::parse("7").unwrap();
        for (file, expected) in [("other", true), (layout::CLAIM, false), (layout::STATE, false)] {
            let (_dir, pod, uid) = pod_dir();
            store_job(&pod, "ns", &uid, &job).unwrap();
            std::fs::write(pod.join(file), "8").unwrap();
            assert_eq!(give_up_lost(&pod, &job).unwrap(), expected, "{file}");
            assert_eq!(pod.join(JOB).exists(), !expected, "{file}");
            assert!(!give_up_lost(&pod, &job).unwrap(), "{file}");
        }
    }

    #[test]
    fn the_job_that_claimed_the_directory_counts() {
        let (_dir, pod, uid) = pod_dir();
        assert_eq!(load_job(&pod), None);
        store_job(&pod, "ns", &uid, &JobId::parse("7").unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(pod.join("PodUID.uid")).unwrap(), uid.as_str());
        assert_eq!(load_job(&pod).unwrap().as_str(), "7");
        std::fs::write(pod.join(layout::CLAIM), "8\n").unwrap();
        assert_eq!(load_job(&pod).unwrap().as_str(), "8");
    }
}
