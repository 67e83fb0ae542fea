//! ssh-tunnel: see the library's documentation.

use std::process::ExitCode;

use interlink_daemon::logs::{self, Level};
use interlink_daemon::{Failure, exit, flags};
use interlink_tunnel::config::flags::{Environment, Flags};

fn main() -> ExitCode {
    let settings = match flags::parse::<Flags>().settings(&Environment::of_process()) {
        Ok(settings) => settings,
        Err(sentence) => return exit::report("ssh-tunnel", &Failure::usage(sentence)),
    };
    logs::init("tunnel", Level::from_keys(settings.verbose, false));
    interlink_daemon::run_on_one_thread("ssh-tunnel", interlink_tunnel::run(settings))
}
