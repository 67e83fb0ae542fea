//! Mounts whose sources stay where they belong.
//!
//! A container may replace a directory of a volume that it writes to by a symbolic link; the next one that mounts that
//! directory would get whatever the link names, with the rights of the account. Sources are resolved and judged last
//! thing before the container starts, and mounted by what they resolved to.

use std::path::{Path, PathBuf};

use crate::contain::StartFailure;
use crate::launch::Mount;

/// The mounts with their sources resolved, where they have to stay within a directory.
pub(super) fn confined(mounts: Vec<Mount>) -> Result<Vec<Mount>, StartFailure> {
    mounts.into_iter().map(|mount| if mount.within.is_empty() { Ok(mount) } else { one(mount) }).collect()
}

fn one(mount: Mount) -> Result<Mount, StartFailure> {
    let source = real(&mount.source)?;
    // The directory itself may be reached by links of the site's own (/scratch).
    let holds = |directory: &PathBuf| directory.canonicalize().is_ok_and(|directory| source.starts_with(directory));
    if !mount.within.iter().any(holds) {
        return Err(StartFailure::setup(format!(
            "volume mount {:?} is not possible: a symbolic link leads its source {} out of the volume or of the site's \
             HostPaths; mount a directory or file that is inside",
            mount.target,
            mount.source.display()
        )));
    }
    Ok(Mount { source, ..mount })
}

fn real(source: &Path) -> Result<PathBuf, StartFailure> {
    source.canonicalize().map_err(|error| {
        StartFailure::setup(format!("volume source {} cannot be used on the node: {error}", source.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_may_lead_around_inside_and_never_out() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for directory in ["volume/a", "volumes-of-others", "real"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        for (link, to) in [
            ("volume/in", root.join("volume/a")),
            ("volume/out", root.join("volumes-of-others")),
            ("volume/up", "..".into()),
            ("site", root.join("real")),
        ] {
            symlink(to, root.join(link)).unwrap();
        }
        let cases = [
            ("volume/a", "volume", Ok("volume/a")),
            ("volume/in", "volume", Ok("volume/a")),
            ("volume/./a/..", "volume", Ok("volume")),
            ("site", "site", Ok("real")),
            ("volume/out", "volume", Err("symbolic link")),
            ("volume/up", "volume", Err("symbolic link")),
            ("volumes-of-others", "volume", Err("symbolic link")),
            ("volume/none", "volume", Err("cannot be used on the node")),
        ];
        for (source, within, expected) in cases {
            let mount = Mount {
                source: root.join(source),
                target: "/x".into(),
                read_only: true,
                within: vec![root.join("none"), root.join(within)],
            };
            match (confined(vec![mount]), expected) {
                (Ok(found), Ok(to)) => assert_eq!(found[0].source, root.join(to), "{source}"),
                (Err(failure), Err(said)) => assert!(failure.message.contains(said), "{}", failure.message),
                (found, _) => panic!("{source}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_source_without_bounds_is_taken_as_it_is() {
        let mount = Mount { source: "/none/x".into(), target: "/x".into(), read_only: true, within: vec![] };
        assert_eq!(confined(vec![mount.clone()]).unwrap(), [mount]);
    }
}
