//! The supervisor's side of a local job: away from the plugin's session, its id noted, then the pod.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use interlink_wire::JobId;

use super::process::Process;
use crate::jobdir::JobDir;
use crate::jobdir::intent::Intent;
use crate::jobdir::record;

/// Runs the pod of `dir` as a job of this machine; gives the exit code.
///
/// Standard input is the submit lock, held until the job id is noted. Standard output is where the plugin reads the
/// job id; afterwards it goes where standard error goes.
#[must_use]
pub fn run(dir: &Path) -> u8 {
    match prepare(dir) {
        Ok(job) => interlink_supervisor::supervise(dir, &job),
        Err(error) => {
            eprintln!("the pod of {} can't be started on this machine: {error}", dir.display());
            interlink_supervisor::exit::CANNOT_WRITE
        }
    }
}

fn prepare(dir: &Path) -> io::Result<JobId> {
    // A unit of the service manager is in a session of its own already.
    if nix::unistd::getsid(None)? != nix::unistd::getpid() {
        nix::unistd::setsid()?;
    }
    let job = Process::own().and_then(Process::job_id).ok_or_else(|| io::Error::other("/proc is not readable"))?;
    let pod = JobDir::at(dir);
    let intent = Intent::load(&pod)?.ok_or_else(|| io::Error::other("there is no create.json"))?;
    let uid = interlink_wire::PodUid::parse(intent.request.pod.uid()).map_err(io::Error::other)?;
    record::store_job(&pod, intent.request.pod.namespace(), &uid, &job)?;
    // A plugin that died meanwhile finds the note.
    let _ = writeln!(io::stdout(), "{job}");
    nix::unistd::dup2_stdout(io::stderr())?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(job)
}
