//! What the programs of this machine say of themselves, all asked at once.

use std::path::Path;
use std::time::Duration;

use interlink_transport::Endpoint;

use super::agreement;
use super::programs::{self, Heard, Program};
use super::state_socket;

/// The programs' words.
#[derive(Debug)]
pub struct Words {
    /// virtual-kubelet's.
    pub kubelet: Heard,
    /// interlink's.
    pub api: Heard,
    /// ssh-tunnel's.
    pub tunnel: Heard,
    /// interlink-plugin's, where it is on this machine.
    pub plugin: Heard,
}

impl Words {
    /// Asks by the state sockets of `dir`, the tunnel by its own where it has another, each at most `limit`.
    pub async fn ask(dir: &Path, tunnel: Option<&Path>, limit: Duration) -> Self {
        let at = |program| state_socket(dir, program);
        let (kubelet, api, plugin) = (at(Program::Kubelet), at(Program::Api), at(Program::Plugin));
        let tunnel = tunnel.map_or_else(|| at(Program::Tunnel), Path::to_owned);
        let (kubelet, api, tunnel, plugin) = tokio::join!(
            programs::ask(Program::Kubelet, &kubelet, limit),
            programs::ask(Program::Api, &api, limit),
            programs::ask(Program::Tunnel, &tunnel, limit),
            programs::ask(Program::Plugin, &plugin, limit),
        );
        Self { kubelet, api, tunnel, plugin }
    }

    /// Where the API server says that it listens, or the kubelet that it does.
    #[must_use]
    pub fn api_endpoint(&self) -> Option<Endpoint> {
        let said = self.api.detail("listen").or_else(|| self.kubelet.detail("api"))?;
        agreement::endpoint(said)
    }
}
