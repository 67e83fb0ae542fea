//! Where everything goes: the seed's places for the machine, or the user's own directories.

use std::path::{Path, PathBuf};

use super::step::account::Owner;
use super::step::service::Manager;
use super::wishes::Role;

/// A user who installs for herself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// The account's name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its home.
    pub home: PathBuf,
    /// Whether the user has a service manager of her own here.
    pub manager: bool,
}

/// Where an installation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Tunnel, API server, virtual kubelet.
    pub local: PathBuf,
    /// The plugin.
    pub remote: PathBuf,
    /// Unit files.
    pub units: PathBuf,
    /// Sockets.
    pub runtime: PathBuf,
    /// What the services keep.
    pub state: PathBuf,
    /// The user, without root.
    pub me: Option<Me>,
}

impl Place {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        Self {
            local: "/opt/interlink".into(),
            remote: "/opt/interlink-plugin".into(),
            units: "/etc/systemd/system".into(),
            runtime: "/run/interlink".into(),
            state: "/var/lib/interlink".into(),
            me: None,
        }
    }

    /// A user's own.
    #[must_use]
    pub fn of(me: Me) -> Self {
        let data = me.home.join(".local/share");
        let runtime = if me.manager {
            PathBuf::from(format!("/run/user/{}/interlink", me.uid))
        } else {
            // a directory of the machine's own: the home may be shared by many login nodes
            PathBuf::from(format!("/tmp/interlink-{}", me.uid))
        };
        Self {
            local: data.join("interlink"),
            remote: data.join("interlink-plugin"),
            units: me.home.join(".config/systemd/user"),
            runtime,
            state: me.home.join(".local/state/interlink"),
            me: Some(me),
        }
    }

    /// The role's own directory.
    #[must_use]
    pub fn prefix(&self, role: Role) -> &Path {
        match role {
            Role::Local => &self.local,
            Role::Remote => &self.remote,
        }
    }

    /// The role's record.
    #[must_use]
    pub fn record(&self, role: Role) -> PathBuf {
        self.prefix(role).join("installed.json")
    }

    /// The service manager.
    #[must_use]
    pub fn manager(&self) -> Manager {
        if self.me.is_some() { Manager::User } else { Manager::System }
    }

    /// Who owns programs and configuration.
    #[must_use]
    pub fn root(&self) -> Owner {
        if self.me.is_some() { Owner::Us } else { Owner::Root }
    }

    /// Who owns what the account reads, and may not change.
    #[must_use]
    pub fn readable_by(&self, account: &str) -> Owner {
        if self.me.is_some() { Owner::Us } else { Owner::GroupOf(account.to_owned()) }
    }

    /// Who owns what the account writes.
    #[must_use]
    pub fn account(&self, account: &str) -> Owner {
        if self.me.is_some() { Owner::Us } else { Owner::Account(account.to_owned()) }
    }

    /// A template with the paths of this place.
    #[must_use]
    pub fn text(&self, template: &str) -> String {
        let shown = |path: &Path| path.display().to_string();
        // the longer name first
        template
            .replace("/opt/interlink-plugin", "\u{0}remote")
            .replace("/opt/interlink", &shown(&self.local))
            .replace("/run/interlink", &shown(&self.runtime))
            .replace("\u{0}remote", &shown(&self.remote))
    }
}
