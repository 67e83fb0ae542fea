//! interlink-plugin: see the library's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    interlink_plugin::command_line::run()
}
