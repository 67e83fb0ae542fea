//! A Slurm cluster, through its commands.
//!
//! - [`script`], [`flags`]: the job script. [`answer`]: what sbatch said.
//! - [`squeue`]: all jobs in one list. [`accounting`]: the end of one in detail. [`states`]: Slurm's words.
//! - [`sinfo`]: what there is.

pub mod accounting;
pub mod answer;
pub mod flags;
pub mod script;
pub mod sinfo;
pub mod squeue;
pub mod states;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use interlink_wire::{JobId, PodUid};
use tokio::sync::Semaphore;

use super::command::{self, CommandError, Said};
use super::{Capacity, JobRecord, Scheduler, SubmitError, Unavailable};
use crate::config::flavor::Flavor;
use crate::config::{Config, SlurmConfig};
use crate::jobdir::JobDir;
use crate::jobdir::record::{self, SubmitLock};
use crate::pod::Refusal;
use crate::pod::request::Request;
use crate::pod::resources::Demand;

/// sbatch waits by itself while slurmctld is down; after this it is ended, and looked for instead.
const SBATCH: Duration = Duration::from_secs(60);
/// Questions.
const ASK: Duration = Duration::from_secs(30);
/// The accounting, which is asked beside and whose database may hang for long while the cluster is well.
const ACCOUNTING: Duration = Duration::from_secs(10);
/// For so long it is not asked again after that.
const ACCOUNTING_RESTS: Duration = Duration::from_secs(300);
/// Commands of one kind at once: more would only wait in slurmctld.
const AT_ONCE: usize = 4;

/// A cluster.
#[derive(Debug)]
pub struct Slurm {
    commands: SlurmConfig,
    flavors: BTreeMap<String, Flavor>,
    default_flavor: Option<String>,
    program: PathBuf,
    submissions: Semaphore,
    cancellations: Semaphore,
    accounting_hung: Mutex<Option<Instant>>,
}

impl Slurm {
    /// The cluster of these commands; jobs exec `program`.
    #[must_use]
    pub fn new(commands: &SlurmConfig, config: &Config, program: PathBuf) -> Self {
        Self {
            commands: commands.clone(),
            flavors: config.flavors.clone(),
            default_flavor: config.default_flavor.clone(),
            program,
            submissions: Semaphore::new(AT_ONCE),
            cancellations: Semaphore::new(AT_ONCE),
            accounting_hung: Mutex::new(None),
        }
    }

    /// Our jobs. Slurm takes a number for a user's name; behind a wrapper the account may be another.
    fn ours(words: &[String]) -> String {
        if words.len() > 1 { "--me".to_owned() } else { format!("--user={}", nix::unistd::geteuid()) }
    }

    /// When the accounting last did not answer.
    fn hung(&self) -> MutexGuard<'_, Option<Instant>> {
        self.accounting_hung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn scancel(&self, args: &[&str]) -> Result<(), Unavailable> {
        let _slot = self.cancellations.acquire().await;
        let said = ask(&self.commands.scancel, args).await?;
        let over = ["Invalid job id", "already completing", "already completed"];
        if said.went_well() || over.iter().any(|words| said.stderr.contains(words)) {
            return Ok(());
        }
        Err(failed("scancel", &said))
    }

    /// The record of a job that squeue no longer lists: from the accounting, where there is one, else from slurmctld.
    async fn detailed(&self, uid: &PodUid, job: &JobId) -> Option<JobRecord> {
        let id = job.as_str();
        let args = ["-X", "-n", "-P", "-j", id, "-o", accounting::FORMAT];
        if !self.hung().is_some_and(|at| at.elapsed() < ACCOUNTING_RESTS) {
            match command::run(&self.commands.sacct, &args, None, None, ACCOUNTING).await {
                Ok(said) => {
                    if let Some(record) = accounting::sacct(&said.stdout, id, uid) {
                        return Some(record);
                    }
                }
                Err(CommandError::TimedOut { .. }) => {
                    tracing::warn!("sacct hangs and is not asked for a while; scontrol says how jobs ended meanwhile");
                    *self.hung() = Some(Instant::now());
                }
                Err(CommandError::NotStarted { .. }) => {}
            }
        }
        let said = ask(&self.commands.scontrol, &["-o", "show", "job", id]).await.ok()?;
        accounting::scontrol(&said.stdout, id, uid)
    }
}

