//! The command line: the existing program's two flags, the spellings of the tunneled-deployment guide, and ours.

use std::path::PathBuf;

use clap::Parser;

/// Virtual kubelet: makes a batch machine one more Kubernetes node.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "virtual-kubelet", version = interlink_daemon::VERSION)]
pub struct Flags {
    /// Name of the Kubernetes node; else NODENAME, else the key NodeName.
    #[arg(long, value_name = "NAME")]
    pub nodename: Option<String>,
    /// The configuration file; else CONFIGPATH, else /etc/interlink/InterLinkConfig.yaml.
    #[arg(long, visible_alias = "config", value_name = "FILE")]
    pub configpath: Option<String>,
    /// Only `interlink`, for command lines that say so.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Run the pod manifests in this directory, without a cluster.
    #[arg(long, value_name = "DIR")]
    pub pod_manifest_path: Option<PathBuf>,
    /// Say everything. Wins over the file.
    #[arg(long)]
    pub verbose: bool,
    /// File for the log instead of stderr; opened again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub logfile: Option<PathBuf>,
    /// Arguments without a flag are ignored, as the existing program does.
    #[arg(hide = true)]
    pub rest: Vec<String>,
}
