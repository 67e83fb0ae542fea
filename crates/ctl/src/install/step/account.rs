//! The account of the services.

use std::path::PathBuf;

use async_trait::async_trait;
use nix::unistd;

use super::{Seen, Site, Step};
use crate::install::system::{self, QUICK};

/// A system account that nobody logs in to with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its home, where it has yet to be made.
    pub home: PathBuf,
    /// Whether SSH logs in to it: then its password field must not lock it.
    pub login: bool,
}

impl Account {
    /// `!` at the beginning of the password field locks the account: sshd without PAM lets nobody in, key or not.
    async fn locked(&self) -> Result<bool, String> {
        if !self.login {
            return Ok(false);
        }
        let said = system::run("getent", ["shadow", &self.name], QUICK).await?;
        Ok(said.ok() && said.out.split(':').nth(1).is_some_and(|field| field.starts_with('!')))
    }
}

#[async_trait]
impl Step for Account {
    fn title(&self) -> String {
        format!("account {}", self.name)
    }

    async fn look(&self, _: &Site) -> Result<Seen, String> {
        Ok(match user(&self.name)? {
            None => Seen::Missing(vec![format!("a system account without a password, home {}", self.home.display())]),
            Some(_) if self.locked().await? => {
                Seen::Differs(vec!["- locked: sshd without PAM lets no key in".into(), "+ password field *".into()])
            }
            Some(_) => Seen::AsWanted,
        })
    }

    async fn make(&self, _: &mut Site) -> Result<(), String> {
        let name = self.name.as_str();
        if user(name)?.is_some() {
            system::must("usermod", ["-p", "*", name], QUICK).await?;
            return Ok(());
        }
        let home = self.home.display().to_string();
        // `--system` alone makes a locked account
        let args = ["--system", "--user-group", "-p", "*", "--home-dir", &home, "--shell", "/bin/bash", name];
        system::must("useradd", args, QUICK).await?;
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        if !site.record.made.contains(&self.title())
            || site.shared
            || !site.kept.is_empty()
            || user(&self.name)?.is_none()
        {
            return Ok(false);
        }
        system::must("userdel", [self.name.as_str()], QUICK).await?;
        // with USERGROUPS_ENAB it went with the account
        if unistd::Group::from_name(&self.name).ok().flatten().is_some() {
            system::must("groupdel", [self.name.as_str()], QUICK).await?;
        }
        Ok(true)
    }
}

/// The account of that name, if there is one.
///
/// # Errors
/// One sentence where the user database does not answer.
pub fn user(name: &str) -> Result<Option<unistd::User>, String> {
    unistd::User::from_name(name).map_err(|e| format!("the account {name} can't be looked up: {e}"))
}

/// Who owns a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// root, and root's group.
    Root,
    /// root, and the group of that account.
    GroupOf(String),
    /// That account and its group.
    Account(String),
    /// Whoever runs the installation.
    Us,
}

impl Owner {
    /// As numbers; `None` where the account is not there yet.
    ///
    /// # Errors
    /// As [`user`].
    pub fn numbers(&self) -> Result<Option<(u32, u32)>, String> {
        let of = |name: &str| Ok::<_, String>(user(name)?.map(|user| (user.uid.as_raw(), user.gid.as_raw())));
        Ok(match self {
            Self::Root => Some((0, 0)),
            Self::Us => Some((unistd::geteuid().as_raw(), unistd::getegid().as_raw())),
            Self::GroupOf(name) => of(name)?.map(|(_, gid)| (0, gid)),
            Self::Account(name) => of(name)?,
        })
    }

    /// The numbers, where the account must be there by now.
    ///
    /// # Errors
    /// One sentence that names the missing account.
    pub fn resolved(&self) -> Result<(u32, u32), String> {
        self.numbers()?.ok_or_else(|| format!("the owner {self} does not exist"))
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => f.write_str("root:root"),
            Self::GroupOf(name) => write!(f, "root:{name}"),
            Self::Account(name) => write!(f, "{name}"),
            Self::Us => f.write_str("you"),
        }
    }
}
