//! What ssh-tunnel says of itself on its state socket, where one runs beside us.

use std::path::Path;
use std::time::Duration;

use http::Method;
use interlink_daemon::state::ProgramState;
use interlink_transport::{Call, Client, Endpoint};
use interlink_wire::HopState;

/// The tunnel's state socket in the runtime directory.
pub const STATE_SOCKET: &str = "ssh-tunnel.state";

/// A neighbour on the same machine answers at once or not at all.
const LIMIT: Duration = Duration::from_secs(1);

/// The state of the tunnel whose local socket is `socket`, asked at its state socket `path`; `None` where no tunnel
/// answers there.
pub async fn state(path: &Path, socket: &Path) -> Option<HopState> {
    let client = Client::new(Endpoint::unix(path).ok()?);
    let answer = client.send(Call::new(Method::GET, "/", "").timeout(LIMIT)).await.ok()?;
    let state: ProgramState = serde_json::from_slice(&answer.bytes(1 << 20, LIMIT).await.ok()?).ok()?;
    // Another tunnel of the same user may go elsewhere.
    let listens = state.details.get("lsock").and_then(|v| v.as_str());
    if listens.is_some_and(|own| Path::new(own) != socket) {
        return None;
    }
    state.hops.into_iter().next()
}
