//! The command line: the service, and what the service and its jobs start of this same program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use interlink_daemon::{Failure, exit, logs};
use interlink_wire::JobId;

use crate::config::Flags;

/// interlink-plugin: runs pods as batch jobs.
#[derive(Debug, Parser)]
#[command(name = "interlink-plugin", version, about = "Runs pods as batch jobs.", disable_help_subcommand = true)]
pub struct Arguments {
    /// Configuration file (also SLURMCONFIGPATH, PLUGIN_CONFIG); default /etc/interlink/SlurmConfig.yaml where it exists
    #[arg(long = "SlurmConfigpath", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on this TCP port of 127.0.0.1
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Log everything
    #[arg(long)]
    verbose: bool,
    /// Log errors only
    #[arg(long)]
    errorsonly: bool,
    /// File for the log of the service instead of stderr; opened again on SIGHUP
    #[arg(long, value_name = "FILE")]
    logfile: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Run the pod of a job directory (started inside the job)
    Supervise {
        /// The job directory
        #[arg(long, value_name = "DIR")]
        pod_dir: PathBuf,
        /// As a job of this machine, away from the plugin's session
        #[arg(long)]
        detached: bool,
    },
    /// Run the pod that a plugin hands over by standard input, a socket (started by interlink-local-pod@.service)
    TakeOver,
    /// Carry connections from stdin and stdout to the plugin's socket (started by ssh-tunnel -rexec)
    DialStdio {
        /// The plugin's socket; without it, where the configuration says
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// Start one container (started by the supervisor)
    #[command(hide = true)]
    Contain,
}

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Arguments = interlink_daemon::flags::parse();
    match arguments.role {
        None => interlink_daemon::run(
            "interlink-plugin",
            crate::service::run(Flags {
                config: arguments.config,
                port: arguments.port,
                verbose: arguments.verbose,
                errors_only: arguments.errorsonly,
                log_file: arguments.logfile,
            }),
        ),
        Some(Role::DialStdio { socket }) => {
            logs::init("plugin", logs::Level::Info);
            let flags = Flags { config: arguments.config, ..Flags::default() };
            interlink_daemon::run_on_one_thread("interlink-plugin", crate::dial_stdio::run(socket.as_deref(), &flags))
        }
        Some(Role::TakeOver) => ExitCode::from(crate::scheduler::local::take_over()),
        Some(Role::Contain) => ExitCode::from(interlink_supervisor::contain()),
        Some(Role::Supervise { pod_dir, detached: true }) => {
            logs::init("supervisor", logs::Level::Info);
            ExitCode::from(crate::scheduler::local::run_detached(&pod_dir))
        }
        Some(Role::Supervise { pod_dir, detached: false }) => {
            logs::init("supervisor", logs::Level::Info);
            match slurm_job() {
                Ok(job) => ExitCode::from(interlink_supervisor::supervise(&pod_dir, &job)),
                Err(failure) => exit::report("interlink-plugin", &failure),
            }
        }
    }
}

/// The job that this process is in.
fn slurm_job() -> Result<JobId, Failure> {
    let id = std::env::var("SLURM_JOB_ID").unwrap_or_default();
    JobId::parse(&id).map_err(|_| Failure::usage("supervise is started by a job script: SLURM_JOB_ID is not set"))
}
