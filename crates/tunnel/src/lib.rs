//! ssh-tunnel: holds a forward open between a service and a machine behind SSH.

pub mod backoff;
pub mod config;
pub mod hostkeys;
pub mod identity;
