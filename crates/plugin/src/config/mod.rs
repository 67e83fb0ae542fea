//! Configuration: the existing Slurm plugin's YAML, environment and flags, plus ours; judged before anything starts.
//!
//! - [`mod@file`]: the keys as they are written.
//! - [`judge()`]: from keys, flags and environment to a [`Config`], or one sentence that says which key is wrong.
//! - [`flavor`]: named sets of resources and flags.

pub mod file;
pub mod flavor;
mod judge;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use interlink_daemon::logs::Level;
use interlink_daemon::{Failure, paths};
use interlink_transport::Endpoint;
use interlink_wire::ping::PingTaint;

pub use judge::{Surroundings, judge};

use crate::pod::launch::ContainerRuntime;
use crate::pod::policy::Policy;
use flavor::Flavor;

/// Where the existing plugin looks for its file.
pub const DEFAULT_PATH: &str = "/etc/interlink/SlurmConfig.yaml";

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listen: Endpoint,
    /// Directory of the job directories; absolute.
    pub data_root: PathBuf,
    /// What runs jobs.
    pub scheduler: SchedulerConfig,
    /// What runs containers.
    pub runtime: ContainerRuntime,
    /// What pod authors may do beyond their containers.
    pub policy: Policy,
    /// Named sets of resources and flags.
    pub flavors: BTreeMap<String, Flavor>,
    /// Flavor of pods that name none.
    pub default_flavor: Option<String>,
    /// Taints of the node, replacing those of the resource script; empty leaves the node's as they are.
    pub taints: Vec<PingTaint>,
    /// Program that says what the node may offer.
    pub resource_script: Option<Vec<String>>,
    /// How much is logged.
    pub level: Level,
    /// What the operator should know although it is not wrong.
    pub warnings: Vec<String>,
}

/// What runs jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchedulerConfig {
    /// This machine.
    Local,
    /// Slurm, by its commands.
    Slurm(Box<SlurmConfig>),
}

/// Slurm's commands as argument vectors (a site may write `ssh host squeue`), and what goes into job scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlurmConfig {
    /// `SbatchPath`.
    pub sbatch: Vec<String>,
    /// `ScancelPath`.
    pub scancel: Vec<String>,
    /// `SqueuePath`.
    pub squeue: Vec<String>,
    /// `SinfoPath`.
    pub sinfo: Vec<String>,
    /// `SacctPath`.
    pub sacct: Vec<String>,
    /// `ScontrolPath`.
    pub scontrol: Vec<String>,
    /// `BashPath`: what runs the job script.
    pub shell: String,
    /// `CommandPrefix`: the operator's lines before the pod.
    pub command_prefix: String,
}

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    /// `-SlurmConfigpath`.
    pub config: Option<PathBuf>,
    /// `--port`: TCP on 127.0.0.1.
    pub port: Option<u16>,
    /// `-verbose`.
    pub verbose: bool,
    /// `-errorsonly`.
    pub errors_only: bool,
    /// `-logfile`.
    pub log_file: Option<PathBuf>,
}

/// Finds, reads and judges the configuration. Without a file the defaults are those of a single machine.
///
/// # Errors
/// [`Failure`] (a person must mend it) with file and key.
pub fn load(flags: &Flags) -> Result<Config, Failure> {
    let path = flags
        .config
        .clone()
        .or_else(|| from_environment("SLURMCONFIGPATH"))
        .or_else(|| from_environment("PLUGIN_CONFIG"));
    let path = path.or_else(|| Some(PathBuf::from(DEFAULT_PATH)).filter(|p| p.exists()));
    let (file, written) = match &path {
        Some(path) => (interlink_daemon::config::load::<file::File>(path, &[])?, true),
        None => (file::File::default(), false),
    };
    let surroundings = Surroundings {
        variable: &|name| std::env::var(name).ok().filter(|value| !value.is_empty()),
        find: &on_path,
        runtime_dir: &paths::runtime_dir,
        state_dir: &paths::state_dir,
        working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    };
    judge(file, written, flags, &surroundings).map_err(|failure| match &path {
        Some(path) => Failure { sentence: format!("{}: {}", path.display(), failure.sentence), ..failure },
        None => failure,
    })
}

fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Looks a program up in `PATH`.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
