//! Starts the chain, the far end first, and asks each hop whether it is up before the next one is started.
//!
//! ```text
//!   virtual-kubelet ─▶ api.sock ─ interlink ─▶ plugin.sock ─ ssh-tunnel ══▶ sshd ─▶ login/plugin.sock ─ interlink-plugin
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::Method;
use interlink_daemon::Failure;
use interlink_transport::{Call, Client, Endpoint};
use interlink_wire::{Fault, header, path};

use super::keys::{Keys, write};
use super::place::Place;
use super::program::{Program, Running};
use super::screen::Screen;
use super::sshd;

/// How long a hop may take to come up: a busy machine with two cores needs a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same for the system's sshd, which can be replaced.
const SSHD_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is asked.
const GLANCE: Duration = Duration::from_millis(50);

/// Lines of a log that are shown when its hop fails.
const LAST_WORDS: usize = 8;

/// Where the kubelet gets its pods from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The demo's own directory of manifests.
    Directory,
    /// A cluster.
    Cluster {
        /// Its kubeconfig.
        kubeconfig: PathBuf,
    },
}

/// Starts all hops. What was started is ended by the caller, by the demo's mark.
///
/// # Errors
/// [`Failure`] naming the hop that didn't come up, what it said last, and where the rest is.
pub async fn start(place: &Place, screen: &Screen, node: &str, source: &Source) -> Result<Vec<Running>, Failure> {
    let keys = Keys::make(place)?;
    let mut chain = Chain { place, screen, running: Vec::new(), patience: PATIENCE };

    let config = format!(
        "Socket: unix://{}\nDataRootFolder: {}/\nScheduler: local\nContainerRuntime: host\n",
        place.remote_socket().display(),
        place.jobs().display()
    );
    let args = ["-SlurmConfigpath".into(), chain.config("plugin.yaml", &config)?.into()].into();
    let plugin = chain.program("interlink-plugin", args)?;
    let socket = Endpoint::unix(&place.remote_socket()).map_err(Failure::failed)?;
    let asks = Asks::Plugin(Client::new(socket));
    chain.up(plugin, "scheduler local, runtime host", asks).await?;

    let mut server = sshd::prepare(place, &keys)?;
    let asks = Asks::Sshd(sshd::Login::new(&server, &keys)?);
    let ours = server.program.file == super::own_file()?;
    chain.patience = if ours { PATIENCE } else { SSHD_PATIENCE };
    let (port, user) = (server.port, server.user.clone());
    let up = chain.up(server.program, &server.what, asks).await;
    chain.patience = PATIENCE;
    let (port, user) = match up {
        Ok(()) => (port, user),
        Err(failure) if ours => return Err(failure),
        // A hardened or half-installed sshd, or a sandbox that it can't live in, is no reason to show nothing.
        Err(_) => {
            server = sshd::own(place, &keys, "the system's does not work here")?;
            let (port, user) = (server.port, server.user.clone());
            let asks = Asks::Sshd(sshd::Login::new(&server, &keys)?);
            chain.up(server.program, &server.what, asks).await?;
            (port, user)
        }
    };

    let (lsock, rsock) = (place.plugin_socket(), place.remote_socket());
    let args = [
        "-addr".into(),
        format!("127.0.0.1:{port}").into(),
        "-user".into(),
        user.into(),
        "-keyfile".into(),
        keys.client.into(),
        "-hostkeyfile".into(),
        keys.host_public.into(),
        "-lsock".into(),
        lsock.clone().into(),
        "-rsock".into(),
        rsock.into(),
    ];
    let tunnel = chain.program("ssh-tunnel", args.into())?;
    let socket = Endpoint::unix(&lsock).map_err(Failure::failed)?;
    chain.up(tunnel, "plugin.sock to the plugin through SSH", Asks::Plugin(Client::new(socket))).await?;

    let config =
        format!("InterlinkAddress: unix://{}\nSidecarURL: unix://{}\n", place.api_socket().display(), lsock.display());
    let config = chain.config("interlink.yaml", &config)?;
    let mut api = chain.program("interlink", Vec::new())?;
    api.env.push(("INTERLINKCONFIGPATH", config.into()));
    let socket = Endpoint::unix(&place.api_socket()).map_err(Failure::failed)?;
    chain.up(api, "api.sock, a ping goes through the chain", Asks::Api(Client::new(socket))).await?;

    let config = format!("InterlinkURL: unix://{}\n", place.api_socket().display());
    let config = chain.config("kubelet.yaml", &config)?;
    let mut args = vec!["--nodename".into(), node.into(), "--config".into(), config.into()];
    if matches!(source, Source::Directory) {
        args.extend(["--pod-manifest-path".into(), place.manifests().into()]);
    }
    let mut kubelet = chain.program("virtual-kubelet", args)?;
    let (what, asks) = match source {
        Source::Directory => {
            let socket = Endpoint::unix(&place.kubelet_socket()).map_err(Failure::failed)?;
            (format!("standalone, node {node}"), Asks::Kubelet(Client::new(socket)))
        }
        Source::Cluster { kubeconfig } => {
            kubelet.env.push(("KUBECONFIG", kubeconfig.into()));
            (format!("node {node} of the cluster"), Asks::Node(super::cluster::Cluster::open(place).await?))
        }
    };
    chain.up(kubelet, &what, asks).await?;
    Ok(chain.running)
}

