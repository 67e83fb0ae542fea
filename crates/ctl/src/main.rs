//! interlinkctl: see the library's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    interlink_ctl::command::main()
}
