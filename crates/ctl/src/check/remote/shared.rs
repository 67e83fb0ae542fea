//! Whether compute nodes see the job directories: by their file system, and on request by a job that looks.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use interlink_plugin::config::SchedulerConfig;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::User;
use tokio::process::Command;

use super::config::PluginConfig;
use crate::check::step::{Id, Step};

/// A ramfs, which nix has no name for; see statfs(2).
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// How long a job may wait for a free node, in seconds.
const PATIENCE: u64 = 20;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The directory is not there.
    Missing,
    /// It is in the memory of this machine.
    InMemory,
    /// On a disk, but no compute node was asked: why.
    Unasked(String),
    /// A compute node sees it.
    Shared,
    /// A compute node doesn't.
    Apart,
    /// A compute node does not know the account, or knows it by another number.
    NoAccount(String),
    /// The job did not run: what the scheduler said.
    NoJob(String),
}

/// Looks at the job directories of `config`; with `deep`, from a compute node.
pub async fn look(config: &PluginConfig, user: Option<&User>, deep: bool, limit: Duration) -> Seen {
    let root = &config.config.data_root;
    if !root.is_dir() {
        return Seen::Missing;
    }
    let SchedulerConfig::Slurm(slurm) = &config.config.scheduler else {
        return Seen::Unasked("jobs run on this machine".to_owned());
    };
    if let Ok(system) = statfs(root.as_path()) {
        let kind = system.filesystem_type();
        if kind == TMPFS_MAGIC || kind.0 == RAMFS_MAGIC {
            return Seen::InMemory;
        }
    }
    if !deep {
        return Seen::Unasked("--deep asks a compute node".to_owned());
    }
    let Some(sbatch) = slurm.sbatch.first().filter(|_| slurm.sbatch.len() == 1) else {
        return Seen::Unasked("SbatchPath is more than a program, so srun's place is not known".to_owned());
    };
    from_a_node(&Path::new(sbatch).with_file_name("srun"), root, user, limit).await
}

/// Runs in the job; its arguments are the account and the file.
const QUESTION: &str = "id -u \"$1\" 2>/dev/null || echo none; ls -d \"$2\"";

/// Makes a file and has a job look for it.
async fn from_a_node(srun: &Path, root: &Path, user: Option<&User>, limit: Duration) -> Seen {
    let probe = Probe(root.join(format!(".check-{:08x}", rand::random::<u32>())));
    let file = match std::fs::OpenOptions::new().write(true).create_new(true).open(&probe.0) {
        Ok(file) => file,
        Err(error) => return Seen::Unasked(format!("{} can't be written to: {error}", root.display())),
    };
    let mut command = Command::new(srun);
    command
        .args(["--quiet", "--ntasks=1", "--time=1", "--job-name=interlink-check", "--chdir=/"])
        .arg(format!("--immediate={PATIENCE}"))
        .args(["/bin/sh", "-c", QUESTION, "sh"])
        .arg(user.map_or("", |user| user.name.as_str()))
        .arg(&probe.0)
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // The account is the one whose jobs they are: it may be another than this one, and root has none.
    if let Some(user) = user.filter(|user| nix::unistd::geteuid().is_root() && !user.uid.is_root()) {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        // By the open file: the directory is the account's, which could have put a link in its place by now.
        let _ = std::os::unix::fs::fchown(&file, Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    }
    let ended = tokio::time::timeout(limit + Duration::from_secs(PATIENCE), command.output()).await;
    match ended {
        Err(_) => Seen::NoJob(format!("srun did not end within {} s", limit.as_secs() + PATIENCE)),
        Ok(Err(error)) => Seen::NoJob(format!("{} can't be started: {error}", srun.display())),
        Ok(Ok(output)) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            user.and_then(|user| stranger(&said, user.uid.as_raw())).map_or(Seen::Shared, Seen::NoAccount)
        }
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let not_found = said.contains("No such file") || said.contains("cannot access");
            if not_found { Seen::Apart } else { Seen::NoJob(said.lines().next().unwrap_or_default().to_owned()) }
        }
    }
}

/// Why jobs of the account with the number `here` can't run where a job printed this: a number first, or none.
fn stranger(said: &str, here: u32) -> Option<String> {
    match said.lines().next()?.trim() {
        "none" => Some("does not know it".to_owned()),
        there => there
            .parse()
            .ok()
            .filter(|there: &u32| *there != here)
            .map(|there| format!("knows it by the number {there}, where it is {here} here")),
    }
}

/// Gone when it is dropped.
struct Probe(PathBuf);

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Judges it.
#[must_use]
pub fn judge(config: &PluginConfig, account: &str, seen: &Seen) -> Step {
    let root = config.config.data_root.display();
    let failed = |cause: String, remedy: &str| Step::failed(Id::SharedRoot, "plugin", cause, remedy);
    let move_it = "set DataRootFolder to a directory on a file system that login and compute nodes share, and restart interlink-plugin";
    match seen {
        Seen::Missing => failed(
            format!("the DataRootFolder {root} does not exist"),
            "start interlink-plugin, which makes it, or make it for the plugin's account (0700)",
        ),
        Seen::InMemory => failed(
            format!("the DataRootFolder {root} is in this machine's memory, which no compute node sees"),
            move_it,
        ),
        Seen::Apart => {
            failed(format!("a compute node does not see the DataRootFolder {root}, so no job can start"), move_it)
        }
        Seen::NoAccount(why) => failed(
            format!("the account {account} is not the compute nodes': one {why}, so it can't write to {root}"),
            "give the account one number on all machines, or run interlink-plugin as one that compute nodes know",
        ),
        Seen::NoJob(said) => Step::warned(
            Id::SharedRoot,
            "plugin",
            format!("no job could look whether compute nodes see {root}: {said}"),
            "see whether the account may run jobs: srun --ntasks=1 id",
        ),
        Seen::Unasked(why) => Step::good(Id::SharedRoot, "plugin", format!("{root} is there; {why}")),
        Seen::Shared => Step::good(Id::SharedRoot, "plugin", format!("compute nodes see {root}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_known_by_its_number() {
        for (said, why) in [
            ("1001\n/jobs/.check-1\n", None),
            ("none\n/jobs/.check-1\n", Some("does not know it")),
            ("1002\n/jobs/.check-1\n", Some("knows it by the number 1002, where it is 1001 here")),
            ("/jobs/.check-1\n", None),
            ("", None),
        ] {
            assert_eq!(stranger(said, 1001).as_deref(), why, "{said:?}");
        }
    }
}
