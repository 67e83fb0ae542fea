//! The way from a machine with a network of its own to a control plane outside: on the machine, the API server's own
//! address is a door to a socket, and behind that are we.

use std::path::{Path, PathBuf};

use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::ControlPlane;
use interlink_testkit::systemd::Unit;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::{JoinHandle, JoinSet};

/// Where the socket is on the machine.
const INSIDE: &str = "/srv/cluster";

/// A door to the API server; shut when dropped.
#[derive(Debug)]
pub struct Door {
    dir: TestDir,
    port: u16,
    task: JoinHandle<()>,
}

impl Door {
    /// Opens one.
    ///
    /// # Panics
    /// When the control plane has no port, or the socket can't be made.
    pub fn to(cluster: &ControlPlane) -> Self {
        let addr = cluster.url().trim_start_matches("https://").to_owned();
        let port = addr.rsplit(':').next().and_then(|port| port.parse().ok()).expect("its address ends with a port");
        let dir = TestDir::new();
        let listener = UnixListener::bind(dir.join("api.sock")).expect("the directory is the test's own");
        let task = tokio::spawn(async move {
            let mut carried = JoinSet::new();
            while let Ok((mut inside, _)) = listener.accept().await {
                let addr = addr.clone();
                carried.spawn(async move {
                    if let Ok(mut outside) = TcpStream::connect(addr).await {
                        let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                    }
                });
                while carried.try_join_next().is_some() {}
            }
        });
        Self { dir, port, task }
    }

    /// The API server's port, on the machine as outside.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the machine needs of it.
    pub fn bind(&self) -> (PathBuf, PathBuf) {
        (self.dir.path().to_owned(), Path::new(INSIDE).to_owned())
    }

    /// `door.socket`, to be started, and what it starts.
    pub fn units(&self) -> Vec<Unit> {
        let socket = format!("[Socket]\nListenStream=127.0.0.1:{}\n", self.port);
        let service = format!("[Service]\nExecStart=/lib/systemd/systemd-socket-proxyd {INSIDE}/api.sock\n");
        vec![Unit::new("door.socket", socket), Unit::new("door.service", service)]
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}
