//! Listening sockets that outlive the process that made them, so that no client is refused while it is restarted.
//!
//! systemd's file descriptor store (`FileDescriptorStoreMax=`) keeps a copy of the socket from the first start on, also
//! over a `kill -9`; clients that come meanwhile wait in its queue. A stop closes it: stopped means stopped. Unlike with
//! a `.socket` unit, no client starts what an operator stopped.

mod inherited;

use std::os::fd::AsFd as _;

use interlink_transport::{BindError, Endpoint, Listener};
use sd_notify::NotifyState;

/// Listens on `endpoint`, with the socket that systemd kept under `name` if there is one. Must be called inside a tokio
/// runtime. Without systemd it is [`Listener::bind`].
///
/// # Errors
/// [`BindError`], which names the present owner where there is one.
pub async fn listen(endpoint: &Endpoint, name: &str) -> Result<Listener, BindError> {
    if let Some(kept) = inherited::take(name) {
        match Listener::adopt(endpoint, kept).await {
            Ok(listener) => {
                tracing::debug!("took over the listening socket {name} from the run before");
                return Ok(listener);
            }
            Err(err) => {
                tracing::info!("made the listening socket {name} anew: {err}");
                remove(name);
            }
        }
    }
    let mut listener = Listener::bind(endpoint).await?;
    // Only there a service manager may keep it; elsewhere the file must go with the process.
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        let stored =
            sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(name)], &[listener.as_fd()]);
        if stored.is_ok() {
            listener.keep();
        }
        tell(stored);
    }
    Ok(listener)
}

/// Gives up a socket for good: neither the service manager nor its file keeps it.
pub fn forget(mut listener: Listener, name: &str) {
    listener.release();
    remove(name);
}

/// Has the service manager keep a socket under `name`, if it does not yet. It ignores one that it has, under whatever
/// name: [`give_up_name`] comes first.
pub fn store(listener: &Listener, name: &str) {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        tell(sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(name)], &[listener.as_fd()]));
    }
}

/// Has the service manager forget all sockets of this name.
pub fn give_up_name(name: &str) {
    remove(name);
}

/// Gives up the sockets that the service manager has kept under other names than these, so that nobody waits in the
/// queue of one that is no longer asked for. To be called before the first [`listen`].
pub fn forget_others(names: &[String]) {
    for name in inherited::give_up_others(names) {
        tracing::info!("gave up the listening socket {name} of the run before: it is no longer asked for");
        remove(&name);
    }
}

fn remove(name: &str) {
    tell(sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]));
}

fn tell(told: std::io::Result<()>) {
    if let Err(error) = told {
        tracing::debug!(err = %error, "systemd could not be told about a listening socket");
    }
}
