//! Where the programs under test are.

use std::path::{Path, PathBuf};

/// The root of the workspace that this crate was built in.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The program under test of that name (`"ssh-tunnel"`): from the folder `INTERLINK_BIN`, else from the
/// workspace's `bin/`.
///
/// # Errors
/// One sentence that says what to do when it is not there.
pub fn find(name: &str) -> Result<PathBuf, String> {
    let folder = match std::env::var_os("INTERLINK_BIN") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => workspace().canonicalize().unwrap_or_else(|_| workspace().to_owned()).join("bin"),
    };
    let path = folder.join(name);
    path.canonicalize().ok().filter(|path| path.is_file()).ok_or_else(|| {
        format!(
            "{} is missing: run `make` first, or point INTERLINK_BIN at the folder with the programs",
            path.display()
        )
    })
}

/// The same where a test can't go on without it.
///
/// # Panics
/// When it is not there.
pub fn path(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|missing| panic!("{missing}"))
}
