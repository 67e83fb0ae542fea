//! virtual-kubelet: see the library's documentation.

use std::process::ExitCode;

use interlink_kubelet::config::flags::Flags;
use interlink_kubelet::{PROGRAM, run};

fn main() -> ExitCode {
    let flags: Flags = interlink_daemon::flags::parse();
    interlink_daemon::run(PROGRAM, run::run(flags))
}