#[async_trait]
impl Scheduler for Slurm {
    fn hop(&self) -> &'static str {
        "slurm"
    }

    fn script(&self, request: &Request, dir: &JobDir) -> Result<Option<String>, Refusal> {
        let demand = Demand::of(&request.pod)?;
        let flavor = script::flavor_of(request, demand, &self.flavors, self.default_flavor.as_deref());
        let parts = script::Parts {
            shell: &self.commands.shell,
            command_prefix: &self.commands.command_prefix,
            program: &self.program,
            dir: dir.path(),
            flavor,
        };
        script::write(request, demand, &parts).map(Some)
    }

    async fn submit(&self, uid: &PodUid, dir: &JobDir, lock: &SubmitLock) -> Result<JobId, SubmitError> {
        let _slot = self.submissions.acquire().await;
        let unclear = |why: String| SubmitError::Unclear(why);
        let lock = lock.for_child().map_err(|e| unclear(format!("can't hand the submit lock on: {e}")))?;
        let script = dir.join("job.slurm");
        let script = script
            .to_str()
            .ok_or_else(|| unclear("DataRootFolder is not UTF-8 text; choose a path of plain letters".to_owned()))?;
        let name = format!("--job-name={uid}");
        // What the job must not take from us: environment, limits.
        let args = ["--parsable", "--export=NONE", "--propagate=NONE", &name, script];
        // The job's directory is in its script; sbatch itself only insists on one that exists. Another than ours would
        // make the start of a process a fork of this one, which is dear.
        let place = std::env::current_dir().is_err().then(|| dir.path());
        let said = command::run(&self.commands.sbatch, &args, Some(lock), place, SBATCH).await;
        answer::judge(&said.map_err(|e| unclear(e.to_string()))?)
    }

    async fn find(&self, uid: &PodUid, dir: &JobDir) -> Result<Vec<JobId>, Unavailable> {
        let user = Self::ours(&self.commands.squeue);
        let name = format!("--name={uid}");
        let args = ["-h", "-a", "-t", "all", &user, &name, "-o", squeue::NAME_FORMAT];
        let said = ask(&self.commands.squeue, &args).await?;
        if !said.went_well() {
            return Err(failed("squeue", &said));
        }
        let mut jobs = squeue::named(&said.stdout, uid.as_str());
        if jobs.is_empty() {
            let dir = dir.clone();
            let noted = tokio::task::spawn_blocking(move || record::load_job(&dir)).await;
            jobs.extend(noted.map_err(|e| Unavailable(format!("its job directory can't be read: {e}")))?);
        }
        Ok(jobs)
    }

    async fn observe(&self, jobs: &[(PodUid, JobId)]) -> Result<BTreeMap<PodUid, JobRecord>, Unavailable> {
        let user = Self::ours(&self.commands.squeue);
        let said = ask(&self.commands.squeue, &["-h", "-a", "-t", "all", &user, "-o", squeue::FORMAT]).await?;
        if !said.went_well() {
            return Err(failed("squeue", &said));
        }
        let all = squeue::parse(&said.stdout);
        let known = jobs.iter().filter_map(|(uid, job)| {
            let (_, record) = all.get(job).filter(|(name, _)| squeue::is_of(name, uid))?;
            Some((uid.clone(), record.clone()))
        });
        Ok(known.collect())
    }

    async fn autopsy(&self, uid: &PodUid, job: &JobId) -> Option<JobRecord> {
        self.detailed(uid, job).await
    }

    async fn terminate(&self, job: &JobId) -> Result<(), Unavailable> {
        self.scancel(&["--batch", "--signal=TERM", job.as_str()]).await
    }

    async fn cancel(&self, job: &JobId) -> Result<(), Unavailable> {
        self.scancel(&[job.as_str()]).await
    }

    async fn capacity(&self) -> Result<Capacity, Unavailable> {
        let said = ask(&self.commands.sinfo, &["-h", "-N", "-o", sinfo::FORMAT]).await?;
        if !said.went_well() {
            return Err(failed("sinfo", &said));
        }
        sinfo::capacity(&said.stdout)
            .ok_or_else(|| Unavailable("sinfo names no node; see whether this account may use a partition".to_owned()))
    }
}

async fn ask(words: &[String], args: &[&str]) -> Result<Said, Unavailable> {
    command::run(words, args, None, None, ASK).await.map_err(|e| Unavailable(e.to_string()))
}

fn failed(command: &str, said: &Said) -> Unavailable {
    let words = said.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.chars().take(400).collect();
    Unavailable(if words.is_empty() {
        format!("{command} failed without a word")
    } else {
        format!("{command}: {words}")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn foreign_output_never_does_harm(text in "(?s).{0,400}", bars in "([A-Z0-9:()\\[\\],. ]{0,8}\\|){0,12}\n?") {
            let uid = PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap();
            for text in [&text, &bars] {
                let _ = squeue::parse(text);
                let _ = squeue::named(text, "a");
                let _ = accounting::sacct(text, "1", &uid);
                let _ = accounting::scontrol(text, "1", &uid);
                let _ = sinfo::capacity(text);
                let _ = states::exit(text);
                let _ = answer::judge(&Said { code: Some(0), stdout: text.clone(), stderr: text.clone() });
                let _ = answer::judge(&Said { code: Some(1), stdout: text.clone(), stderr: text.clone() });
            }
        }

        #[test]
        fn a_flag_that_is_let_through_is_one_line_of_the_script(text in "(?s)(-{1,2}[a-z\\-]{1,9}[= ]?.{0,20} ?){0,4}") {
            for flag in flags::parse_text(&text).unwrap_or_default() {
                let line = flag.directive();
                prop_assert!(line.starts_with('-') && !line.contains(char::is_control), "{line:?}");
                prop_assert_eq!(line.matches('"').count() % 2, 0);
                let _ = flags::time_limit(std::slice::from_ref(&flag));
                let _ = flags::gpus(std::slice::from_ref(&flag));
            }
        }
    }
}
