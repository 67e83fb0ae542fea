//! ssh-tunnel beside OpenSSH's own `ssh -N -L`.
//!
//! | module | figures |
//! |---|---|
//! | [`rtt`] | `tunnel.rtt_p50`, `tunnel.rtt_p99` |
//! | [`bulk`] | `tunnel.up…`, `tunnel.down…` |
//! | [`burst`] | `tunnel.burst…` |
//! | [`idle`] | `tunnel.rss_idle`, `tunnel.idle_cpu` |
//! | [`crowd`] | `tunnel.rss_1000` |
//! | [`wan`] | `tunnel.wan…` |
//! | [`recover`] | `tunnel.recover_reset_ms`, `tunnel.recover_silent_s` |
//!
//! [`rig`] starts the server and the tunnels, [`service`] is what they lead to.

pub(super) mod bulk;
pub(super) mod burst;
pub(super) mod crowd;
pub(super) mod idle;
pub(super) mod recover;
mod rig;
pub(super) mod rtt;
mod service;
pub(super) mod wan;
