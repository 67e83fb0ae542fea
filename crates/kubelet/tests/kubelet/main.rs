//! The virtual kubelet before an interLink API server that does as a test says: with a source and a store in memory, and as
//! a program in a real cluster.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are tests

mod cluster;
mod pods;
mod scripted;
