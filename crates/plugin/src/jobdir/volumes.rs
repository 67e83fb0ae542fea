//! A pod's volumes as files below its directory, each in a directory of its own.
//!
//! Laid out before the job is submitted, so no container sees a half of it. Doing it again after a crash gives the
//! same: files are written afresh, an emptyDir stays what it is.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::pod::volumes::{PlannedFile, Source, VolumePlan};

/// Lays out the volumes below `root`; `empty_parts` are the subPaths of emptyDirs, as volume and path.
///
/// # Errors
/// Whatever the file system says, with the volume's name.
pub fn lay_out(root: &Path, volumes: &[VolumePlan], empty_parts: &[(&str, &str)]) -> io::Result<()> {
    for volume in volumes {
        let dir = root.join(&volume.name);
        let done = match &volume.source {
            Source::Files(files) => write_files(&dir, files),
            Source::Empty => make(&dir).and_then(|()| {
                let parts = empty_parts.iter().filter(|(name, _)| *name == volume.name);
                parts.into_iter().try_for_each(|(_, part)| make(&dir.join(part)))
            }),
            Source::Host(_) | Source::Absent => Ok(()),
        };
        done.map_err(|e| io::Error::new(e.kind(), format!("volume {:?}: {e}", volume.name)))?;
    }
    Ok(())
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn write_files(dir: &Path, files: &[PlannedFile]) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => make(dir)?,
    }
    for file in files {
        let path = dir.join(&file.path);
        if let Some(parent) = path.parent() {
            make(parent)?;
        }
        let mut out = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        out.write_all(&file.content)?;
        out.set_permissions(fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_get_their_modes_below_private_directories_and_twice_is_once() {
        let root = tempfile::tempdir().unwrap();
        let files = Source::Files(vec![
            PlannedFile { path: "a".into(), content: b"1".to_vec(), mode: 0o400 },
            PlannedFile { path: "deep/er/b".into(), content: vec![0, 255], mode: 0o755 },
        ]);
        let volumes =
            [VolumePlan { name: "v".into(), source: files }, VolumePlan { name: "e".into(), source: Source::Empty }];
        let base = root.path().join("volumes");
        lay_out(&base, &volumes, &[("e", "part/x")]).unwrap();
        fs::write(base.join("e/kept"), "x").unwrap();
        lay_out(&base, &volumes, &[("e", "part/x")]).unwrap();
        assert_eq!(fs::read(base.join("v/deep/er/b")).unwrap(), [0, 255]);
        assert_eq!((mode(&base.join("v/a")), mode(&base.join("v/deep/er/b"))), (0o400, 0o755));
        assert_eq!((mode(&base.join("v")), mode(&base.join("v/deep")), mode(&base)), (0o700, 0o700, 0o700));
        assert!(base.join("e/kept").is_file() && base.join("e/part/x").is_dir());
    }
}
