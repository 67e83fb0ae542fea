//! Who gets in.

use std::sync::Arc;

use async_trait::async_trait;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::super::access::{Access, Review, Reviewer};
use super::super::subject::Subject;
use super::authority::{Authority, get};
use super::next_hop::Stage;

#[tokio::test]
async fn nobody_is_answered_without_a_certificate() {
    let stage = Stage::set(Access::default()).await;
    for path in ["/healthz", "/pods", "/containerLogs/a/b/c", "/nonsense"] {
        let answer = get(stage.port, path, None).await.unwrap();
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.body.contains("needs a client certificate of the cluster's CA"), "{}", answer.body);
    }
    stage.clear().await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let stage = Stage::set(Access::default()).await;
    let foreign = Authority::new().sign("kube-apiserver-kubelet-client", &["system:masters"]);
    let refused = get(stage.port, "/healthz", Some(&foreign)).await;
    assert!(refused.is_err(), "{refused:?}");
    stage.clear().await;
}

#[tokio::test]
async fn the_api_server_gets_in_and_others_of_its_authority_do_not() {
    let stage = Stage::set(Access::default()).await;
    let cases = [
        ("kube-apiserver-kubelet-client", &["kubeadm:cluster-admins"][..], 200),
        ("admin", &["system:masters"], 200),
        ("jane", &["developers"], 403),
        ("system:node:other", &["system:nodes"], 403),
        ("", &["system:masters"], 401),
    ];
    for (user, groups, status) in cases {
        let identity = stage.authority.sign(user, groups);
        let answer = get(stage.port, "/healthz", Some(&identity)).await.unwrap();
        assert_eq!(answer.status, status, "{user}: {}", answer.body);
        if status == 403 {
            assert!(
                answer.body.starts_with(&format!("user \"{user}\" may not use the kubelet API: ")),
                "{}",
                answer.body
            );
        }
    }
    stage.clear().await;
}

struct Friends;

#[async_trait]
impl Reviewer for Friends {
    async fn review(&self, subject: &Subject, _: &'static str, _: &'static str) -> Review {
        if subject.groups.iter().any(|g| g == "friends") { Review::Allowed } else { Review::Denied }
    }
}

#[tokio::test]
async fn whom_the_clusters_rules_allow_gets_in() {
    let stage = Stage::set(Access::new(Some(Arc::new(Friends)))).await;
    for (group, status) in [("friends", 200), ("others", 403)] {
        let identity = stage.authority.sign("jane", &[group]);
        assert_eq!(get(stage.port, "/healthz", Some(&identity)).await.unwrap().status, status, "{group}");
    }
    stage.clear().await;
}

#[tokio::test]
async fn a_new_client_authority_takes_over() {
    let stage = Stage::set(Access::default()).await;
    let (old, next) = (stage.api_server(), Authority::new());
    let new = next.sign("kube-apiserver", &[]);
    assert!(stage.tls.set_client_ca("nonsense").unwrap_err().contains("holds no certificate"));
    assert_eq!(get(stage.port, "/healthz", Some(&old)).await.unwrap().status, 200);
    // While a cluster changes its authority, both are in the bundle.
    stage.tls.set_client_ca(&format!("{}{}", stage.authority.pem, next.pem)).unwrap();
    for identity in [&old, &new] {
        assert_eq!(get(stage.port, "/healthz", Some(identity)).await.unwrap().status, 200);
    }
    stage.tls.set_client_ca(&next.pem).unwrap();
    assert!(get(stage.port, "/healthz", Some(&old)).await.is_err());
    assert_eq!(get(stage.port, "/healthz", Some(&new)).await.unwrap().status, 200);
    stage.clear().await;
}

/// `O = a, CN = first, O = b, CN = jane`, made by OpenSSL.
const TWO_OF_EACH: &str = "-----BEGIN CERTIFICATE-----
MIIBxDCCAWugAwIBAgIUEI9kW6NyR/JYZqTGYctG/leyYUYwCgYIKoZIzj0EAwIw
NzEKMAgGA1UECgwBYTEOMAwGA1UEAwwFZmlyc3QxCjAIBgNVBAoMAWIxDTALBgNV
BAMMBGphbmUwIBcNMjYxMTIzMTMzODEyWhgPMjEyNjEwMzAxMzM4MTJaMDcxCjAI
BgNVBAoMAWExDjAMBgNVBAMMBWZpcnN0MQowCAYDVQQKDAFiMQ0wCwYDVQQDDARq
YW5lMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEvZJdU28p4/pPbh2d4+v+jbJ7
d/NcMXfLLEY7zP28Ya2aQ545eJVFpFGNa9uhZc/AfV5RjtJuKXnm0pMwLpOaWqNT
MFEwHQYDVR0OBBYEFJh97f6eIj6FpnVcxWvpFCg0qeFtMB8GA1UdIwQYMBaAFJh9
7f6eIj6FpnVcxWvpFCg0qeFtMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwID
RwAwRAIgF3v3ASN5klzOAFq3bidqUeIOaE+haa3I9UGrMa49uRICICVkSc2bCfuV
Uset4iZ/XnKppxOhNvl7oViSVJqqHE/G
-----END CERTIFICATE-----";

#[test]
fn a_certificate_names_user_and_groups() {
    let der = CertificateDer::from_pem_slice(TWO_OF_EACH.as_bytes()).unwrap();
    let subject = Subject::of(&der).unwrap();
    assert_eq!((subject.user.as_str(), subject.groups), ("jane", vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(Subject::of(&CertificateDer::from(vec![1, 2, 3])), None);
}
