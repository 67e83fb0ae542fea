//! What a compute node knows: the account, and the job directories. Asked by a job of a moment, before anything is
//! changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::system;

/// A cluster that has no room in this time can't be asked.
const ROOM: &str = "20";
const LIMIT: Duration = Duration::from_secs(60);

/// What a compute node says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Nodes {
    /// There is no batch system, or it is not to be asked, or the node that answers is this machine.
    #[default]
    NotAsked,
    /// It can't be asked; why.
    Silent(String),
    /// It answers.
    Says {
        /// Which one.
        node: String,
        /// The account's number there, where it is known.
        account: Option<u32>,
        /// Whether what is written where the jobs will be is seen there; `None` where nothing could be written.
        sees_jobs: Option<bool>,
    },
}

/// Runs on the compute node; its arguments are the account and a file to look for.
const QUESTION: &str = "echo \"$(uname -n) $(cat /etc/machine-id 2>/dev/null)\"; id -u \"$1\" 2>/dev/null || echo none; cat \"$2\" 2>/dev/null; true";

/// Asks one compute node.
pub async fn ask(account: &str, jobs: Option<&Path>, slurm_conf: Option<&Path>) -> Nodes {
    let probe = jobs.and_then(Probe::lay);
    let file = probe.as_ref().map_or("/dev/null".to_owned(), |probe| probe.0.display().to_string());
    let mut args: Vec<String> = Vec::new();
    if let Some(conf) = slurm_conf {
        args.push(format!("SLURM_CONF={}", conf.display()));
    }
    let immediate = format!("--immediate={ROOM}");
    let srun = ["srun", "-Q", "-N1", "-n1", &immediate, "--time=1", "--chdir=/", "/bin/sh", "-c", QUESTION, "sh"];
    args.extend(srun.map(str::to_owned));
    args.extend([account.to_owned(), file]);
    let said = match system::run("env", args, LIMIT).await {
        Ok(said) if said.ok() => said,
        Ok(said) => return Nodes::Silent(said.why()),
        Err(why) => return Nodes::Silent(why),
    };
    let name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // nodes of one image have one id, and nodes of one name there may be too
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let own = format!("{name} {}", id.trim());
    read(&said.out, probe.as_ref().map(|probe| probe.1.as_str()), &own)
}

/// Reads the answer: node, number, and what the file holds. A node that is this machine has what will be made here.
fn read(answer: &str, probe: Option<&str>, own: &str) -> Nodes {
    let mut lines = answer.lines();
    let (Some(node), Some(number)) = (lines.next(), lines.next()) else {
        return Nodes::Silent(format!("its answer is {answer:?}"));
    };
    let sees_jobs = probe.map(|probe| lines.next() == Some(probe));
    if node == own && sees_jobs != Some(false) {
        return Nodes::NotAsked;
    }
    let name = node.split(' ').next().unwrap_or(node);
    Nodes::Says { node: name.to_owned(), account: number.parse().ok(), sees_jobs }
}

/// A file for a moment, in the nearest directory that is there already, and what is in it.
struct Probe(PathBuf, String);

impl Probe {
    fn lay(jobs: &Path) -> Option<Self> {
        let folder = jobs.ancestors().find(|folder| folder.is_dir())?;
        let word = uuid::Uuid::new_v4().to_string();
        let probe = Self(folder.join(format!(".interlink-probe-{word}")), word);
        // by the open file: the name may be another's a moment later, in a directory that is not ours
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe.0).ok()?;
        std::io::Write::write_all(&mut file, format!("{}\n", probe.1).as_bytes()).ok()?;
        // the job may be another's than root's there
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)).ok()?;
        Some(probe)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_node_number_and_whether_the_file_is_seen() {
        let says = |node: &str, account, sees_jobs| Nodes::Says { node: node.into(), account, sees_jobs };
        assert_eq!(read("n1 abc\n1001\nword\n", Some("word"), "login abc"), says("n1", Some(1001), Some(true)));
        assert_eq!(read("n1\nnone\n", Some("word"), "login"), says("n1", None, Some(false)));
        assert_eq!(read("n1\n0\n", None, "login"), says("n1", Some(0), None));
        for (answer, probe) in [("login abc\nnone\n", None), ("login abc\nnone\nword\n", Some("word"))] {
            assert_eq!(read(answer, probe, "login abc"), Nodes::NotAsked);
        }
        // another of the same image
        assert_eq!(read("login abc\nnone\n", Some("word"), "login abc"), says("login", None, Some(false)));
        assert!(matches!(read("", None, "login"), Nodes::Silent(_)));
    }

    #[test]
    fn a_probe_lies_in_the_nearest_directory_and_goes_again() {
        let dir = tempfile::tempdir().unwrap();
        let probe = Probe::lay(&dir.path().join("a/b/jobs")).unwrap();
        assert_eq!(probe.0.parent(), Some(dir.path()));
        drop(probe);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
