//! The command line, as the existing program declares it (and here all four flags work, with one dash or two).

use std::path::PathBuf;

use clap::Parser;

/// interLink API server between virtual kubelet and plugin.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "interlink", version = interlink_daemon::VERSION)]
pub struct Flags {
    /// Say everything. Wins over environment and file.
    #[arg(long)]
    pub verbose: bool,
    /// Say errors only. Wins over environment and file.
    #[arg(long)]
    pub errorsonly: bool,
    /// The configuration file; else INTERLINKCONFIGPATH, else /etc/interlink/InterLinkConfig.yaml.
    #[arg(long, value_name = "FILE")]
    pub interlinkconfigpath: Option<String>,
    /// File for the log instead of stderr; opened again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub logfile: Option<PathBuf>,
}
