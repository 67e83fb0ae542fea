//! What a session that is logged in still needs before it carries a forward.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::fault::Fault;
use super::gatekeeper::Incoming;
use super::live::{Live, OpenError};
use super::{connect, exec};
use crate::config::{Direction, Forward, Remote, Settings};
use crate::credentials::Credentials;

/// A session that may carry `forward`: logged in, its command running, the server asked for a first connection. The
/// receiver tells why it ended, in words.
pub(crate) async fn bring_up(
    settings: &Settings,
    forward: &Forward,
    credentials: &Credentials,
    incoming: Option<mpsc::Sender<Incoming>>,
) -> Result<(Arc<Live>, oneshot::Receiver<String>), Fault> {
    let (live, end) = connect(settings, credentials, incoming).await?;
    match prepare(settings, forward, &live, end).await {
        Ok(end) => Ok((live, end)),
        Err(fault) => {
            live.close().await;
            Err(fault)
        }
    }
}

async fn prepare(
    settings: &Settings,
    forward: &Forward,
    live: &Arc<Live>,
    mut end: oneshot::Receiver<String>,
) -> Result<oneshot::Receiver<String>, Fault> {
    let server = &settings.server;
    if let Remote::Command(command) = &forward.remote {
        let (opener, ended) = exec::start(settings, command, live.handle(), end).await?;
        live.carries(command, opener);
        end = ended;
    }
    if forward.direction == Direction::Reverse {
        return Ok(end);
    }
    match live.open(&forward.remote, settings.connect_timeout).await {
        Ok(probe) => probe.close().await,
        Err(OpenError::Forbidden) => return Err(Fault::forbidden(server, &forward.remote)),
        Err(OpenError::Lost) => return Err(Fault::lost(server, "right after logging in")),
        // The session is good; what is behind it is told by its state.
        Err(OpenError::Refused | OpenError::Server(_) | OpenError::Timeout) => {}
    }
    Ok(end)
}
