//! Where the programs under test are.

use std::path::{Path, PathBuf};

/// The root of the workspace that this crate was built in.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The program under test of that name (`"ssh-tunnel"`): from the folder `INTERLINK_BIN`, else from the
/// workspace's `bin/`.
///
/// # Panics
/// When it is not there.
pub fn path(name: &str) -> PathBuf {
    let folder = match std::env::var_os("INTERLINK_BIN") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => workspace().join("bin"),
    };
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `make` first, or point INTERLINK_BIN at the folder with the programs",
        path.display()
    );
    path.canonicalize().expect("a file that exists has a canonical path")
}
