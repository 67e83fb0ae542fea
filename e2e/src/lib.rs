//! The whole chain, every hop a real program: what the end-to-end tests start.
//!
//! ```text
//!   Node ─▶ Link { interlink ─▶ ssh-tunnel } ══▶ Site { sshd, interlink-plugin ─▶ Slurm }
//!    └─ kube-apiserver, scheduler, controller-manager, a second healthy Node
//! ```
//!
//! - [`site`]: the batch machine: Slurm, sshd of an unprivileged user, the plugin.
//! - [`link`]: the tunnel and the API server beside the cluster.
//! - [`node`]: the control plane and the virtual kubelet.
//! - [`deployed`]: all four as systemd units, as `deploy/` has them, on one machine.
//! - [`load`]: clients that ask all the while, and count what they are told.
//! - [`fresh`]: a machine with nothing on it yet, for `interlinkctl install`.
//! - [`pods`]: manifests, and what `kubectl` says about them.
//! - [`book`]: the book in `docs/`, whose commands are executed and whose tables are compared with the code.

pub mod book;
pub mod deployed;
pub mod fresh;
pub mod link;
pub mod load;
pub mod node;
pub mod pods;
pub mod site;

pub use deployed::Deployed;
pub use link::Link;
pub use node::Node;
pub use site::Site;
