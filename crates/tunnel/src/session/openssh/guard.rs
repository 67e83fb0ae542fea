//! No `ssh` outlives this program, however it ends: each is started by way of this program itself, which asks the kernel to
//! end it with its parent and then becomes `ssh`.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// The word that makes this program a guard instead of a tunnel.
const WORD: &str = "--become-guarded";

/// The beginning of a command line: what to start, and its first arguments.
pub(super) fn prefix(program: &OsStr) -> (&'static str, Vec<OsString>) {
    // The program that runs, also when its file was replaced meanwhile.
    ("/proc/self/exe", vec![WORD.into(), std::process::id().to_string().into(), program.to_owned()])
}

/// Becomes the program that the command line names, if it was started as a guard; returns only if it was not, or if that
/// fails.
#[must_use]
pub fn become_guarded() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != WORD {
        return None;
    }
    let (Some(parent), Some(program)) = (args.next(), args.next()) else { return Some(ExitCode::from(2)) };
    // SIGTERM, on which ssh ends what it started itself, such as a ProxyCommand.
    let bound = prctl::set_pdeathsig(Signal::SIGTERM);
    let parent: Option<i32> = parent.to_str().and_then(|id| id.parse().ok());
    // It may have ended before the kernel was asked.
    if bound.is_err() || parent.map(Pid::from_raw) != Some(getppid()) {
        return Some(ExitCode::from(1));
    }
    let err = Command::new(&program).args(args).exec();
    // As ssh does for its own failures, in a form that is understood.
    tell(&format!("ssh: {} can't be started: {err}\n", program.display()));
    Some(ExitCode::from(255))
}

fn tell(words: &str) {
    use std::io::Write as _;
    // Nobody listens when the parent is gone.
    let _ = std::io::stderr().write_all(words.as_bytes());
}
