//! Which jobs there are, and were.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::{Cluster, Job};
use crate::wait;

impl Cluster {
    /// The jobs that slurmctld knows, finished ones included until [`Options::min_job_age`] has passed.
    ///
    /// # Panics
    /// When slurmctld does not answer.
    pub async fn jobs(&self) -> Vec<Job> {
        let output = self.run("scontrol", ["-o", "show", "job"]).await;
        assert!(output.status.success(), "scontrol: {}", String::from_utf8_lossy(&output.stderr).trim());
        String::from_utf8_lossy(&output.stdout).lines().filter_map(Job::parse).collect()
    }

    /// The jobs that have ended, forgotten ones included; asks no daemon.
    pub fn completed(&self) -> Vec<Job> {
        let text = fs::read_to_string(self.dir().join("jobcomp.txt")).unwrap_or_default();
        text.lines().filter_map(Job::parse).collect()
    }

    /// The numbers of all jobs ever submitted: what a test counts to show that a Pod was submitted once.
    ///
    /// # Panics
    /// When slurmctld does not answer.
    pub async fn submitted(&self) -> BTreeSet<u32> {
        let known = self.jobs().await;
        let ended = self.completed();
        known.iter().chain(&ended).filter_map(|job| job.id().parse().ok()).collect()
    }

    /// Waits until a job is in one of `states` (`["COMPLETED"]`) and returns it.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn job_in_state(&self, id: &str, states: &[&str], timeout: Duration) -> Job {
        wait::until(&format!("job {id} to be {}", states.join(" or ")), timeout, async || {
            let jobs = self.jobs().await;
            let job = jobs.iter().find(|job| job.id() == id).cloned();
            match job.or_else(|| self.completed().into_iter().find(|job| job.id() == id)) {
                Some(job) if states.contains(&job.state()) => Ok(job),
                Some(job) => Err(format!("{} ({})", job.state(), job.field("Reason"))),
                None => Err("no such job".to_owned()),
            }
        })
        .await
    }
}
