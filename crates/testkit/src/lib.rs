//! Real peers for tests and benchmarks: a Kubernetes control plane, Slurm clusters, SSH servers, systemd.
//!
//! Nothing here imitates: what a test talks to is the program that a site runs, started on loopback with
//! private directories and ports, so that many tests run side by side.
//!
//! | module | what it starts or gives |
//! |---|---|
//! | [`kubernetes`] | etcd, kube-apiserver, kube-controller-manager, kube-scheduler; `kubectl`; Nodes that stay Ready |
//! | [`slurm`] | munged, slurmctld, any number of slurmd |
//! | [`sshd`] | OpenSSH's server with keys and configuration of the test's choice |
//! | [`network`] | two network namespaces and a link between them that can be slow, cut or forgetful |
//! | [`systemd`] | a systemd that is PID 1 of its own namespaces, with the units of the test |
//! | [`process`] | any other program, above all the ones under test |
//! | [`binaries`] | where the programs under test are |
//! | [`dirs`], [`ports`], [`users`] | a directory, a port, an unprivileged account that belong to one test |
//! | [`wait`] | waiting for something to become true, with a message when it doesn't |
//!
//! # What is left when a test ends
//!
//! Nothing. Whoever starts a process ends it when dropped, a panic included. What no drop reaches (a test that
//! is killed, a peer kept in a `static`) is ended by the test process's [warden](process::warden).
//!
//! A part that cannot be had (no Slurm installed, no Kubernetes built) fails the test with a sentence that says
//! what to run; it never skips.
#![allow(clippy::panic, reason = "a test's harness reports by panicking")]

pub mod binaries;
pub mod dirs;
pub mod kubernetes;
pub mod network;
pub mod ports;
pub mod process;
pub mod slurm;
pub mod sshd;
pub mod systemd;
pub mod users;
pub mod wait;
