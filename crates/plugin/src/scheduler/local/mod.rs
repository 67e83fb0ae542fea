//! This machine as a scheduler: the same supervisor, in a session of its own, so that it outlives the plugin.
//!
//! A job's id is `local-<pid>-<start time>`: the kernel's start time (proc(5), field 22) tells a job from a later process
//! with the same number. The job notes its own id before it frees the submit lock, so a plugin that died meanwhile
//! finds it in the job directory.

mod detached;
mod handed_over;
mod process;

pub use detached::run as run_detached;
pub use handed_over::take_over;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use interlink_wire::{JobId, PodUid};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{Capacity, End, JobRecord, JobState, Scheduler, SubmitError, Unavailable, command};
use crate::jobdir::JobDir;
use crate::jobdir::record::{self, SubmitLock};
use crate::pod::Refusal;
use crate::pod::policy::PRE_EXEC;
use crate::pod::request::Request;
use process::Process;

/// How long a supervisor may take to say its job id.
const START: Duration = Duration::from_secs(20);

/// This machine.
#[derive(Debug)]
pub struct Local {
    program: PathBuf,
    /// The service manager's socket that starts supervisors, where we are in a unit of its own.
    socket: Option<PathBuf>,
}

impl Local {
    /// Runs jobs by this copy of our own program.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        let socket = std::env::var_os(handed_over::SOCKET).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { program, socket }
    }

    /// As a child of this process; gives the line with the job id.
    async fn start_child(&self, dir: &JobDir, lock: File, out: File) -> std::io::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["supervise", "--detached", "--pod-dir"]).arg(dir.path()).current_dir(dir.path());
        command.env_clear().envs(command::environment());
        command.stdin(Stdio::from(lock)).stdout(Stdio::piped()).stderr(Stdio::from(out));
        let mut child = command.spawn()?;
        // Ours must not outlive the child's copy of the lock.
        drop(command);
        let stdout = child.stdout.take();
        // The child is reaped whenever it ends; when we end first, init does it.
        tokio::spawn(async move { child.wait().await });
        let mut line = String::new();
        if let Some(stdout) = stdout {
            let _ = tokio::time::timeout(START, BufReader::new(stdout).read_line(&mut line)).await;
        }
        Ok(line)
    }

    /// As a unit of the service manager; gives the line with the job id.
    async fn start_unit(socket: &Path, dir: &JobDir, lock: File, out: File) -> std::io::Result<String> {
        let (socket, dir) = (socket.to_owned(), dir.path().to_owned());
        let start = move || handed_over::hand_over(&socket, &dir, command::environment(), &lock, &out);
        tokio::task::spawn_blocking(start).await.map_err(std::io::Error::other)?
    }
}

#[async_trait]
impl Scheduler for Local {
    fn hop(&self) -> &'static str {
        "local"
    }

    fn script(&self, request: &Request, _: &JobDir) -> Result<Option<String>, Refusal> {
        if request.annotation(PRE_EXEC).is_some_and(|text| !text.trim().is_empty()) {
            return Err(Refusal::unsupported(format!(
                "annotation {PRE_EXEC} needs a job script, and this site's scheduler (local) has none; remove it"
            )));
        }
        Ok(None)
    }

    async fn submit(&self, _: &PodUid, dir: &JobDir, lock: &SubmitLock) -> Result<JobId, SubmitError> {
        let unclear = |what: &str, e: std::io::Error| SubmitError::Unclear(format!("{what}: {e}"));
        let out = File::options().append(true).create(true).open(dir.join("job.out"));
        let out = out.map_err(|e| unclear("can't write the job's output file", e))?;
        let stdin = lock.for_child().map_err(|e| unclear("can't hand the submit lock on", e))?;
        let line = match &self.socket {
            None => self.start_child(dir, stdin, out).await.map_err(|e| unclear("can't start the supervisor", e))?,
            Some(socket) => Self::start_unit(socket, dir, stdin, out).await.map_err(|e| {
                let what = format!(
                    "can't have the supervisor started by way of {}: is interlink-local-pod.socket active?",
                    socket.display()
                );
                unclear(&what, e)
            })?,
        };
        JobId::parse(line.trim())
            .map_err(|_| SubmitError::Unclear("the supervisor ended before it said its job id".to_owned()))
    }

    async fn find(&self, _: &PodUid, dir: &JobDir) -> Result<Vec<JobId>, Unavailable> {
        Ok(record::load_job(dir).into_iter().collect())
    }

    async fn observe(&self, jobs: &[(PodUid, JobId)]) -> Result<BTreeMap<PodUid, JobRecord>, Unavailable> {
        let judged = jobs.iter().map(|(uid, job)| {
            let record = match Process::of(job) {
                Some(process) if process.is_alive() => JobRecord::living(JobState::Running, "running"),
                _ => JobRecord::living(JobState::Ended(End::Other), "its supervisor has ended"),
            };
            (uid.clone(), record)
        });
        Ok(judged.collect())
    }

    async fn terminate(&self, job: &JobId) -> Result<(), Unavailable> {
        if let Some(process) = Process::of(job) {
            process.terminate();
        }
        Ok(())
    }

    async fn cancel(&self, job: &JobId) -> Result<(), Unavailable> {
        if let Some(process) = Process::of(job) {
            process.kill_all();
        }
        Ok(())
    }

    async fn capacity(&self) -> Result<Capacity, Unavailable> {
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
        Ok(Capacity { cpus, memory_mib: total.unwrap_or(0) / 1024, gpus: 0 })
    }
}
