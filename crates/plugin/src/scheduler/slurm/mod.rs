//! A Slurm cluster, through its commands.

pub mod flags;
