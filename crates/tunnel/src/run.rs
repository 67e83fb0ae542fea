//! The program from its settings to its end.

use std::time::Duration;

use futures_util::future::join_all;
use interlink_daemon::{Failure, HopHandle, Signals, StateServer, notify, open_files, paths};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::check;
use crate::config::{Direction, Forward, Origin, Settings};
use crate::credentials::Credentials;
use crate::forward::served::Served;
use crate::forward::{Carrier, Patience, reverse};
use crate::metrics::{self, Sources};
use crate::session::link::Links;
use crate::session::{Session, keep_up};
use crate::state;

/// How long open connections may go on after SIGTERM. Half of what the API and the kubelet in front need to notice, and
/// far below systemd's own limit of 90 s.
const DRAIN: Duration = Duration::from_secs(5);

/// Connections that the server has handed over and that wait for a task of their own.
const HANDED_OVER: usize = 1024;

/// Runs the tunnel until a signal ends it. `origin` is where the settings come from, to be read again on SIGHUP.
///
/// # Errors
/// [`Failure`] for what a person must mend: key, host keys, a socket in use.
pub async fn run(settings: Settings, origin: Origin) -> Result<(), Failure> {
    let signals = Signals::install()?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if !settings.ignored.is_empty() {
        tracing::warn!("{} without effect: this program has no profiler to start", settings.ignored.join(", "));
    }
    open_files::raise_limit();
    let credentials = Credentials::load(&settings)?;
    if settings.check {
        return check::run(&settings, credentials, &mut std::io::stdout().lock()).await;
    }
    let links = Links::new(settings.connections);
    let carrier = Carrier {
        links: links.watch(),
        patience: Patience { outage: settings.wait, open: settings.connect_timeout },
        tasks: TaskTracker::new(),
        cut: CancellationToken::new(),
    };
    let mut served = Served::start(&settings.forwards, carrier.clone()).await?;
    let metrics = match &settings.metrics {
        Some(at) => Some(metrics::listen(at).await?),
        None => None,
    };
    let handle = HopHandle::new("ssh-tunnel", "tunnel");
    // Its own end comes last, so that the drain can be watched.
    let told = CancellationToken::new();
    serve_state(&settings, &handle, &told).await?;
    tracing::info!(
        key = credentials.identity().describe(),
        "{}, by way of {} as {}",
        in_words(&settings.forwards),
        settings.server,
        settings.user
    );
    notify::ready();

    let stop = &signals.shutdown;
    let (hand_over, incoming) = mpsc::channel(HANDED_OVER);
    let routes = served.watch();
    let sessions = sessions(&settings, credentials, &links)?.into_iter().map(|(index, credentials)| {
        keep_up(Session {
            index,
            settings: &settings,
            credentials,
            links: &links,
            routes: routes.clone(),
            incoming: hand_over.clone(),
            reload: signals.reload.clone(),
            shutdown: stop,
        })
    });
    let metrics = async {
        if let Some(listener) = metrics {
            let sources = Sources { links: links.watch(), routes: routes.clone(), handle: handle.clone() };
            metrics::run(listener, sources, settings.connect_timeout, stop).await;
        }
    };
    tokio::join!(
        metrics,
        join_all(sessions),
        reverse::accept(incoming, routes.clone(), carrier.clone(), stop),
        follow(&settings, &origin, &mut served, signals.reload.clone(), stop),
        state::tell(&settings, &handle, links.watch(), routes.clone(), stop),
    );

    for live in links.watch().borrow().iter().filter_map(|link| link.live().cloned()).collect::<Vec<_>>() {
        for route in routes.borrow().iter().filter(|route| route.forward.direction == Direction::Reverse) {
            live.listen_no_longer(&route.forward.remote).await;
        }
    }
    carrier.tasks.close();
    if timeout(DRAIN, carrier.tasks.wait()).await.is_err() {
        tracing::info!(open = carrier.tasks.len(), "cutting the connections that are still open");
        carrier.cut.cancel();
        carrier.tasks.wait().await;
    }
    join_all(links.take_all().iter().map(|live| live.close())).await;
    told.cancel();
    tracing::info!("stopped");
    Ok(())
}

/// Who each session is: the files are read once for each.
fn sessions(settings: &Settings, first: Credentials, links: &Links) -> Result<Vec<(usize, Credentials)>, Failure> {
    let mut all = vec![(0, first)];
    for index in 1..links.watch().borrow().len() {
        all.push((index, Credentials::load(settings)?));
    }
    Ok(all)
}

/// Reads the configuration again when a person asks for it, and stops accepting at the end.
async fn follow(
    settings: &Settings,
    origin: &Origin,
    served: &mut Served,
    mut reload: watch::Receiver<u64>,
    stop: &CancellationToken,
) {
    let mut before = settings.clone();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            changed = reload.changed() => if changed.is_err() { break },
        }
        if !origin.has_file() {
            continue;
        }
        let again = origin.clone();
        // The file may lie on a network file system that hangs.
        let read = tokio::select! {
            read = tokio::task::spawn_blocking(move || again.read()) => read,
            () = stop.cancelled() => break,
        };
        let changed = match read {
            Ok(Ok(now)) => {
                for warning in &now.warnings {
                    tracing::warn!("{warning}");
                }
                served.become_all(&now.forwards).await.map(|change| (change, now))
            }
            Ok(Err(stop)) => Err(Failure::config(stop.sentence())),
            Err(err) => Err(Failure::failed(format!("reading the configuration failed ({err})"))),
        };
        match changed {
            Ok((change, now)) => {
                let names = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                tracing::info!(begun = names(&change.begun), ended = names(&change.ended), "configuration read again");
                if (Settings { forwards: Vec::new(), warnings: Vec::new(), ..now.clone() })
                    != (Settings { forwards: Vec::new(), warnings: Vec::new(), ..before })
                {
                    tracing::warn!("settings of the connection have changed: restart the tunnel to use them");
                }
                before = now;
            }
            Err(failure) => tracing::error!("{failure}; going on with the configuration that was read before"),
        }
    }
    served.stop().await;
}

fn in_words(forwards: &[Forward]) -> String {
    let all: Vec<String> = forwards
        .iter()
        .map(|forward| match forward.direction {
            Direction::Forward => format!("listening on {}, to be carried to {}", forward.local, forward.remote),
            Direction::Reverse => format!("in reverse: {} to be carried to {}", forward.remote, forward.local),
        })
        .collect();
    all.join("; ")
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
