//! Wiring: what the handlers share, the routes, start, reload and stop.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::StatusCode;
use interlink_daemon::{Failure, HopHandle, Signals, StateServer, logs, notify, open_files, paths, sockets};
use interlink_transport::{BODY_LIMIT, BindError, Endpoint, serve};
use interlink_wire::{Fault, header, path};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{self, Refusal};
use crate::config::{self, Config};
use crate::create::turns::Turns;
use crate::flags::Flags;
use crate::plugin::limits::Limits;
use crate::plugin::{Plugin, probe, tunnel};
use crate::status::cache::Cache;
use crate::{HOP, PROGRAM, create, delete, logs as pod_logs, ping, pods, status, update_cache};

/// How long requests in hand may go on after SIGTERM: less than systemd's 90 s, more than a submission usually takes.
const DRAIN: Duration = Duration::from_secs(30);

/// Between two looks for cache entries that nobody asks for any more.
const EXPIRY: Duration = Duration::from_secs(600);

/// A body that is not whole by then is given up. Kubelets are on this machine or nearby, and send it at once.
const BODY_TIME: Duration = Duration::from_secs(60);

/// What the handlers share.
#[derive(Debug)]
pub struct App {
    /// The other side.
    pub plugin: Arc<Plugin>,
    /// Creates on their way.
    pub turns: Turns,
    /// Creates and deletes, which outlive their clients.
    pub tasks: TaskTracker,
    /// Cancelled when the program is asked to stop.
    pub shutdown: CancellationToken,
    cache: Mutex<Cache>,
    template: RwLock<String>,
}

impl App {
    /// With an empty cache.
    #[must_use]
    pub fn new(plugin: Arc<Plugin>, template: String, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            turns: Turns::default(),
            tasks: TaskTracker::new(),
            shutdown,
            cache: Mutex::default(),
            template: RwLock::new(template),
        })
    }

    /// What is remembered of pods. Never held across an await.
    pub fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configured `JobScriptTemplate`, or an empty text.
    #[must_use]
    pub fn template(&self) -> String {
        self.template.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_template(&self, template: String) {
        *self.template.write().unwrap_or_else(PoisonError::into_inner) = template;
    }
}

/// The paths of the contract, exactly; any method, because its clients use several.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(path::CREATE, any(create::handle))
        .route(path::DELETE, any(delete::handle))
        .route(path::STATUS, any(status::handle))
        .route(path::PINGLINK, any(ping::handle))
        .route(path::GET_LOGS, any(pod_logs::handle))
        .route(path::UPDATE_CACHE, any(update_cache::handle))
        .route(path::PODS, any(pods::handle))
        .fallback(not_found)
        .with_state(app)
        .layer(middleware::map_response(answer::add_version))
        .layer(middleware::from_fn(note))
}

async fn not_found(request: Request) -> Refusal {
    let paths =
        [path::CREATE, path::DELETE, path::STATUS, path::PINGLINK, path::GET_LOGS, path::UPDATE_CACHE, path::PODS];
    let sentence = format!("this API server has no path {:?}; it has {}", request.uri().path(), paths.join(", "));
    Refusal { status: StatusCode::NOT_FOUND, fault: Fault::lasting(HOP, "no-such-path", sentence) }
}

/// One debug line a request, without its body.
async fn note(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = Instant::now();
    let response = next.run(request).await;
    let error = response.headers().get(header::ERROR).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    tracing::debug!(%method, path, status = response.status().as_u16(), ms = started.elapsed().as_millis(), err = error, "answered");
    response
}

/// A request's body, whatever its content type says.
#[derive(Debug)]
pub struct Payload(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Payload {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let whole = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state)).await.map_err(|_| {
            let sentence = format!("the body was not whole within {} s; send it again", BODY_TIME.as_secs());
            Refusal { status: StatusCode::REQUEST_TIMEOUT, fault: Fault::passing(HOP, "slow-body", sentence) }
        })?;
        whole.map(Self).map_err(|rejection| {
            let status = rejection.into_response().status();
            if status == StatusCode::PAYLOAD_TOO_LARGE {
                let sentence = format!("the body is larger than {} MiB", BODY_LIMIT / 1024 / 1024);
                return Refusal { status, fault: Fault::lasting(HOP, "too-large", sentence) };
            }
            Refusal::bad_request("the body broke off before its end")
        })
    }
}

