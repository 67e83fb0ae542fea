//! The two programs between the cluster and the site: the tunnel and the API server.

use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::{binaries, wait};
use interlink_transport::{Call, Client, Endpoint};

use crate::site::Site;

/// A running tunnel and API server.
#[derive(Debug)]
pub struct Link {
    /// The API server.
    pub api: Daemon,
    /// The tunnel.
    pub tunnel: Daemon,
    /// The API server's socket.
    pub socket: PathBuf,
    /// Sockets, logs and configuration.
    pub dir: TestDir,
}

impl Link {
    /// Starts both and waits until a ping goes through to the plugin.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn start(site: &Site) -> Self {
        let dir = TestDir::new();
        let socket = dir.join("api.sock");
        let plugin = dir.join("plugin.sock");
        let known_hosts = dir.write("host_key", site.sshd.known_hosts());
        let tunnel = Launch::new(binaries::path("ssh-tunnel"), dir.join("tunnel.log"))
            .args(["-addr", &format!("127.0.0.1:{}", site.sshd.port()), "-user", &site.user.name])
            .arg("-keyfile")
            .arg(site.key.private())
            .arg("-hostkeyfile")
            .arg(known_hosts)
            .arg("-lsock")
            .arg(&plugin)
            .arg("-rsock")
            .arg(&site.socket)
            .env("RUNTIME_DIRECTORY", dir.path())
            .start();
        let config = dir.write(
            "InterLinkConfig.yaml",
            format!(
                "InterlinkAddress: \"unix://{}\"\nInterlinkPort: \"\"\nSidecarURL: \"unix://{}\"\nSidecarPort: \"0\"\nVerboseLogging: true\n",
                socket.display(),
                plugin.display()
            ),
        );
        let api = Launch::new(binaries::path("interlink"), dir.join("api.log"))
            .env("INTERLINKCONFIGPATH", config)
            .env("RUNTIME_DIRECTORY", dir.path())
            .start();
        let link = Self { api, tunnel, socket, dir };
        link.answers().await;
        link
    }

    /// A client of the API server.
    ///
    /// # Panics
    /// When the socket's path is too long.
    pub fn client(&self) -> Client {
        Client::new(Endpoint::unix(&self.socket).expect("test directories are short"))
    }

    /// Waits until a ping goes through the chain.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn answers(&self) {
        let client = self.client();
        wait::until("a ping through the chain", Duration::from_secs(30), async || {
            let call = Call::new(Method::POST, "/pinglink", "").timeout(Duration::from_secs(5));
            let answer = client.send(call).await.map_err(|e| e.to_string())?;
            let status = answer.status;
            let body = answer.bytes(100_000, Duration::from_secs(5)).await.map_err(|e| e.to_string())?;
            if status == 200 { Ok(()) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body))) }
        })
        .await;
    }
}
