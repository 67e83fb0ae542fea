//! More open connections than a shell usually allows.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of this process as far as its owner may.
///
/// # Errors
/// Where the system refuses.
pub(crate) fn allow_many() -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
