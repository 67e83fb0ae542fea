//! The node: what it is, how it does, and keeping it so in the cluster.
//!
//! ```text
//!   Config ─┐                                      ┌─▶ Node (created, or patched: status, labels, annotations, taints)
//!   Health ─┴▶ object, capacity, conditions ─▶ keeper
//!                                                  lease ─▶ Lease, every 10 s, whatever else happens
//! ```
//!
//! While a hop is down the lease is renewed and Ready stays True, because a node that is not Ready has its pods evicted
//! and their jobs cancelled. `NetworkUnavailable=True` keeps new pods away, and `InterlinkConnectivity=False` says why.

pub mod capacity;
pub mod conditions;
pub mod keeper;
pub mod lease;
pub mod object;
mod owner;
mod taint;

pub use object::NodeSpec;
pub use taint::{FIXED_KEY, Taint, merged};
