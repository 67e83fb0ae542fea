//! Container runtimes: how one container of a launch description becomes a process.
//!
//! A runtime is one file with two functions: `prepare`, which may take long (an image to pull) and may be given up at
//! any time, and `spec`, which says what the [shim](crate::contain) is to become. All else (pipes, sessions, signals,
//! exit codes) is the same for all of them. The next one is a variant of [`Runtime`], a file and two arms here.

mod apptainer;
mod confine;
mod host;
mod pull;

use std::path::{Path, PathBuf};

use interlink_wire::JobId;

use crate::children::Children;
use crate::contain::{Spec, StartFailure};
use crate::expand;
use crate::launch::{ContainerLaunch, Runtime};
use crate::layout::{self, Kind};

/// What a runtime may know of the pod around its container.
pub(crate) struct Surroundings<'a> {
    pub(crate) pod_dir: &'a Path,
    pub(crate) image_cache: &'a Path,
    pub(crate) job_id: &'a JobId,
    pub(crate) kind: Kind,
    pub(crate) children: &'a Children,
}

impl Surroundings<'_> {
    fn stage(&self) -> PathBuf {
        self.pod_dir.join(layout::STAGE)
    }
}

/// Command and arguments with their variables filled in.
struct Words {
    command: Vec<String>,
    args: Vec<String>,
}

impl Words {
    fn of(container: &ContainerLaunch) -> Self {
        Self {
            command: expand::words(&container.command, &container.env),
            args: expand::words(&container.args, &container.env),
        }
    }
}

/// Gets ready what the container needs and says how to start it.
///
/// Dropping the future gives up; a process that it started is ended.
pub(crate) async fn prepare(container: &ContainerLaunch, around: &Surroundings<'_>) -> Result<Spec, StartFailure> {
    match &container.runtime {
        Runtime::Host => host::spec(&confined(container).await?, &around.stage()),
        Runtime::Apptainer { executable, options, image, pull } => {
            let site = apptainer::Site { executable, options };
            let image = apptainer::prepare(&site, image, *pull, container, around).await?;
            // after the pull, which may take long: what is judged is what is mounted
            apptainer::spec(&site, &image, &confined(container).await?, around)
        }
    }
}

/// The container with mounts that stay where they belong.
async fn confined(container: &ContainerLaunch) -> Result<ContainerLaunch, StartFailure> {
    let mounts = container.mounts.clone();
    let judged = tokio::task::spawn_blocking(|| confine::confined(mounts)).await;
    let mounts = judged.unwrap_or_else(|error| {
        Err(StartFailure::setup(format!("the container's mounts cannot be judged: {error}")))
    })?;
    Ok(ContainerLaunch { mounts, ..container.clone() })
}

/// Whether [`prepare`] may take long, and what to show meanwhile.
pub(crate) fn preparing(container: &ContainerLaunch) -> Option<String> {
    match &container.runtime {
        Runtime::Host => None,
        Runtime::Apptainer { image, .. } => apptainer::fetched_by(image).map(|_| format!("pulling image {image:?}")),
    }
}

/// What an exit code may mean beside the program's own.
pub(crate) fn doubt(runtime: &Runtime, exit_code: i32) -> Option<&'static str> {
    match runtime {
        Runtime::Apptainer { .. } if exit_code == 255 => {
            Some("255 is also what apptainer answers when it cannot start the program: the container's log says which")
        }
        _ => None,
    }
}

/// Whether TERM goes to the container's whole process group, or to its first process, which passes it on.
///
/// Apptainer hands a signal down to the program by itself: sent to the group it would arrive up to three times, and a
/// program that is leaving because of the first could be ended by the second.
pub(crate) fn signals_group(runtime: &Runtime) -> bool {
    match runtime {
        Runtime::Host => true,
        Runtime::Apptainer { .. } => false,
    }
}

/// `<runtime>://<id>` for a container's status.
pub(crate) fn container_id(runtime: &Runtime, id: &str) -> String {
    let name = match runtime {
        Runtime::Host => "host",
        Runtime::Apptainer { .. } => "apptainer",
    };
    format!("{name}://{id}")
}
