//! The far end, looked at on the machine where the plugin runs: its file, its process, what sshd lets the tunnel do, who
//! else reaches it, and whether compute nodes see its job directories.
//!
//! - [`config`]: the plugin's file. [`key`], [`sshd`]: what the tunnel's key may do, by its own line and by sshd's word.
//! - [`port`]: who reaches a plugin on TCP. [`shared`]: the job directories.

pub mod config;
pub mod key;
pub mod port;
pub mod shared;
pub mod sshd;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interlink_transport::Endpoint;
use nix::unistd::{Uid, User};

use super::files::Read;
use super::ping;
use super::programs::{self, Heard};
use super::step::{Id, Step};
use config::PluginConfig;

/// The account of the seed's guide.
const ACCOUNT: &str = "interlink";

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The plugin's file.
    pub config: Option<PathBuf>,
    /// The account that the tunnel logs in as.
    pub account: Option<String>,
    /// Another file than sshd's own.
    pub sshd_config: Option<PathBuf>,
    /// Ask a compute node as well.
    pub deep: bool,
}

/// Looks at this machine as the far end. `plugin` is what the running plugin says.
pub async fn walk(options: &Options, plugin: &Heard, limit: Duration) -> Vec<Step> {
    let file = config::read(options.config.as_deref(), plugin.socket.parent());
    let account = options.account.clone().unwrap_or_else(|| account(file.get(), plugin));
    let user = User::from_name(&account).ok().flatten();
    let sshd = sshd::ask(options.sshd_config.as_deref(), &account, limit).await;
    let keys = key::read(&account, user.as_ref(), sshd.settings());
    let form = keys.form();

    let mut steps = config::judge(&file, form);
    steps.extend(programs::judge(plugin, true));
    if let Some(config) = file.get() {
        steps.push(listens(&config.config.listen, plugin.state().map(|state| state.pid), limit).await);
        if let Endpoint::Tcp { port, .. } = config.config.listen {
            steps.push(port::judge(port, &port::listeners(port)));
        }
        steps.push(shared::judge(config, &account, &shared::look(config, user.as_ref(), options.deep, limit).await));
    }
    if let (Some(config), true) = (file.get(), plugin.state().is_some()) {
        let pinged = ping::plugin(&config.config.listen, true, limit).await;
        // The API server is the other end's.
        steps.extend(ping::judge(Some(&pinged), None).into_iter().filter(|step| step.id != Id::Ping));
    }
    steps.push(match &sshd {
        sshd::Word::Refuses(_) => Step::skipped(Id::Key, "sshd", "sshd does not say where its keys are"),
        _ => key::judge(&account, &keys),
    });
    steps.extend(sshd::judge(&account, form, &sshd));
    steps
}

/// Whether its address takes connections: of a socket, what is at its path.
async fn listens(endpoint: &Endpoint, plugin: Option<u32>, limit: Duration) -> Step {
    let Some(path) = endpoint.socket() else {
        let connected = tokio::time::timeout(limit, interlink_transport::Stream::connect(endpoint)).await;
        return match connected {
            Ok(Ok(_)) => Step::good(Id::PluginSocket, "plugin", format!("{endpoint} takes connections")),
            _ => Step::failed(
                Id::PluginSocket,
                "plugin",
                format!("nothing listens on {endpoint} (SidecarPort)"),
                "start interlink-plugin, or correct SidecarPort",
            ),
        };
    };
    let meeting = super::sockets::Meeting {
        id: Id::PluginSocket,
        path: path.to_owned(),
        key: "Socket",
        owner: ("interlink-plugin", "plugin"),
        client: ("sshd", None),
    };
    super::sockets::judge(&meeting, &super::sockets::look_for(path, plugin))
}

/// Whose the plugin is: of the running one, else of its job directories, else the seed's.
fn account(file: Option<&PluginConfig>, plugin: &Heard) -> String {
    let of_process = plugin.state().and_then(|state| super::sockets::user_of(state.pid));
    let owner = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.uid());
    let uid = of_process.or_else(|| owner(&file?.config.data_root));
    let user = uid.and_then(|uid| User::from_uid(Uid::from_raw(uid)).ok().flatten());
    user.map_or_else(|| ACCOUNT.to_owned(), |user| user.name)
}

impl Read<PluginConfig> {
    /// The file's path, where there is one.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Good(path, _) => Some(path),
            Self::Absent(_) | Self::Wrong(_) => None,
        }
    }
}
