//! What ssh-tunnel says of itself on its state socket, where one runs beside us: it knows better than a closed
//! connection why nothing comes through.

use std::path::Path;
use std::time::Duration;

use http::Method;
use interlink_daemon::state::ProgramState;
use interlink_transport::{Call, Client, Endpoint};
use interlink_wire::{HopState, HopStatus};

/// The tunnel's state socket in the runtime directory.
pub const STATE_SOCKET: &str = "ssh-tunnel.state";

/// The detail that names the tunnel's local endpoint.
const LISTENS: &str = "listens";

/// A neighbour on the same machine answers at once or not at all.
const LIMIT: Duration = Duration::from_secs(1);

/// The hops that the tunnel listening at `endpoint` tells of: itself, and the far end where it knows of it. Empty when
/// no tunnel answers at the state socket `path`, or when it is another one.
pub async fn hops(path: &Path, endpoint: &Endpoint) -> Vec<HopState> {
    match ask(path).await {
        Some(state) if is_ours(&state, endpoint) => state.hops,
        _ => Vec::new(),
    }
}

/// The first hop that is down.
#[must_use]
pub fn culprit(hops: Vec<HopState>) -> Option<HopState> {
    hops.into_iter().find(|hop| hop.state == HopStatus::Down)
}

async fn ask(path: &Path) -> Option<ProgramState> {
    let client = Client::new(Endpoint::unix(path).ok()?);
    let answer = client.send(Call::new(Method::GET, "/", "").timeout(LIMIT)).await.ok()?;
    serde_json::from_slice(&answer.bytes(1 << 20, LIMIT).await.ok()?).ok()
}

fn is_ours(state: &ProgramState, endpoint: &Endpoint) -> bool {
    state.details.get(LISTENS).and_then(|listens| listens.as_str()) == Some(endpoint.to_string().as_str())
}
