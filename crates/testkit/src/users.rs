//! The unprivileged account that jobs and logins use in tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use nix::unistd;

/// An account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its primary group.
    pub gid: u32,
    /// Its home directory.
    pub home: PathBuf,
}

impl User {
    /// The account of that name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        unistd::User::from_name(name).ok().flatten().map(Self::from)
    }

    /// The account that the test runs as.
    ///
    /// # Panics
    /// When the machine has no name for it.
    pub fn current() -> Self {
        unistd::User::from_uid(unistd::getuid())
            .ok()
            .flatten()
            .map(Self::from)
            .expect("the user who runs the tests must have an entry in the user database")
    }
}

impl From<unistd::User> for User {
    fn from(user: unistd::User) -> Self {
        Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), home: user.dir }
    }
}

/// Whether the test runs as root.
pub fn is_root() -> bool {
    unistd::geteuid().is_root()
}

/// The account `hpcuser`, made if it does not exist.
///
/// # Panics
/// When it does not exist and the test is not root's.
pub fn hpcuser() -> User {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(user) = User::named("hpcuser") {
        return user;
    }
    assert!(is_root(), "the account hpcuser is missing: run scripts/setup once as root");
    // '*' and not the default '!': sshd without PAM refuses a locked account
    let made = Command::new("useradd")
        .args(["-m", "-p", "*", "-s", "/bin/bash", "hpcuser"])
        .output()
        .expect("useradd must be installed");
    // another test process may have been quicker: only the account counts
    User::named("hpcuser")
        .unwrap_or_else(|| panic!("useradd did not make hpcuser: {}", String::from_utf8_lossy(&made.stderr).trim()))
}
