//! A real Slurm cluster on loopback: munged, slurmctld and as many slurmd as the test wants nodes.
//!
//! ```text
//!   sbatch, squeue (SLURM_CONF) ──▶ slurmctld ──▶ slurmd -N n1 ──▶ slurmstepd ──▶ the job, as the user who submitted
//!                 └───── munged ─────────┴──▶ slurmd -N n2
//! ```
//!
//! Every daemon has ports, keys, spool and state of its own, so several clusters run at once. Nodes claim more
//! CPUs than the machine has. Accounting is off (`sacct` says so), finished jobs are kept in a job completion file.
//! slurmd runs jobs as their owner, so a cluster is root's.

mod cluster;
mod commands;
mod conf;
mod job;
mod munge;
mod queue;

pub use cluster::Cluster;
pub use conf::Options;
pub use job::Job;
