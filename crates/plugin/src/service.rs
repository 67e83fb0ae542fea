//! The program as a service: from the configuration to the last answer.

use std::sync::Arc;
use std::time::Duration;

use interlink_daemon::logs::LevelHandle;
use interlink_daemon::state::HopHandle;
use interlink_daemon::{Failure, Signals, StateServer, logs, notify, paths, sockets};
use interlink_transport::serve;
use tokio::sync::watch;

use crate::config::{self, Config, Flags, SchedulerConfig};
use crate::http::{ping, routes};
use crate::jobdir::root::Root;
use crate::lifecycle::Plugin;
use crate::lifecycle::poll::Pace;
use crate::scheduler::Scheduler;
use crate::scheduler::local::Local;
use crate::scheduler::slurm::Slurm;

/// How long requests in hand may take at the end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long tasks may take at the end. What they were at is durable, and is gone on with after the next start.
const TASKS: Duration = Duration::from_secs(5);

/// Runs the service until it is asked to stop.
///
/// # Errors
/// [`Failure`] when it can't start.
pub async fn run(flags: Flags) -> Result<(), Failure> {
    let config = config::load(&flags)?;
    let level = logs::init_to("plugin", config.level, flags.log_file.as_deref())?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    // Whatever is made from here on is this account's alone.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let signals = Signals::install()?;
    let handle = HopHandle::new("interlink-plugin", "plugin");
    let state_socket = paths::runtime_dir()?.join("interlink-plugin.state");
    if let Err(failure) = StateServer::start(&state_socket, &handle, signals.shutdown.clone()).await {
        tracing::warn!("this program's state is not served: {failure}");
    }
    let root = Root::open(&config.data_root)?;
    let program = root.install_program()?;
    let (scheduler, pace): (Arc<dyn Scheduler>, Pace) = match &config.scheduler {
        SchedulerConfig::Local => (Arc::new(Local::new(program.clone())), Pace::LOCAL),
        SchedulerConfig::Slurm(slurm) => (Arc::new(Slurm::new(slurm, &config, program.clone())), Pace::CLUSTER),
    };
    let listener = sockets::listen(&config.listen, "plugin").await.map_err(Failure::config)?;
    let endpoint = listener.endpoint().clone();
    let plugin = Plugin::new(config, root, scheduler, signals.shutdown.clone());
    let wrong = |e| {
        Failure::failed(format!(
            "DataRootFolder {} can't be read: {e}; mend the file system and start again, or its pods would count as gone",
            plugin.root.path().display()
        ))
    };
    plugin.recover().await.map_err(wrong)?;
    if plugin.table.counts().0 == 0 {
        plugin.root.remove_old_programs(&program);
    }

    let (offer, offered) = watch::channel(ping::Offer::default());
    plugin.tasks.spawn(Arc::clone(&plugin).watch());
    plugin.tasks.spawn(Arc::clone(&plugin).poll(pace));
    plugin.tasks.spawn(ping::refresh(Arc::clone(&plugin), offer));
    plugin.tasks.spawn(tell(Arc::clone(&plugin), handle.clone()));
    plugin.tasks.spawn(reload(Arc::clone(&plugin), flags, level, signals.reload));
    handle.up(&format!("listening on {endpoint}, scheduler {}", plugin.scheduler.hop()));
    notify::ready();

    serve(listener, routes::router(Arc::clone(&plugin), offered), signals.shutdown.clone(), DRAIN).await;
    plugin.tasks.close();
    if tokio::time::timeout(TASKS, plugin.tasks.wait()).await.is_err() {
        tracing::info!("submissions under way are left to themselves; the next start finds them");
    }
    Ok(())
}

/// On SIGHUP reads the configuration again. What is wrong changes nothing; of the rest the log level is taken over,
/// because jobs that run were planned with everything else.
async fn reload(plugin: Arc<Plugin>, flags: Flags, level: LevelHandle, mut asked: watch::Receiver<u64>) {
    loop {
        tokio::select! {
            () = plugin.shutdown.cancelled() => return,
            changed = asked.changed() => if changed.is_err() { return },
        }
        match config::load(&flags) {
            Err(failure) => tracing::error!("the configuration stays as it was: {failure}"),
            Ok(new) => {
                level.set(new.level);
                let rest = Config { level: plugin.config.level, ..new };
                if rest == plugin.config {
                    tracing::info!("configuration read again");
                } else {
                    tracing::warn!(
                        "configuration read again; only the log level is taken over, the rest needs a restart"
                    );
                }
            }
        }
    }
}

/// Keeps the state socket's view of the scheduler current.
async fn tell(plugin: Arc<Plugin>, handle: HopHandle) {
    let mut health = plugin.health.subscribe();
    loop {
        let hop = health.borrow_and_update().clone();
        handle.set_behind(vec![hop]);
        tokio::select! {
            () = plugin.shutdown.cancelled() => return,
            changed = health.changed() => if changed.is_err() { return },
        }
    }
}
