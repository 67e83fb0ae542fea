//! A real Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.
//!
//! ```text
//!   kubectl, virtual-kubelet ──https──▶ kube-apiserver ──▶ etcd
//!                                            ▲  │
//!   controller-manager, scheduler ───────────┘  └──https, client certificate──▶ the kubelet API of a Node
//! ```
//!
//! No Node is there until somebody registers one: the virtual kubelet under test, or [`HealthyNode`].
//!
//! The programs are the ones that `scripts/kubernetes` builds (or those of `KUBEBUILDER_ASSETS`). A control
//! plane takes some four seconds and 500 MB; tests of one file that don't disturb each other may share one in a
//! `tokio::sync::OnceCell`.

mod binaries;
mod components;
mod control_plane;
mod kubeconfig;
mod kubectl;
mod node;
mod pki;
mod rights;

pub use binaries::directory;
pub use control_plane::{ControlPlane, Options};
pub use kubectl::Kubectl;
pub use node::HealthyNode;
