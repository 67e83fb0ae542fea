//! The real program between scripted plugins and a client: every path, every known dialect, every way to fail.

mod create;
mod delete;
mod limits;
mod logs;
mod peers;
mod ping;
mod process;
mod real_plugin;
mod status;
