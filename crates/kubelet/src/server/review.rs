//! SubjectAccessReviews, with a memory: a dashboard asks every few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use tokio::time::Instant;

use super::access::{Review, Reviewer};
use super::subject::Subject;

/// How long a yes holds; the real kubelet's `authorization.webhook.cacheAuthorizedTTL`.
const YES_HOLDS: Duration = Duration::from_secs(300);
/// How long a no holds; the real kubelet's `cacheUnauthorizedTTL`.
const NO_HOLDS: Duration = Duration::from_secs(30);
/// The longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(10);
/// How many answers are kept.
const REMEMBERED: usize = 1000;

type Question = (Subject, &'static str, &'static str);

/// Asks the API server.
pub struct SubjectAccessReviews {
    api: Api<SubjectAccessReview>,
    node: String,
    answers: Mutex<HashMap<Question, (Instant, Review)>>,
}

impl std::fmt::Debug for SubjectAccessReviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubjectAccessReviews").field("node", &self.node).finish_non_exhaustive()
    }
}

impl SubjectAccessReviews {
    /// Asks through `client` about the node named `node`.
    #[must_use]
    pub fn new(client: kube::Client, node: &str) -> Self {
        Self { api: Api::all(client), node: node.to_owned(), answers: Mutex::default() }
    }

    async fn ask(&self, (subject, verb, subresource): &Question) -> Review {
        let attributes = ResourceAttributes {
            verb: Some((*verb).to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some((*subresource).to_owned()),
            name: Some(self.node.clone()),
            ..ResourceAttributes::default()
        };
        // The API server adds this group to whoever it authenticated.
        let groups = subject.groups.iter().cloned().chain(["system:authenticated".to_owned()]).collect();
        let spec = SubjectAccessReviewSpec {
            user: Some(subject.user.clone()),
            groups: Some(groups),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        match tokio::time::timeout(LIMIT, self.api.create(&PostParams::default(), &review)).await {
            Err(_) => Review::Unavailable(format!("no answer within {} s", LIMIT.as_secs())),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Review::NotGranted,
            Ok(Err(error)) => Review::Unavailable(error.to_string()),
            Ok(Ok(answer)) if answer.status.as_ref().is_some_and(|s| s.allowed && s.denied != Some(true)) => {
                Review::Allowed
            }
            Ok(Ok(_)) => Review::Denied,
        }
    }

    fn remembered(&self, question: &Question) -> Option<Review> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, review) = answers.get(question)?;
        (*until > Instant::now()).then(|| review.clone())
    }

    fn remember(&self, question: Question, review: &Review) {
        let holds = match review {
            Review::Allowed => YES_HOLDS,
            Review::Denied | Review::NotGranted => NO_HOLDS,
            Review::Unavailable(_) => return,
        };
        let now = Instant::now();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= REMEMBERED {
            answers.retain(|_, (until, _)| *until > now);
        }
        if answers.len() < REMEMBERED {
            answers.insert(question, (now + holds, review.clone()));
        }
    }
}

#[async_trait]
impl Reviewer for SubjectAccessReviews {
    async fn review(&self, subject: &Subject, verb: &'static str, subresource: &'static str) -> Review {
        let question = (subject.clone(), verb, subresource);
        if let Some(review) = self.remembered(&question) {
            return review;
        }
        let review = self.ask(&question).await;
        self.remember(question, &review);
        review
    }
}
