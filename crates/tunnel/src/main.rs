//! ssh-tunnel: see the library's documentation.

use std::process::ExitCode;

use interlink_daemon::logs::{self, Level};
use interlink_daemon::{exit, flags};
use interlink_tunnel::config::{Origin, Stop};

fn main() -> ExitCode {
    if let Some(failed) = interlink_tunnel::session::openssh::guard::become_guarded() {
        return failed;
    }
    let origin = Origin::of_process();
    let settings = match origin.read() {
        Ok(settings) => settings,
        Err(Stop::Flags(stop)) => return flags::tell("ssh-tunnel", &stop).into(),
        Err(Stop::Failure(failure)) => return exit::report("ssh-tunnel", &failure),
    };
    let level = Level::from_keys(settings.verbose, false);
    if let Err(failure) = logs::init_to("tunnel", level, settings.log_file.as_deref()) {
        return exit::report("ssh-tunnel", &failure);
    }
    interlink_daemon::run_on_one_thread("ssh-tunnel", interlink_tunnel::run(settings, origin))
}
