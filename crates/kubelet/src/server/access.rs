//! Who may ask what.
//!
//! Every certificate of the cluster's client CA verifies, an ordinary user's too, so a verified certificate alone is not
//! enough. The API server's own identities pass. Everybody else is put before the API server (SubjectAccessReview) where
//! this node has the right to ask; else they are refused.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};

use super::subject::Subject;

/// Users of the API server towards kubelets: kubeadm, EKS and most others, then the name of older set-ups.
const API_SERVERS: [&str; 2] = ["kube-apiserver-kubelet-client", "kube-apiserver"];
/// The group that Kubernetes never refuses anything.
const MASTERS: &str = "system:masters";

/// What the API server thinks of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Review {
    /// Let it through.
    Allowed,
    /// Refused by the cluster's rules.
    Denied,
    /// This node has no right to ask.
    NotGranted,
    /// No answer; one clause says why.
    Unavailable(String),
}

/// Asks the cluster's rules (RBAC) about `nodes/<subresource>` of this node.
#[async_trait]
pub trait Reviewer: Send + Sync {
    /// The verdict about `subject` doing `verb`.
    async fn review(&self, subject: &Subject, verb: &'static str, subresource: &'static str) -> Review;
}

/// The decision about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it.
    Pass,
    /// Answer with this status and sentence.
    Refuse(StatusCode, String),
}

/// The rules of one server.
#[derive(Clone, Default)]
pub struct Access {
    reviewer: Option<Arc<dyn Reviewer>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("reviewer", &self.reviewer.is_some()).finish()
    }
}

impl Access {
    /// What an operator should know at the start.
    pub const NOTICE: &'static str = "the kubelet API admits client certificates only: the API server's own, and where \
        this node may create subjectaccessreviews whoever the cluster's rules let get nodes/proxy; bearer tokens are \
        refused";

    /// Rules that let the API server in and ask `reviewer` about everybody else.
    #[must_use]
    pub fn new(reviewer: Option<Arc<dyn Reviewer>>) -> Self {
        Self { reviewer }
    }

    /// Decides about one request of `caller`.
    pub async fn decide(&self, caller: Option<&Subject>, method: &Method, path: &str) -> Verdict {
        let Some(subject) = caller else {
            let sentence = "the kubelet API needs a client certificate of the cluster's CA; ask through the API server, as kubectl does";
            return Verdict::Refuse(StatusCode::UNAUTHORIZED, sentence.to_owned());
        };
        if is_api_server(subject) {
            return Verdict::Pass;
        }
        let refuse = |why: &str| {
            Verdict::Refuse(
                StatusCode::FORBIDDEN,
                format!("user {:?} may not use the kubelet API: {why}", subject.user),
            )
        };
        let Some(reviewer) = &self.reviewer else {
            return refuse("only the API server may; ask through it, as kubectl does");
        };
        let (verb, subresource) = (verb(method), subresource(path));
        match reviewer.review(subject, verb, subresource).await {
            Review::Allowed => Verdict::Pass,
            Review::Denied => refuse(&format!("the cluster's rules don't let it {verb} nodes/{subresource}")),
            Review::NotGranted => refuse(
                "this node has no right to ask the API server about it; grant the node create on subjectaccessreviews.authorization.k8s.io",
            ),
            Review::Unavailable(why) => {
                refuse(&format!("the API server could not be asked about it ({why}); try again"))
            }
        }
    }
}

fn is_api_server(subject: &Subject) -> bool {
    API_SERVERS.contains(&subject.user.as_str()) || subject.groups.iter().any(|g| g == MASTERS)
}

/// The verb of Kubernetes' kubelet authorization.
/// Source: <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/>.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// The subresource, from the same page.
fn subresource(path: &str) -> &'static str {
    match path.split('/').nth(1) {
        Some("stats") => "stats",
        Some("metrics") => "metrics",
        Some("logs") => "log",
        _ => "proxy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Says(Review);

    #[async_trait]
    impl Reviewer for Says {
        async fn review(&self, subject: &Subject, verb: &'static str, subresource: &'static str) -> Review {
            assert_eq!((subject.user.as_str(), verb, subresource), ("jane", "get", "stats"));
            self.0.clone()
        }
    }

    fn subject(user: &str, groups: &[&str]) -> Subject {
        Subject { user: user.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect() }
    }

    #[tokio::test]
    async fn only_the_api_server_passes_unasked() {
        let access = Access::default();
        let cases = [
            (None, Some(StatusCode::UNAUTHORIZED)),
            (Some(subject("kube-apiserver-kubelet-client", &[])), None),
            (Some(subject("kube-apiserver-kubelet-client", &["kubeadm:cluster-admins"])), None),
            (Some(subject("kube-apiserver", &[])), None),
            (Some(subject("system:apiserver", &["system:masters"])), None),
            (Some(subject("jane", &["a", "system:masters"])), None),
            (Some(subject("jane", &["system:authenticated"])), Some(StatusCode::FORBIDDEN)),
            (Some(subject("system:node:other", &["system:nodes"])), Some(StatusCode::FORBIDDEN)),
            (Some(subject("Kube-Apiserver", &["system:masters2"])), Some(StatusCode::FORBIDDEN)),
        ];
        for (caller, refused) in cases {
            let status = match access.decide(caller.as_ref(), &Method::GET, "/pods").await {
                Verdict::Pass => None,
                Verdict::Refuse(status, _) => Some(status),
            };
            assert_eq!(status, refused, "{caller:?}");
        }
    }

    #[tokio::test]
    async fn others_are_put_before_the_clusters_rules() {
        let cases = [
            (Review::Allowed, None),
            (Review::Denied, Some("the cluster's rules don't let it get nodes/stats")),
            (Review::NotGranted, Some("grant the node create on subjectaccessreviews")),
            (Review::Unavailable("no answer".into()), Some("could not be asked about it (no answer)")),
        ];
        for (review, sentence) in cases {
            let access = Access::new(Some(Arc::new(Says(review.clone()))));
            match (access.decide(Some(&subject("jane", &[])), &Method::GET, "/stats/summary").await, sentence) {
                (Verdict::Pass, None) => {}
                (Verdict::Refuse(StatusCode::FORBIDDEN, said), Some(part)) => assert!(said.contains(part), "{said}"),
                (verdict, _) => panic!("{review:?}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn requests_are_named_as_kubernetes_names_them() {
        let cases = [
            (Method::GET, "/containerLogs/ns/p/c", "get", "proxy"),
            (Method::HEAD, "/healthz", "get", "proxy"),
            (Method::POST, "/exec/ns/p/c", "create", "proxy"),
            (Method::GET, "/stats/summary", "get", "stats"),
            (Method::GET, "/metrics/resource", "get", "metrics"),
            (Method::DELETE, "/", "delete", "proxy"),
        ];
        for (method, path, expected_verb, expected) in cases {
            assert_eq!((verb(&method), subresource(path)), (expected_verb, expected), "{method} {path}");
        }
    }
}