struct Chain<'a> {
    place: &'a Place,
    screen: &'a Screen,
    running: Vec<Running>,
    patience: Duration,
}

impl Chain<'_> {
    fn config(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let file = self.place.join(name);
        write(&file, text)?;
        Ok(file)
    }

    fn program(&self, name: &'static str, args: Vec<std::ffi::OsString>) -> Result<Program, Failure> {
        let file = super::own_file()?.with_file_name(name);
        if !file.is_file() {
            return Err(Failure::failed(format!("{} is missing; run make, which builds all programs", file.display())));
        }
        Ok(Program { name, file, args, env: Vec::new() })
    }

    /// Starts a program and waits until it answers.
    async fn up(&mut self, program: Program, what: &str, asks: Asks) -> Result<(), Failure> {
        let (name, file) = (program.name, program.file.clone());
        let started = Instant::now();
        let mut running = program
            .start(self.place)
            .map_err(|e| Failure::failed(format!("{name} can't be started from {}: {e}", file.display())))?;
        let answer = loop {
            // Its end says more than the silence that follows.
            if let Some(end) = running.ended() {
                break Err(end);
            }
            match tokio::time::timeout(self.patience, asks.once()).await {
                Ok(Ok(())) => break Ok(()),
                Ok(Err(why)) if started.elapsed() >= self.patience => break Err(why),
                Ok(Err(_)) => tokio::time::sleep(GLANCE).await,
                Err(_) => break Err("it does not answer".to_owned()),
            }
        };
        match answer {
            Ok(()) => {
                self.screen.good(name, what, Some(started.elapsed()));
                self.running.push(running);
                Ok(())
            }
            Err(why) => {
                self.screen.bad(name, &why);
                for line in running.last_words(LAST_WORDS) {
                    self.screen.line(&format!("      {line}"));
                }
                let log = running.log().display().to_string();
                Err(Failure::failed(format!("{name} did not come up: {why}; its log is {log}")))
            }
        }
    }
}

/// How a hop is asked.
enum Asks {
    /// The plugin, directly or through the tunnel: its own ping.
    Plugin(Client),
    /// An SSH server, by a login.
    Sshd(sshd::Login),
    /// The API server, which asks the plugin.
    Api(Client),
    /// A standalone kubelet.
    Kubelet(Client),
    /// A node of a cluster.
    Node(super::cluster::Cluster),
}

impl Asks {
    async fn once(&self) -> Result<(), String> {
        match self {
            Self::Plugin(client) => answers(client, Call::new(Method::GET, path::STATUS, "[]")).await,
            Self::Sshd(login) => login.once().await,
            Self::Api(client) => answers(client, Call::new(Method::POST, path::PINGLINK, "")).await,
            Self::Kubelet(client) => answers(client, Call::new(Method::GET, "/pods", "")).await,
            Self::Node(cluster) => cluster.node_ready().await,
        }
    }
}

/// Whether a call is answered with success, else why not.
async fn answers(client: &Client, call: Call) -> Result<(), String> {
    let answer = client.send(call).await.map_err(|e| e.to_string())?;
    if answer.status.is_success() {
        return Ok(());
    }
    let (status, fault) = (answer.status.as_u16(), answer.header(header::ERROR).map(str::to_owned));
    let body = answer.bytes(1 << 16, Duration::from_secs(5)).await.unwrap_or_default();
    Err(Fault::read("it", status, fault.as_deref(), &body).to_string())
}
