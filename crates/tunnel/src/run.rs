//! The program from its settings to its end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use interlink_daemon::{Failure, HopHandle, Signals, StateServer, notify, paths, sockets};
use interlink_transport::{BindError, Endpoint, Listener};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::check;
use crate::config::{self, Direction, Settings};
use crate::credentials::Credentials;
use crate::forward::{self, Patience, reverse};
use crate::session::{self, link::Link};
use crate::state;

/// How long open connections may go on after SIGTERM. Half of what the API and the kubelet in front need to notice, and
/// far below systemd's own limit of 90 s.
const DRAIN: Duration = Duration::from_secs(5);

/// The listening socket's name in the service manager.
const SOCKET_NAME: &str = "tunnel";

/// Connections that the server has handed over and that wait for a task of their own.
const HANDED_OVER: usize = 1024;

/// Runs the tunnel until a signal ends it.
///
/// # Errors
/// [`Failure`] for what a person must mend: key, host keys, a socket in use.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    let signals = Signals::install()?;
    if !settings.ignored.is_empty() {
        tracing::warn!("{} without effect: this program has no profiler to start", settings.ignored.join(", "));
    }
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    allow_many_descriptors();
    let credentials = Credentials::load(&settings)?;
    if settings.check {
        return check::run(&settings, credentials, &mut std::io::stdout().lock()).await;
    }
    let forward = &settings.forwards[0];
    let ends = Ends::prepare(forward).await?;
    let handle = HopHandle::new("ssh-tunnel", "tunnel");
    handle.detail("server", settings.server.to_string());
    handle.detail("listens", forward.listens());
    handle.detail("forwardsTo", forward.leads_to());
    // Its own end comes last, so that the drain can be watched.
    let told = CancellationToken::new();
    serve_state(&settings, &handle, &told).await?;
    tracing::info!(
        key = credentials.identity().describe(),
        "{}, by way of {} as {}",
        ends.in_words(forward),
        settings.server,
        settings.user
    );
    notify::ready();

    let link = watch::Sender::new(Link::Connecting);
    let patience = Patience { outage: settings.wait, open: settings.connect_timeout };
    let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
    let stop = &signals.shutdown;
    let (hand_over, accept) = match ends {
        Ends::Forward(listener) => (
            None,
            Either::Left(forward::accept(
                listener,
                forward.remote.clone(),
                link.subscribe(),
                patience,
                &connections,
                stop,
                &cut,
            )),
        ),
        Ends::Reverse => {
            let (hand_over, incoming) = mpsc::channel(HANDED_OVER);
            let (service, limit) = (&forward.local, settings.connect_timeout);
            let accept = reverse::accept(incoming, service, limit, link.subscribe(), &connections, stop, &cut);
            (Some(hand_over), Either::Right(accept))
        }
    };
    tokio::join!(
        session::keep_up(&settings, forward, credentials, &link, hand_over, signals.reload.clone(), stop),
        accept,
        state::tell(&settings, forward, &handle, link.subscribe(), stop),
    );

    if forward.direction == Direction::Reverse {
        let live = match &*link.borrow() {
            Link::Up(live) => Some(Arc::clone(live)),
            Link::Connecting | Link::Down { .. } => None,
        };
        if let Some(live) = live {
            live.listen_no_longer(&forward.remote).await;
        }
    }
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::info!(open = connections.len(), "cutting the connections that are still open");
        cut.cancel();
        connections.wait().await;
    }
    if let Link::Up(live) = link.send_replace(Link::Connecting) {
        live.close().await;
    }
    told.cancel();
    tracing::info!("stopped");
    Ok(())
}

/// What this machine's end of the tunnel does.
enum Ends {
    /// It accepts.
    Forward(Listener),
    /// It dials.
    Reverse,
}

impl Ends {
    async fn prepare(forward: &config::Forward) -> Result<Self, Failure> {
        match forward.direction {
            Direction::Forward => match sockets::listen(&forward.local, SOCKET_NAME).await {
                Ok(listener) => Ok(Self::Forward(listener)),
                Err(err) => Err(in_the_way(forward, &err)),
            },
            Direction::Reverse => Ok(Self::Reverse),
        }
    }

    fn in_words(&self, forward: &config::Forward) -> String {
        let remote = &forward.remote;
        match self {
            Self::Forward(listener) => format!("listening on {}, to be carried to {remote}", listener.endpoint()),
            Self::Reverse => format!("in reverse: {remote} to be carried to {}", forward.local),
        }
    }
}

/// The socket that was asked for must be ours. The usual one may belong to another tunnel of this user, and a tunnel
/// works without.
async fn serve_state(settings: &Settings, handle: &HopHandle, stop: &CancellationToken) -> Result<(), Failure> {
    if let Some(path) = &settings.state_socket {
        let path = std::path::absolute(path).map_err(|err| Failure::config(format!("-state: {err}")))?;
        return StateServer::start(&path, handle, stop.clone()).await;
    }
    let path = paths::runtime_dir()?.join("ssh-tunnel.state");
    if let Err(failure) = StateServer::start(&path, handle, stop.clone()).await {
        tracing::warn!("not serving the state: {failure}; give each tunnel a -state of its own");
    }
    Ok(())
}

/// A thousand connections need more than the usual 1024 descriptors; the hard limit is ours to use.
fn allow_many_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(err) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::debug!(%err, "keeping the limit of {soft} descriptors");
    }
}

/// Names the owner and both ways out: one path can't have two owners, and who followed a guide may have meant the other
/// direction.
fn in_the_way(forward: &config::Forward, err: &BindError) -> Failure {
    let reverse = |owner: &str| {
        format!(
            "if instead connections from the server should reach {owner}, as the first program of this name did it, add -reverse"
        )
    };
    match (err, &forward.local) {
        (BindError::InUse { owner, .. }, Endpoint::Unix(path)) => {
            let own =
                ["plugin.sock", "tunnel.sock"].map(|name| path.with_file_name(name)).into_iter().find(|p| p != path);
            let own = own.unwrap_or_else(|| path.clone());
            Failure::config(format!(
                "-lsock {path} belongs to {owner}, which listens there already: give the tunnel a path of its own \
                 (-lsock {own}) and let its client dial that (SidecarURL: unix://{own}); {reverse}",
                path = path.display(),
                own = own.display(),
                reverse = reverse(owner),
            ))
        }
        (BindError::InUse { owner, endpoint }, Endpoint::Tcp { .. }) => Failure::config(format!(
            "-lsock {endpoint} belongs to {owner}, which listens there already: give the tunnel a port of its own; {}",
            reverse("it")
        )),
        _ => Failure::config(format!("-lsock: {err}")),
    }
}
