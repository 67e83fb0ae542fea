//! SIGHUP: everything is read first; on an error the old configuration stays.

use interlink_daemon::logs::LevelHandle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::flags::Flags;
use crate::config::{self, Config};

/// Reads the configuration at every SIGHUP and hands it to `apply`, until `shutdown`.
pub(super) async fn follow(
    flags: Flags,
    running: Config,
    level: LevelHandle,
    mut signal: watch::Receiver<u64>,
    shutdown: CancellationToken,
    apply: impl Fn(&Config) + Send,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = signal.changed() => if changed.is_err() { return },
        }
        let new = match config::load(&flags) {
            Ok(new) => new,
            Err(failure) => {
                tracing::error!("the configuration was not reloaded, the old one stays: {failure}");
                continue;
            }
        };
        level.set(new.level);
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        apply(&new);
        match config::need_restart(&running, &new).join(" and ") {
            keys if keys.is_empty() => tracing::info!("configuration reloaded"),
            keys => tracing::warn!("configuration reloaded, but {keys} need a restart to take effect"),
        }
    }
}
