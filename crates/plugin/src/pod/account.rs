//! `securityContext.runAsUser`: a batch job runs as the account of its site, whatever number a pod asks for.
//!
//! Manifests name a user as a matter of course, so such a pod is run and told, not refused: numbers of a cluster's
//! images mean nothing on the remote machine, where files and quotas belong to the plugin's account.

use interlink_wire::pod::{Container, PodSpec, SecurityContext};

/// What to say of a container that asks for another user than `account` (the plugin's own number).
#[must_use]
pub fn note(spec: &PodSpec, container: &Container, account: u32) -> Option<String> {
    let user = |context: &Option<SecurityContext>| context.as_ref().and_then(|context| context.run_as_user);
    // The container's word counts before the pod's (core/v1 SecurityContext).
    let wanted = user(&container.security_context).or(user(&spec.security_context))?;
    (wanted != i64::from(account)).then(|| {
        format!("runAsUser {wanted} has no effect: jobs run as the plugin's account, whose number is {account}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::request::tests::request;

    fn noted(pod: Value, container: Value) -> Option<String> {
        let containers = json!([{"name": "c", "image": "i", "securityContext": container}]);
        let spec = request(json!({"containers": containers, "securityContext": pod}), json!({})).pod.spec;
        note(&spec, &spec.containers[0], 1001)
    }

    #[test]
    fn another_user_is_noted_and_the_containers_word_counts_first() {
        let (other, own) = (json!({"runAsUser": 1000}), json!({"runAsUser": 1001}));
        let cases = [
            (json!(null), json!(null), false),
            (json!({"fsGroup": 5}), json!({"privileged": false}), false),
            (own.clone(), json!({}), false),
            (other.clone(), own.clone(), false),
            (own, other.clone(), true),
            (other, json!({}), true),
            (json!({"runAsUser": 0}), json!(null), true),
        ];
        for (pod, container, expected) in cases {
            let note = noted(pod.clone(), container.clone());
            assert_eq!(note.is_some(), expected, "{pod} {container}");
            assert!(note.is_none_or(|n| n.contains("runAsUser") && n.contains("1001")));
        }
    }
}
