//! ConfigMaps and Secrets of the directory.

use std::sync::Arc;

use async_trait::async_trait;
use interlink_wire::Object;

use super::Shared;
use super::look::Snapshot;
use crate::resolve::{Objects, TokenRequest};

/// The directory as a source of what pods refer to.
#[derive(Debug)]
pub struct DirectoryObjects {
    shared: Arc<Shared>,
}

impl DirectoryObjects {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, String> {
        self.shared.get().ok_or_else(|| "the manifests have not been read yet".to_owned())
    }
}

#[async_trait]
impl Objects for DirectoryObjects {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Object>, String> {
        Ok(self.snapshot()?.config_maps.get(&(namespace.to_owned(), name.to_owned())).cloned())
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Object>, String> {
        Ok(self.snapshot()?.secrets.get(&(namespace.to_owned(), name.to_owned())).cloned())
    }

    async fn service_account_token(&self, _: &TokenRequest) -> Result<String, String> {
        Err("without a cluster there is nobody who issues tokens; remove the volume source".to_owned())
    }
}
