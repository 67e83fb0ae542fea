//! Kubeconfig files: certificates are inside, so a file can be copied anywhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::pki::Identity;

/// The kubeconfig of a user who has a certificate.
pub(super) fn with_certificate(server: &str, ca: &str, identity: &Identity) -> String {
    kubeconfig(
        server,
        ca,
        json!({
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }),
    )
}

/// The kubeconfig of a user who has a token.
pub(super) fn with_token(server: &str, ca: &str, token: &str) -> String {
    kubeconfig(server, ca, json!({ "token": token }))
}

/// JSON is YAML.
fn kubeconfig(server: &str, ca: &str, user: Value) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "test",
            "cluster": { "server": server, "certificate-authority-data": STANDARD.encode(ca) },
        }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    });
    format!("{config:#}\n")
}
