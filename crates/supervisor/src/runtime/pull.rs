//! Making a file of an image's reference, once for all pods of the account that want it at the same time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::Surroundings;
use crate::children::KillOnDrop;
use crate::contain::StartFailure;
use crate::launch::PullPolicy;

/// How often the lock of another pod's pull is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(500);
/// Words of the tool that are kept to quote its last line.
const TAIL: usize = 8 * 1024;

/// What fetches images.
pub(super) struct Tool<'a> {
    pub(super) executable: &'a Path,
    /// `pull`, or `build` for what is not on a network.
    pub(super) command: &'a str,
}

/// Path of the image as a file: from the cache, or pulled. `own` is where an image for this container alone goes.
///
/// A file of the cache is never replaced: another node may be running from it, and NFS would take it away.
pub(super) async fn pull(
    tool: &Tool<'_>,
    image: &str,
    policy: PullPolicy,
    own: &Path,
    around: &Surroundings<'_>,
) -> Result<String, StartFailure> {
    let fail = |error: io::Error, path: &Path| {
        StartFailure::image(format!(
            "image {image:?}: {} cannot be used: {error}; the plugin's DataRootFolder must be writable on compute nodes",
            path.display()
        ))
    };
    if policy == PullPolicy::Always {
        fetch(tool, image, own, around).await?;
        return Ok(own.display().to_string());
    }
    let cached = around.image_cache.join(file_name(image));
    if cached.exists() {
        return Ok(cached.display().to_string());
    }
    if policy == PullPolicy::Never {
        let mut failure = StartFailure::image(format!(
            "image {image:?} is not in the cache ({}) and imagePullPolicy is Never",
            cached.display()
        ));
        failure.reason = "ErrImageNeverPull".into();
        return Err(failure);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(around.image_cache)
        .map_err(|e| fail(e, around.image_cache))?;
    let lock_path = cached.with_extension("lock");
    let lock = lock(&lock_path).await.map_err(|e| fail(e, &lock_path))?;
    if !cached.exists() {
        if lock.is_some() {
            remove_unfinished(&cached);
        }
        fetch(tool, image, &cached, around).await?;
    }
    Ok(cached.display().to_string())
}

fn file_name(image: &str) -> String {
    use std::fmt::Write;
    let digest = Sha256::digest(image.as_bytes());
    digest.iter().take(16).fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    }) + ".sif"
}

/// Removes what pulls of this image left that were killed: images are large. To be called with the image's lock.
fn remove_unfinished(cached: &Path) {
    let (Some(directory), Some(stem)) = (cached.parent(), cached.file_stem()) else { return };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let of_this = path.file_stem().map(Path::new).and_then(Path::file_stem) == Some(stem);
        if of_this && path.extension().is_some_and(|extension| extension == "part") {
            let _ = fs::remove_file(path);
        }
    }
}

/// Waits for a lock; a file system without locks gives none, and then each pod pulls for itself.
async fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let open = || OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open()?;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err(_) => return Ok(None),
        };
        tokio::time::sleep(LOCK_INTERVAL).await;
    }
}

/// Pulls into a temporary file beside `target` and renames it.
async fn fetch(tool: &Tool<'_>, image: &str, target: &Path, around: &Surroundings<'_>) -> Result<(), StartFailure> {
    let part = Unfinished(target.with_extension(format!("{}.part", around.job_id.as_str().replace('.', "_"))));
    let _ = fs::remove_file(&part.0);
    let mut command = Command::new(tool.executable);
    command.arg(tool.command).arg("--force").arg(&part.0).arg(image).stdin(Stdio::null());
    let started = around.children.spawn_with_output(&mut command).map_err(|error| {
        StartFailure::image(format!(
            "image {image:?} cannot be pulled: {} cannot be started on the node: {error}; install Apptainer there or set its \
             path in the plugin's configuration",
            tool.executable.display()
        ))
    })?;
    let (process, mut output) = started;
    let process = KillOnDrop::new(process);
    let mut tail: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        tail.extend_from_slice(&buffer[..count]);
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
    let status = process.ended().await;
    if !status.success() {
        let words = String::from_utf8_lossy(&tail);
        let said = last_line(&words).unwrap_or("it said nothing");
        return Err(StartFailure::image(format!("image {image:?} cannot be pulled on the node ({status}): {said}")));
    }
    fs::rename(&part.0, target).map_err(|error| {
        StartFailure::image(format!("image {image:?}: pulled, but {} cannot be made: {error}", target.display()))
    })
}

/// A file that goes unless it was renamed away.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The last line with words in it, without the colours that the tool gives it.
fn last_line(text: &str) -> Option<&str> {
    let plain = |line: &'_ str| -> usize { line.rfind("\u{1b}[0m").map_or(0, |at| at + "\u{1b}[0m".len()) };
    text.lines().rev().map(|line| line[plain(line)..].trim()).find(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_quoted_without_colours() {
        let cases = [
            ("INFO: a\nFATAL: no such image\n\n", Some("FATAL: no such image")),
            ("\u{1b}[31mFATAL:  \u{1b}[0m while pulling: refused\n", Some("while pulling: refused")),
            ("\n \n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(last_line(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_reference_has_its_own_plain_file_name() {
        let (a, b) = (file_name("docker://busybox"), file_name("docker://busybox:1"));
        assert_ne!(a, b);
        assert!(a.len() == 36 && a.ends_with(".sif"), "{a}");
    }
}
