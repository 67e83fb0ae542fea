//! `/pinglink`: asks the plugin how it is, and says how every hop is.

pub mod compose;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::answer::{self, Refusal, VERSION};
use crate::caller::Caller;
use crate::server::App;

/// Handles the path. The body is not read: kubelets send none, people may send anything.
///
/// # Errors
/// [`Refusal`]: 503 when the plugin can't be reached, the plugin's own status when it answers with an error.
pub async fn handle(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Refusal> {
    let reply = match app.plugin.ping(&caller).await {
        Ok(reply) => reply,
        Err(unanswered) => {
            return Err(Refusal { status: StatusCode::SERVICE_UNAVAILABLE, ..unanswered.trouble.refusal() });
        }
    };
    if !reply.status.is_success() {
        return Err(reply.refusal());
    }
    let served = compose::served(&compose::capabilities(&reply.body));
    match compose::compose(&reply.body, VERSION, &served, app.plugin.hops().await) {
        Some(value) => Ok(answer::json(&value)),
        None => Ok(answer::text(StatusCode::OK, reply.body).into_response()),
    }
}
