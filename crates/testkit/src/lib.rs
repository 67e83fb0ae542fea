//! Real control planes, Slurm clusters and SSH servers for tests and benchmarks.
