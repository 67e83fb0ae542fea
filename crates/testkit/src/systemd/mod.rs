//! A real systemd, as PID 1 of its own mount, process, host name, IPC and cgroup namespaces.
//!
//! Its root is a throw-away overlay of this machine's own, or of another that the test names: what is installed here is
//! installed there, and what is written there is gone with it. Nothing is enabled but the units of the test. `/proc/sys` and `/sys` are read-only
//! inside, so it changes nothing outside. Needs root and a mounted cgroup2.
//!
//! What is not real: limits of memory, CPU and tasks are accepted and, where the kernel gives this machine's cgroup2
//! no such controller, not enforced.

mod cgroup;
mod machine;

pub use machine::{Machine, Options, Unit};
