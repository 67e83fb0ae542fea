//! One job a pod: the file `claim` holds the id of the job that owns the directory.
//!
//! Made by `link()`, which never overwrites and is atomic on NFS too. So a pod that was submitted twice runs once.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use interlink_wire::JobId;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::{durable, layout};

/// Whose directory it is.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Ours, since now or from an earlier life of this job.
    Ours(Held),
    /// Another job's, or a living supervisor's of this very job.
    Foreign(String),
}

/// Keeps other supervisors of the same job away while this one lives.
///
/// The lock goes with the process however it ends. A file system without locks gives none.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: Option<Flock<File>>,
}

/// Claims a pod directory for a job.
pub(crate) fn claim(pod_dir: &Path, job_id: &JobId) -> io::Result<Claim> {
    let path = pod_dir.join(layout::CLAIM);
    let temporary = durable::temporary_beside(&path);
    durable::write_new(&temporary, format!("{job_id}\n").as_bytes(), true)?;
    let linked = fs::hard_link(&temporary, &path);
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => durable::sync_directory(&path)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // NFS may answer a repeated request with "exists" although the first one was ours: only the content counts
    let owner = fs::read_to_string(&path)?.trim().to_owned();
    if owner != job_id.as_str() {
        return Ok(Claim::Foreign(format!("job {owner}")));
    }
    // For writing: NFS gives an exclusive lock to no other (flock(2)).
    let file = File::options().read(true).write(true).open(&path)?;
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Some(lock),
        Err((_, Errno::EWOULDBLOCK)) => {
            return Ok(Claim::Foreign("a supervisor of this job that still runs".to_owned()));
        }
        Err(_) => None,
    };
    Ok(Claim::Ours(Held { _lock: lock }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_job_has_the_directory_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (JobId::parse("1").unwrap(), JobId::parse("12").unwrap());
        let held = claim(dir.path(), &first).unwrap();
        assert!(matches!(held, Claim::Ours(_)));
        assert!(matches!(claim(dir.path(), &second).unwrap(), Claim::Foreign(owner) if owner == "job 1"));
        assert!(matches!(claim(dir.path(), &first).unwrap(), Claim::Foreign(owner) if owner.contains("still runs")));
        drop(held);
        assert!(matches!(claim(dir.path(), &first).unwrap(), Claim::Ours(_)));
        assert!(matches!(claim(dir.path(), &second).unwrap(), Claim::Foreign(_)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(claim(&dir.path().join("gone"), &JobId::parse("1").unwrap()).is_err());
    }
}