/// Runs the program until it is asked to stop.
///
/// # Errors
/// [`Failure`] with exit code and sentence.
pub async fn run(flags: Flags) -> Result<(), Failure> {
    let level = logs::init_to(HOP, logs::Level::Info, flags.logfile.as_deref())?;
    let config = config::load(&flags)?;
    level.set(config.level);
    let signals = Signals::install()?;
    open_files::raise_limit();
    let listener = sockets::listen(&config.listen, "api").await.map_err(|error| explain_bind(&config, &error))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let handle = HopHandle::new(PROGRAM, HOP);
    let stopped = CancellationToken::new();
    let runtime_dir = paths::runtime_dir();
    let state_server = serve_state(&runtime_dir, &handle, &stopped).await;
    handle.detail("listen", listener.endpoint().to_string());
    handle.detail("plugin", config.plugin.to_string());
    let tunnel_state = runtime_dir.ok().map(|dir| dir.join(tunnel::STATE_SOCKET));
    let plugin = Arc::new(Plugin::new(config.plugin.clone(), Limits::default(), handle.clone(), tunnel_state));
    let app = App::new(plugin.clone(), config.template.clone(), signals.shutdown.clone());
    handle.up(&format!("listening on {}, plugin at {}", listener.endpoint(), config.plugin));
    notify::ready();

    let mut background = tokio::task::JoinSet::new();
    background.spawn(probe::run(plugin, signals.shutdown.clone()));
    background.spawn(expire(app.clone()));
    background.spawn(reload(flags, config, app.clone(), level, signals.reload.clone()));
    serve(listener, router(app.clone()), signals.shutdown.clone(), DRAIN).await;
    // Submissions whose clients have gone are still in hand.
    app.tasks.close();
    if tokio::time::timeout(DRAIN, app.tasks.wait()).await.is_err() {
        tracing::warn!(count = app.tasks.len(), "creates or deletes were still on their way after the drain time");
    }
    background.shutdown().await;
    stopped.cancel();
    if let Some(task) = state_server {
        let _ = task.await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Serves this program's state. Another API server of this user may have the socket; that must not keep this one from
/// doing its work.
async fn serve_state(
    runtime_dir: &Result<PathBuf, Failure>,
    handle: &HopHandle,
    stopped: &CancellationToken,
) -> Option<JoinHandle<()>> {
    let served = match runtime_dir {
        Ok(dir) => StateServer::spawn(&dir.join(format!("{PROGRAM}.state")), handle, stopped.clone()).await,
        Err(failure) => Err(failure.clone()),
    };
    served.inspect_err(|failure| tracing::warn!("this program's state can't be asked for: {failure}")).ok()
}

/// A socket with another owner: most often API server and tunnel were given the same path.
fn explain_bind(config: &Config, error: &BindError) -> Failure {
    match (error, &config.listen) {
        (BindError::InUse { owner, .. }, Endpoint::Unix(path)) => {
            let remedy = match owner.starts_with(PROGRAM) && !owner.contains("tunnel") {
                true => "stop that one, or give this one another InterlinkAddress".to_owned(),
                false => config::two_lines(),
            };
            Failure::config(format!(
                "InterlinkAddress {} is already in use by {owner}, and a socket has one owner; {remedy}",
                path.display()
            ))
        }
        _ => Failure::config(format!("InterlinkAddress: {error}")),
    }
}

async fn expire(app: Arc<App>) {
    while tokio::time::timeout(EXPIRY, app.shutdown.cancelled()).await.is_err() {
        app.cache().expire(Instant::now());
    }
}

/// On SIGHUP: everything is read first; on an error the old configuration stays.
async fn reload(
    flags: Flags,
    config: Config,
    app: Arc<App>,
    level: logs::LevelHandle,
    mut signal: watch::Receiver<u64>,
) {
    loop {
        tokio::select! {
            changed = signal.changed() => if changed.is_err() { return },
            () = app.shutdown.cancelled() => return,
        }
        match config::load(&flags) {
            Ok(new) => {
                level.set(new.level);
                app.set_template(new.template.clone());
                for warning in &new.warnings {
                    tracing::warn!("{warning}");
                }
                let keys = config::need_restart(&config, &new);
                if keys.is_empty() {
                    tracing::info!("configuration reloaded");
                } else {
                    tracing::warn!("configuration reloaded, but {} need a restart to take effect", keys.join(" and "));
                }
            }
            Err(failure) => tracing::error!("the configuration was not reloaded, the old one stays: {failure}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let start = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
        let body = Body::from_stream(start.chain(futures_util::stream::pending()));
        let refusal = Payload::from_request(Request::new(body), &()).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.fault.retry), (408, true));
        assert!(refusal.fault.sentence.contains("not whole within 60 s"), "{}", refusal.fault.sentence);
    }
}
