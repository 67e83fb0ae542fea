//! Exit codes: as files (`run-<ctr>.status`) and of the supervisor itself.

use std::io;
use std::path::Path;

use crate::layout::Kind;

/// The directory is claimed by another job; nothing was run. (`EX_TEMPFAIL` of sysexits.h)
pub const CLAIMED_BY_ANOTHER_JOB: u8 = 75;
/// The pod was deleted before the job started; nothing was run. (`EX_NOPERM` of sysexits.h)
pub const DELETED_BEFORE_START: u8 = 77;
/// The launch description cannot be used. (`EX_CONFIG` of sysexits.h)
pub const BAD_LAUNCH: u8 = 78;
/// The pod directory cannot be written; nothing was run. (`EX_IOERR` of sysexits.h)
pub const CANNOT_WRITE: u8 = 74;

/// Writes a container's exit code and a newline.
///
/// # Errors
/// Whatever the file system says.
pub fn store(pod_dir: &Path, kind: Kind, container: &str, code: i32) -> io::Result<()> {
    crate::durable::replace(&pod_dir.join(kind.status(container)), format!("{code}\n").as_bytes())
}

/// A container's exit code; `None` when there is no file or no number in it.
#[must_use]
pub fn load(pod_dir: &Path, kind: Kind, container: &str) -> Option<i32> {
    std::fs::read_to_string(pod_dir.join(kind.status(container))).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_number_and_a_newline() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path(), Kind::Main, "c"), None);
        store(dir.path(), Kind::Main, "c", 143).unwrap();
        assert_eq!(std::fs::read(dir.path().join("run-c.status")).unwrap(), b"143\n");
        assert_eq!(load(dir.path(), Kind::Main, "c"), Some(143));
        assert_eq!(load(dir.path(), Kind::Init, "c"), None);
    }
}
