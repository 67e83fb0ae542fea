//! Whether this kernel lets this user have what the host runtime needs to give a pod its volumes.
//!
//! Asked of a process of its own: only one with a single thread may enter a user namespace, and there is no way back.

use std::process::Stdio;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

/// The setting of Ubuntu that most often forbids it.
const APPARMOR: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

/// Tries it, in this process. Must be called before a thread is started.
#[must_use]
pub fn try_here() -> bool {
    let entered = (geteuid().is_root() && unshare(CloneFlags::CLONE_NEWNS).is_ok())
        || unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).is_ok();
    // AppArmor lets a user in but gives no rights inside.
    entered && mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>).is_ok()
}

/// Tries it in a child; why not, for a person.
pub async fn refused() -> Option<String> {
    let file = super::own_file().ok()?;
    let child = tokio::process::Command::new(file)
        .args(["internal", "namespaces"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if child.await.is_ok_and(|status| status.success()) {
        return None;
    }
    let set = std::fs::read_to_string(APPARMOR).is_ok_and(|value| value.trim() == "1");
    let setting = if set { " (kernel.apparmor_restrict_unprivileged_userns is 1)" } else { "" };
    Some(format!("the kernel gives this user no mount namespace{setting}"))
}
