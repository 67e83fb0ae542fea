//! The program against OpenSSH's own server.

mod bulk;
mod check;
mod crowds;
mod engine;
mod forwarding;
mod identities;
mod jumps;
mod keys;
mod local_socket;
mod logs;
mod metrics;
mod networks;
mod outages;
mod refusals;
mod reverse;
mod rexec;
mod rig;
mod rogue;
mod several;
