//! How many files and connections this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit to what the system allows. The usual 1024 is for programs with `select`; a server with a connection
/// per client and one behind it runs out at five hundred clients. Not for programs that start others: they inherit it.
pub fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match soft < hard {
        true => setrlimit(Resource::RLIMIT_NOFILE, hard, hard),
        false => Ok(()),
    });
    if let Err(error) = raised {
        tracing::warn!(err = %error, "the limit of open files stays as it is; with many clients some may have to wait");
    }
}
