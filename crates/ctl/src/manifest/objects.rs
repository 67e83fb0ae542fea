//! The manifest as the source of what its pod refers to.

use interlink_kubelet::resolve::{Objects, TokenRequest};
use interlink_wire::Object;

use super::Manifest;

#[async_trait::async_trait]
impl Objects for Manifest {
    async fn config_map(&self, _: &str, name: &str) -> Result<Option<Object>, String> {
        Ok(self.config_maps.get(name).cloned())
    }

    async fn secret(&self, _: &str, name: &str) -> Result<Option<Object>, String> {
        Ok(self.secrets.get(name).cloned())
    }

    async fn service_account_token(&self, request: &TokenRequest) -> Result<String, String> {
        Err(format!(
            "there is no Kubernetes to issue a token for ServiceAccount {:?}; remove the volume from the manifest",
            request.service_account
        ))
    }
}
