//! The shim `contain`: the last step between the supervisor and a container's program.
//!
//! A process of its own, single-threaded, because a namespace of users can be entered by such a process only, and
//! because everything that may fail before the program runs must be told apart from the program's own end:
//!
//! | descriptor | holds at the start | holds for the program |
//! |---|---|---|
//! | 0 | pipe with the [`Spec`], read to its end | `/dev/null` |
//! | 1 | pipe for the container's output | the same |
//! | 2 | pipe for a [`StartFailure`] | the container's output |
//!
//! The pipe for the failure closes by itself when the program starts: closed and empty means started. So no word of a
//! pod's author is ever an argument or a variable of this process.

mod explode;
mod namespace;
mod program;
mod spec;
mod view;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{close, dup2_stderr, dup2_stdin, getppid, setsid};

pub(crate) use spec::{Spec, StartFailure};

/// Exit code when the pipes are not there: the command was typed by hand.
const NOT_FOR_PEOPLE: u8 = 2;

/// Becomes the program that the supervisor describes on stdin. Returns, with the exit code for the process, only when that failed.
///
/// Must be called from a process that has not yet started a thread.
#[must_use]
pub fn contain() -> u8 {
    let Ok(mut status) = std::io::stderr().as_fd().try_clone_to_owned().map(File::from) else {
        return NOT_FOR_PEOPLE;
    };
    close_inherited(status.as_raw_fd());
    let mut text = Vec::new();
    let spec: Spec = match std::io::stdin().lock().read_to_end(&mut text).map(|_| serde_json::from_slice(&text)) {
        Ok(Ok(spec)) => spec,
        _ => {
            let _ = writeln!(status, "interlink-plugin contain: started by the supervisor only");
            return NOT_FOR_PEOPLE;
        }
    };
    let failure = match become_program(&spec) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    // the supervisor sees the code even if the text cannot be written
    let _ = serde_json::to_vec(&failure).map(|text| status.write_all(&text));
    u8::try_from(failure.exit_code).unwrap_or(1)
}

fn become_program(spec: &Spec) -> Result<std::convert::Infallible, StartFailure> {
    rearrange().map_err(|error| StartFailure::setup(format!("the process cannot be set up on the node: {error}")))?;
    if !spec.mounts.is_empty() {
        view::enter(&spec.stage, &spec.mounts)?;
    }
    program::change_directory(spec.working_dir.as_deref())?;
    // Whatever ends the supervisor ends its containers: nobody could report them any more.
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| StartFailure::setup(format!("the process cannot be bound to its supervisor: {error}")))?;
    if getppid().as_raw() != spec.supervisor {
        return Err(StartFailure::setup("the supervisor ended before the program was started"));
    }
    Err(program::execute(spec))
}

/// Closes what whoever started the supervisor left open: locks, sockets. A container has 0, 1 and 2.
fn close_inherited(but: RawFd) {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<RawFd> = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|d| *d > 2 && *d != but) {
        // the listing's own is closed already
        let _ = close(descriptor);
    }
}

/// Gives the process its own session, and the program's own stdin and stderr.
fn rearrange() -> std::io::Result<()> {
    dup2_stderr(std::io::stdout())?;
    dup2_stdin(File::open("/dev/null")?)?;
    setsid()?;
    umask(Mode::from_bits_truncate(0o022));
    Ok(())
}
