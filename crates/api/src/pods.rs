//! `/pods`: the plugin's list of the asking owner's pods, where the plugin has the extension.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use interlink_wire::{Fault, capability, path};

use crate::HOP;
use crate::answer::{self, Refusal};
use crate::caller::Caller;
use crate::plugin::{Lane, Unanswered};
use crate::server::App;

/// Handles the path.
///
/// # Errors
/// [`Refusal`]: 404 when the plugin does not have the extension.
pub async fn handle(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Refusal> {
    let refusal = |unanswered: Unanswered| unanswered.trouble.refusal();
    let capabilities = app.plugin.capabilities().await.map_err(refusal)?;
    if !capabilities.iter().any(|name| name == capability::POD_LIST) {
        let fault =
            Fault::lasting(HOP, "unsupported", "the plugin does not announce podList, so its pods can't be listed");
        return Err(Refusal { status: StatusCode::NOT_FOUND, fault });
    }
    let limit = app.plugin.patience_of(&caller);
    let reply = app.plugin.ask(Lane::Read, Method::GET, path::PODS, &caller, Bytes::new(), limit).await;
    let reply = reply.map_err(refusal)?;
    if reply.status.is_success() { Ok(answer::json_bytes(reply.body)) } else { Err(reply.refusal()) }
}
