//! TLS connections: who is at the other end, limits, the drain.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use interlink_transport::{Listener, Stream};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::access::{Access, Verdict};
use super::certificate::{Pem, Serving};
use super::client_ca;
use super::subject::Subject;

/// A client that has not finished its handshake, or the headers of a request, by then is let go.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// Connections at once; more wait in the backlog. Log followers hold one each.
const CONNECTIONS: usize = 4096;
/// How often the files of certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What handshakes need; certificates and client CA can change while it serves.
pub struct Tls {
    serving: Serving,
    client_ca_file: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
    state: Mutex<State>,
}

struct State {
    pem: Pem,
    key: Arc<CertifiedKey>,
    client_ca: String,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    config: Arc<ServerConfig>,
    /// What was last complained about, so that it is said once.
    complaint: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("serving", &self.serving).finish_non_exhaustive()
    }
}

impl Tls {
    /// Loads the serving certificate and, where there is one, `ClientCAFile`. Reads and may write files.
    ///
    /// Until a client CA is known (see [`Tls::set_client_ca`]) every request is answered 401.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub fn new(serving: Serving, client_ca_file: Option<PathBuf>) -> Result<Self, String> {
        let provider = Arc::new(default_provider());
        let pem = serving.load(None, &provider)?;
        let key = Arc::new(pem.certified(&provider)?);
        let config = config(&provider, key.clone(), None)?;
        let state = State { pem, key, client_ca: String::new(), verifier: None, config, complaint: String::new() };
        let tls = Self { serving, client_ca_file, provider, state: Mutex::new(state) };
        if let Some(pem) = tls.read_client_ca()? {
            tls.set_client_ca(&pem)?;
        }
        Ok(tls)
    }

    /// Makes the authorities in `pem` the ones whose certificates are verified. The same again changes nothing.
    ///
    /// # Errors
    /// One sentence; the old authorities stay.
    pub fn set_client_ca(&self, pem: &str) -> Result<(), String> {
        if self.state().client_ca == pem {
            return Ok(());
        }
        let verifier = client_ca::verifier(pem, self.provider.clone())?;
        let mut state = self.state();
        // A new configuration also forgets the sessions of those whom the old authorities verified.
        state.config = config(&self.provider, state.key.clone(), Some(verifier.clone()))?;
        state.verifier = Some(verifier);
        pem.clone_into(&mut state.client_ca);
        Ok(())
    }

    /// Reads the files again. On an error the old certificates stay and the reason is logged once.
    pub fn refresh(&self) {
        let reloaded = self.reload_certificate().and_then(|()| match self.read_client_ca()? {
            Some(pem) => self.set_client_ca(&pem),
            None => Ok(()),
        });
        let complaint = reloaded.err().unwrap_or_default();
        let mut state = self.state();
        if !complaint.is_empty() && state.complaint != complaint {
            tracing::warn!("{complaint}; the certificates in use stay");
        }
        state.complaint = complaint;
    }

    fn reload_certificate(&self) -> Result<(), String> {
        let known = self.state().pem.clone();
        let pem = self.serving.load(Some(&known), &self.provider)?;
        if pem == known {
            return Ok(());
        }
        let key = Arc::new(pem.certified(&self.provider)?);
        let mut state = self.state();
        state.config = config(&self.provider, key.clone(), state.verifier.clone())?;
        state.key = key;
        state.pem = pem;
        tracing::info!("the kubelet API shows a new certificate");
        Ok(())
    }

    fn read_client_ca(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.client_ca_file else { return Ok(None) };
        let read = std::fs::read_to_string(path);
        read.map(Some).map_err(|e| format!("can't read ClientCAFile {}: {e}", path.display()))
    }

    /// The certificate that clients see.
    #[cfg(test)]
    pub(super) fn shown(&self) -> rustls_pki_types::CertificateDer<'static> {
        self.state().key.cert[0].clone()
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.state().config.clone()
    }

    /// Whole values are put in at once, so a panic elsewhere leaves nothing half-done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, String> {
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS can't be set up: {e}"))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::unwrap_or_clone(key))));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves `router` over TLS until `shutdown`; then finishes what is in hand for at most `drain`.
///
/// Each request is put before `access` first. Certificates are looked after while it runs.
pub async fn serve_tls(
    listener: Listener,
    tls: Arc<Tls>,
    access: Access,
    router: Router,
    shutdown: CancellationToken,
    drain: Duration,
) {
    let looking = tokio::spawn(look_after(tls.clone(), shutdown.clone()));
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
            () = shutdown.cancelled() => break,
        };
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let connection = connection(stream, tls.config(), access.clone(), router.clone(), graceful.watcher());
        let cut = cut.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = cut.cancelled() => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            seconds = drain.as_secs(),
            "kubelet API requests were still running after the drain time; closing them"
        );
    }
    cut.cancel();
    connections.wait().await;
    // It ends with `shutdown`; a panic in it has been logged.
    let _ = looking.await;
}

async fn look_after(tls: Arc<Tls>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        let tls = tls.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || tls.refresh()).await {
            tracing::error!(err = %error, "looking after the certificates failed");
        }
    }
}

async fn connection(stream: Stream, config: Arc<ServerConfig>, access: Access, router: Router, watcher: Watcher) {
    let handshake = tokio::time::timeout(HELLO_LIMIT, TlsAcceptor::from(config).accept(stream));
    let stream = match handshake.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(err = %error, "a TLS handshake with the kubelet API failed"),
        Err(_) => return tracing::debug!("a TLS handshake with the kubelet API was not finished in time"),
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let caller = shown.and_then(Subject::of);
    let service = hyper::service::service_fn(move |request| {
        let (access, router, caller) = (access.clone(), router.clone(), caller.clone());
        answer(access, router, caller, request)
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HELLO_LIMIT);
    // A client that goes away in the middle is its own business.
    if let Err(error) = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await {
        tracing::debug!(err = %error, "a kubelet API connection ended");
    }
}

async fn answer(
    access: Access,
    router: Router,
    caller: Option<Subject>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    match access.decide(caller.as_ref(), request.method(), request.uri().path()).await {
        Verdict::Pass => router.oneshot(request.map(Body::new)).await,
        Verdict::Refuse(status, sentence) => {
            let user = caller.map(|s| s.user);
            tracing::debug!(?user, path = request.uri().path(), status = status.as_u16(), "{sentence}");
            Ok((status, format!("{sentence}\n")).into_response())
        }
    }
}
