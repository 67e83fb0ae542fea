//! The program against OpenSSH's own server.

mod check;
mod engine;
mod forwarding;
mod identities;
mod jumps;
mod keys;
mod outages;
mod refusals;
mod reverse;
mod rexec;
mod rig;
mod rogue;
