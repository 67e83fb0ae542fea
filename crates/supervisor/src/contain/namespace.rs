//! A mount namespace of the process's own, and why the kernel may refuse one.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::StartFailure;

/// Moves the process into a mount namespace of its own; without the right to do so, into a user namespace first,
/// where the account keeps its own numbers.
pub(super) fn enter() -> Result<(), StartFailure> {
    if geteuid().is_root() {
        match unshare(CloneFlags::CLONE_NEWNS) {
            Ok(()) => return Ok(()),
            // root in a container without CAP_SYS_ADMIN
            Err(Errno::EPERM) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(refused)?;
    let write = |file: &str, text: String| fs::write(format!("/proc/self/{file}"), text);
    write("setgroups", "deny".into())
        .and_then(|()| write("uid_map", format!("{uid} {uid} 1\n")))
        .and_then(|()| write("gid_map", format!("{gid} {gid} 1\n")))
        .map_err(|error| refused(errno(&error)))
}

/// The failure for a step that the kernel does not let this account do.
pub(super) fn refused(error: Errno) -> StartFailure {
    let read = |path: &str| fs::read_to_string(format!("/proc/sys/{path}")).ok();
    StartFailure::setup(explain(error, |setting| read(setting)))
}

pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

const CLONE: &str = "kernel/unprivileged_userns_clone";
const MAXIMUM: &str = "user/max_user_namespaces";
const APPARMOR: &str = "kernel/apparmor_restrict_unprivileged_userns";

/// Names the setting that is in the way, or all of them when none is plainly so.
fn explain(error: Errno, setting: impl Fn(&str) -> Option<String>) -> String {
    let is = |name: &str, value: &str| setting(name).is_some_and(|found| found.trim() == value);
    let remedy = if is(CLONE, "0") {
        "the node's setting kernel.unprivileged_userns_clone must be 1".to_owned()
    } else if is(MAXIMUM, "0") || error == Errno::ENOSPC {
        "the node's setting user.max_user_namespaces must be larger".to_owned()
    } else if is(APPARMOR, "1") {
        "the node's setting kernel.apparmor_restrict_unprivileged_userns must be 0, or an AppArmor profile must allow the program userns".to_owned()
    } else {
        "the node must allow it (kernel.unprivileged_userns_clone, user.max_user_namespaces, \
         kernel.apparmor_restrict_unprivileged_userns)"
            .to_owned()
    };
    format!(
        "the host runtime needs a user and mount namespace for the container's volumes and the kernel refused it ({}): \
         {remedy}; or use a container runtime, or a pod without volumes",
        error.desc()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_is_in_the_way_is_named() {
        let cases = [
            (Errno::EPERM, vec![(CLONE, "0\n")], "setting kernel.unprivileged_userns_clone must be 1"),
            (Errno::ENOSPC, vec![(CLONE, "1\n"), (MAXIMUM, "0\n")], "setting user.max_user_namespaces must be larger"),
            (Errno::ENOSPC, vec![(MAXIMUM, "5\n")], "setting user.max_user_namespaces must be larger"),
            (
                Errno::EACCES,
                vec![(MAXIMUM, "9\n"), (APPARMOR, "1\n")],
                "setting kernel.apparmor_restrict_unprivileged_userns must be 0",
            ),
            (Errno::EPERM, vec![], "must allow it (kernel.unprivileged_userns_clone,"),
        ];
        for (error, settings, expected) in cases {
            let text = explain(error, |name| settings.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()));
            assert!(text.contains(expected), "{text}");
        }
    }
}
