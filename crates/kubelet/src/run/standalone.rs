//! Without a cluster: the pods of a directory, and the kubelet API on a private socket.

use std::path::Path;
use std::sync::Arc;

use interlink_daemon::{Failure, notify, paths};
use interlink_transport::{Endpoint, Listener, serve};
use tokio::sync::watch;

use super::{DRAIN, Frame, reload, resolve_settings};
use crate::standalone::{Standalone, owner, socket};

pub(super) async fn run(frame: Frame, manifests: &Path) -> Result<(), Failure> {
    let config = &frame.config;
    let directory = Standalone::open(manifests, &config.node, &paths::state_dir()?, frame.table.clone())
        .map_err(Failure::config)?;
    let socket = socket(&paths::runtime_dir()?);
    let listener = Listener::bind(&Endpoint::unix(&socket).map_err(Failure::config)?).await.map_err(Failure::config)?;
    frame.client.set_owner(owner());
    let host = config.pod_ip;
    let (settings_out, settings) = watch::channel(resolve_settings(config, host));
    let shutdown = frame.signals.shutdown.clone();
    let server = tokio::spawn(serve(listener, frame.kubelet_api(), shutdown.clone(), DRAIN));
    let reloading = tokio::spawn(reload::follow(
        frame.flags.clone(),
        config.clone(),
        frame.level.clone(),
        frame.signals.reload.clone(),
        shutdown,
        move |new| drop(settings_out.send_replace(resolve_settings(new, host))),
    ));
    frame.handle.up(&format!(
        "node {}: pods of {}, kubelet API on {}",
        config.node,
        manifests.display(),
        socket.display()
    ));
    notify::ready();
    frame
        .pods(Box::new(directory.source), Arc::new(directory.store), Arc::new(directory.objects), settings, host)
        .await;
    // The server may be cut off: clients of a kubelet that stops have nobody to ask.
    let _ = server.await;
    reloading.abort();
    Ok(())
}
