//! ConfigMaps, Secrets and ServiceAccount tokens of the cluster, fetched when a pod needs them.

use async_trait::async_trait;
use interlink_wire::Object;
use interlink_wire::names::is_dns_subdomain;
use serde_json::{Value, json};

use super::api::{Kube, KubeError};
use crate::resolve::{Objects, TokenRequest};

/// The API server as [`Objects`].
#[derive(Debug)]
pub struct KubeObjects {
    kube: Kube,
}

impl KubeObjects {
    /// Fetches through `kube`.
    #[must_use]
    pub fn new(kube: Kube) -> Self {
        Self { kube }
    }

    async fn fetch(&self, kind: &str, namespace: &str, name: &str) -> Result<Option<Object>, String> {
        // A name that can't exist doesn't, and must not become part of a path.
        if !is_dns_subdomain(namespace) || !is_dns_subdomain(name) {
            return Ok(None);
        }
        match self.kube.get(&format!("/api/v1/namespaces/{namespace}/{kind}/{name}")).await {
            Ok(value) => Ok(Object::from_value(value).map(stripped)),
            Err(KubeError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// As inside of a list: objects travel without their type.
fn stripped(object: Object) -> Object {
    let mut object = object.without_managed_fields();
    object.fields_mut().remove("kind");
    object.fields_mut().remove("apiVersion");
    object
}

#[async_trait]
impl Objects for KubeObjects {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Object>, String> {
        self.fetch("configmaps", namespace, name).await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Object>, String> {
        self.fetch("secrets", namespace, name).await
    }

    async fn service_account_token(&self, request: &TokenRequest) -> Result<String, String> {
        let (namespace, account) = (&request.namespace, &request.service_account);
        if !is_dns_subdomain(namespace) || !is_dns_subdomain(account) {
            return Err(format!(
                "{account:?} can't be the name of a ServiceAccount: lower-case letters, digits, - and . only"
            ));
        }
        let audiences: Vec<&str> = Some(request.audience.as_str()).filter(|a| !a.is_empty()).into_iter().collect();
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": request.expiration_seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": request.pod_name, "uid": request.pod_uid}},
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let answer = self.kube.create(&path, &body).await.map_err(|e| e.to_string())?;
        Ok(answer.get("status").and_then(|s| s.get("token")).and_then(Value::as_str).unwrap_or("").to_owned())
    }
}
