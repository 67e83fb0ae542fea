//! interlink: see the library's documentation.

use std::process::ExitCode;

use interlink_api::flags::Flags;
use interlink_api::{PROGRAM, server};

fn main() -> ExitCode {
    let flags: Flags = interlink_daemon::flags::parse();
    interlink_daemon::run(PROGRAM, server::run(flags))
}
