//! Networks that a test can break: two network namespaces and a link between them.
//!
//! ```text
//!   near 10.77.0.1 ──wan0──▶ Link: delay, rate, cut ──wan0──▶ far 10.77.0.2
//! ```
//!
//! Both exist only inside the test's process: nothing is left when it ends, however it ends, and any number of tests
//! may have the same addresses at the same time. Programs are started inside by
//! [`Launch::namespace`](crate::process::Launch::namespace) and
//! [`sshd::Options::namespace`](crate::sshd::Options::namespace), sockets are made inside by [`Namespace::within`].
//! Unix sockets are files: they lead from one namespace to the other, and to the test.
//!
//! A network namespace needs root.

mod link;
mod namespace;
mod relay;
mod tun;

pub use link::{Conditions, Link};
pub use namespace::Namespace;
