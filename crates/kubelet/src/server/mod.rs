//! The kubelet API: what `kubectl logs`, dashboards and metrics collectors ask a node.
//!
//! ```text
//!   kube-apiserver ──TLS, client certificate──▶ tls ─▶ access ─▶ routes ─▶ PodTable
//!   standalone: private Unix socket ─────────────────────────────▶ routes ─▶ LogSource ──▶ the next hop
//! ```
//!
//! - [`tls`]: connections, handshakes, limits, the drain. [`certificate`]: what we show. [`client_ca`]: whom we verify.
//! - [`subject`], [`access`]: who a certificate belongs to and what it may do. Nothing is answered to a stranger.
//! - [`routes`]: the paths. [`logs`], [`log_query`]: container logs. [`stats`]: `/stats/summary`.
//!
//! Over the Unix socket the file's mode (0600) is the access control.

pub mod access;
pub mod certificate;
mod client_ca;
mod log_query;
mod logs;
pub mod review;
pub mod routes;
mod stats;
pub mod subject;
pub mod tls;

#[cfg(test)]
mod tests;

pub use access::{Access, Review, Reviewer, Verdict};
pub use certificate::Serving;
pub use logs::LogSource;
pub use review::SubjectAccessReviews;
pub use routes::{KubeletApi, router};
pub use subject::Subject;
pub use tls::{Tls, serve_tls};

/// Tells the operator, once at the start, what this server does otherwise than a real kubelet's. `csr_missing`: the
/// configuration wants a certificate signed by the cluster, and there is only one of our own.
pub fn warn_at_start(csr_missing: bool) {
    tracing::warn!("{}", Access::NOTICE);
    if csr_missing {
        tracing::warn!(
            "this version makes no certificate signing requests: the kubelet API shows a certificate of its own, which an \
             API server with --kubelet-certificate-authority refuses; set KubeletCertFile and KubeletKeyFile, or \
             DisableCSR: true if this is what you want"
        );
    }
}
