//! The plugin's file, read as the plugin reads it.

use std::path::{Path, PathBuf};

use interlink_daemon::{Failure, config as yaml, paths};
use interlink_plugin::config::file::File;
use interlink_plugin::config::{Config, Flags, SchedulerConfig, Surroundings, judge as resolve};

use crate::check::files::{self, Read};
use crate::check::step::{Id, Step};
use crate::install::wishes::Via;

/// Where it is unless somebody says otherwise.
const PLACES: [&str; 2] = ["/opt/interlink-plugin/config/plugin-config.yaml", interlink_plugin::config::DEFAULT_PATH];

/// What it says.
#[derive(Debug, Clone)]
pub struct PluginConfig {
    /// As the plugin understands it.
    pub config: Config,
    /// Whether the file itself says where to listen. A default depends on how a program is started.
    pub names_address: bool,
}

/// Reads the named file, or the first that is there. `runtime_dir` is the running plugin's.
#[must_use]
pub fn read(named: Option<&Path>, runtime_dir: Option<&Path>) -> Read<PluginConfig> {
    let found = match named {
        Some(path) => Some(path.to_owned()),
        None => PLACES.into_iter().map(PathBuf::from).find(|path| path.exists()),
    };
    let Some(path) = found else { return Read::Absent(format!("there is no {}", PLACES.join(" and no "))) };
    match load(&path, runtime_dir) {
        Ok(config) => Read::Good(path, config),
        Err(failure) => Read::Wrong(failure),
    }
}

fn load(path: &Path, runtime_dir: Option<&Path>) -> Result<PluginConfig, Failure> {
    if !path.exists() {
        return Err(Failure::config(format!(
            "{} does not exist; correct its path on the command line",
            path.display()
        )));
    }
    let file: File = yaml::load(path, &[])?;
    let names_address = !file.socket.is_empty() || !file.sidecar_port.is_empty();
    let surroundings = Surroundings {
        // The environment of this process is not the plugin's.
        variable: &|_| None,
        find: &|name| Some(PathBuf::from("/usr/bin").join(name)).filter(|path| path.exists()),
        runtime_dir: &|| runtime_dir.map_or_else(paths::runtime_dir, |dir| Ok(dir.to_owned())),
        state_dir: &paths::state_dir,
        working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    };
    let config = resolve(file, true, &Flags::default(), &surroundings)
        .map_err(|failure| Failure { sentence: format!("{}: {}", path.display(), failure.sentence), ..failure })?;
    Ok(PluginConfig { config, names_address })
}

/// Judges it, for a tunnel that comes in the way that its key says.
#[must_use]
pub fn judge(file: &Read<PluginConfig>, form: Option<Via>) -> Vec<Step> {
    let scheduler = |scheduler: &SchedulerConfig| match scheduler {
        SchedulerConfig::Local => "local",
        SchedulerConfig::Slurm(_) => "slurm",
    };
    let seen =
        |c: &PluginConfig| format!("listens on {}, scheduler {}", c.config.listen, scheduler(&c.config.scheduler));
    let warnings = file.get().map(|c| c.config.warnings.as_slice()).unwrap_or_default();
    if let (Some(config), Some(path), Some(Via::Rexec)) = (file.get(), file.path(), form)
        && !config.names_address
    {
        return vec![Step::failed(
            Id::PluginConfig,
            "plugin",
            format!(
                "{} has no Socket, so dial-stdio, which sshd starts without the service's RUNTIME_DIRECTORY, looks for \
                 the plugin elsewhere than where it listens",
                path.display()
            ),
            format!("set Socket: \"{}\" there and restart interlink-plugin", config.config.listen),
        )];
    }
    files::judge(Id::PluginConfig, "plugin", file, seen, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_address_is_a_fault_for_dial_stdio_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plugin.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(Some(&path), Some(Path::new("/run/x")))
        };
        let without = read("Scheduler: local\nDataRootFolder: /jobs/\n");
        assert_eq!(without.get().unwrap().config.listen.to_string(), "unix:///run/x/interlink-plugin.sock");
        let fault = judge(&without, Some(Via::Rexec))[0].fault().cloned().unwrap();
        assert!(fault.cause.contains("has no Socket, so dial-stdio"), "{fault:?}");
        assert!(fault.remedy.contains("set Socket: \"unix:///run/x/interlink-plugin.sock\""), "{fault:?}");
        assert!(judge(&without, Some(Via::Rsock))[0].fault().is_none());
        let with = read("Scheduler: local\nDataRootFolder: /jobs/\nSocket: unix:///run/x/p.sock\n");
        assert!(judge(&with, Some(Via::Rexec)).iter().all(|step| step.fault().is_none()));
        let wrong = read("Scheduler: none\n");
        assert!(judge(&wrong, None)[0].fault().unwrap().cause.contains("Scheduler must be local or slurm"));
    }
}
