//! A real Slurm.
