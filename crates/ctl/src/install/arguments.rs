//! The command lines of `install` and `uninstall`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::facts::Around;
use super::over_ssh::Target;
use super::wishes::{Role, Runtime, Scheduler, Via, Wishes};

/// Installs one end: accounts, directories, keys, configuration, units, and starts the services
///
/// --role local, beside the cluster: the tunnel, the API server and the virtual kubelet. --role remote, on the login
/// node: the plugin, and sshd's restriction of the tunnel's key. A second run changes nothing and says so; with newer
/// programs beside it, it upgrades, one service after another, and no pod is lost. Options hold until they are given
/// again. What you have edited stays: the new version is laid beside it as FILE.new.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  interlinkctl install --role local --addr login.example.org --kubeconfig ~/.kube/config --dry-run\n  sudo interlinkctl install --role local --addr login.example.org --kubeconfig ~/.kube/config\n  sudo interlinkctl install --role remote --public-key 'ssh-ed25519 AAAA…' --account hpc --jobs /shared/hpc/interlink\n  sudo interlinkctl install --role local --remote admin@login.example.org --account interlink    both ends from here\n  interlinkctl install --role remote --user --public-key 'ssh-ed25519 AAAA…'     without root\n  interlinkctl run -f pod.yaml                                                   then try a pod\n\nExit codes:\n  0 everything is as it should be, 1 a step failed (run it again), 2 wrong command line,\n  78 refused before anything was changed"
)]
pub struct InstallArgs {
    /// Which end this machine is
    #[arg(long, value_enum)]
    pub role: Role,
    /// Install for yourself alone, without root: your own systemd units, or background processes where you have none
    #[arg(long)]
    pub user: bool,
    /// Show what is there and what would be, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Account that the services run as; made if it doesn't exist. For the plugin one that compute nodes know
    /// [default: interlink]
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Folder with the programs [default: this program's own]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// How the tunnel reaches the plugin; the same at both ends [default: rexec]
    #[arg(long, value_enum)]
    via: Option<Via>,
    /// Local: the SSH server, HOST or HOST:PORT
    #[arg(long, value_name = "HOST:PORT", help_heading = "With --role local")]
    addr: Option<String>,
    /// Local: install the other end too, over SSH with your own access; implies --addr
    #[arg(long, value_name = "USER@HOST[:PORT]", help_heading = "With --role local")]
    pub remote: Option<String>,
    /// Local: with --remote, install that end for USER alone, without root there
    #[arg(long, requires = "remote", help_heading = "With --role local")]
    pub remote_unprivileged: bool,
    /// Local: the account there that the tunnel logs in as, and with --remote that of the plugin [default: interlink]
    #[arg(long, value_name = "NAME", help_heading = "With --role local")]
    login: Option<String>,
    /// Local: the SSH server's own public key, or a file with it [default: from known_hosts, else asked and shown]
    #[arg(long, value_name = "KEY|FILE", help_heading = "With --role local")]
    host_key: Option<String>,
    /// Local: an administrator's kubeconfig, with which the virtual kubelet gets its own, narrow one
    /// [default: KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE", help_heading = "With --role local")]
    kubeconfig: Option<PathBuf>,
    /// Local: name of the Kubernetes node [default: interlink-node]
    #[arg(long, value_name = "NAME", help_heading = "With --role local")]
    nodename: Option<String>,
    /// Local: port of the kubelet API, which the cluster calls for logs [default: 10250]
    #[arg(long, value_name = "PORT", help_heading = "With --role local")]
    kubelet_port: Option<u16>,
    /// Local: address by which the cluster reaches this machine [default: the one that leads to the cluster]
    #[arg(long, value_name = "ADDRESS", help_heading = "With --role local")]
    node_ip: Option<String>,
    /// Remote: the tunnel's public key, or a file with it; the other end's installation prints it
    #[arg(long, value_name = "KEY|FILE", help_heading = "With --role remote")]
    public_key: Option<String>,
    /// Remote: directory of the jobs, the same on the compute nodes [default: /opt/interlink-plugin/jobs]
    #[arg(long, value_name = "DIR", help_heading = "With --role remote")]
    jobs: Option<PathBuf>,
    /// Remote: the batch system [default: slurm where sbatch is]
    #[arg(long, value_enum, help_heading = "With --role remote")]
    scheduler: Option<Scheduler>,
    /// Remote: what runs containers [default: apptainer or singularity, whichever is there]
    #[arg(long, value_enum, help_heading = "With --role remote")]
    runtime: Option<Runtime>,
    /// Remote: slurm.conf, where it is not in the usual place [default: SLURM_CONF]
    #[arg(long, value_name = "FILE", help_heading = "With --role remote")]
    slurm_conf: Option<PathBuf>,
    /// Remote: address that the tunnel comes from, which an active firewall lets in to sshd
    #[arg(long, value_name = "ADDRESS", help_heading = "With --role remote")]
    from: Option<String>,
    /// Remote: don't ask a compute node whether it knows the account and sees the jobs
    #[arg(long, help_heading = "With --role remote")]
    no_node_check: bool,
}

impl InstallArgs {
    /// What is asked for.
    ///
    /// # Errors
    /// One sentence about the command line.
    pub fn wishes(&self) -> Result<Wishes, String> {
        let far = match &self.remote {
            Some(text) => Some(Target::parse(text)?),
            None => None,
        };
        let set = |name: &str, given: bool, role: Role| {
            if given && self.role != role {
                return Err(format!("--{name} goes with --role {}", role.name()));
            }
            Ok(())
        };
        for (name, given) in [
            ("addr", self.addr.is_some()),
            ("remote", self.remote.is_some()),
            ("login", self.login.is_some()),
            ("host-key", self.host_key.is_some()),
            ("kubeconfig", self.kubeconfig.is_some()),
            ("nodename", self.nodename.is_some()),
            ("kubelet-port", self.kubelet_port.is_some()),
            ("node-ip", self.node_ip.is_some()),
        ] {
            set(name, given, Role::Local)?;
        }
        for (name, given) in [("public-key", self.public_key.is_some()), ("from", self.from.is_some())] {
            set(name, given, Role::Remote)?;
        }
        // with --remote these are the far end's
        if self.remote.is_none() {
            for (name, given) in [
                ("jobs", self.jobs.is_some()),
                ("scheduler", self.scheduler.is_some()),
                ("runtime", self.runtime.is_some()),
                ("slurm-conf", self.slurm_conf.is_some()),
            ] {
                set(name, given, Role::Remote)?;
            }
        }
        let environment = || std::env::var_os("SLURM_CONF").filter(|conf| !conf.is_empty()).map(PathBuf::from);
        let public_key = self.public_key.as_ref().map(|key| match std::fs::read_to_string(key) {
            Ok(text) => text.trim().to_owned(),
            Err(_) => key.trim().to_owned(),
        });
        Ok(Wishes {
            account: self.account.clone(),
            via: self.via,
            addr: self.addr.clone().or_else(|| far.as_ref().map(Target::addr)),
            login: self.login.clone().or_else(|| far.filter(|_| self.remote_unprivileged).map(|far| far.user)),
            nodename: self.nodename.clone(),
            kubelet_port: self.kubelet_port,
            node_ip: self.node_ip.clone(),
            // with --remote these are the other end's
            jobs: self.jobs.clone(),
            scheduler: self.scheduler,
            runtime: self.runtime,
            slurm_conf: self.slurm_conf.clone().or_else(|| (self.role == Role::Remote).then(environment).flatten()),
            public_key,
            from: self.from.clone(),
        })
    }

    /// The folder with the programs, where it is named.
    #[must_use]
    pub fn bin_dir(&self) -> Option<&std::path::Path> {
        self.bin_dir.as_deref()
    }

    /// What is not remembered.
    #[must_use]
    pub fn around(&self) -> Around {
        Around {
            bin_dir: self.bin_dir.clone(),
            kubeconfig: self.kubeconfig.clone(),
            host_key: self.host_key.clone(),
            ask_nodes: !self.no_node_check,
            dry: self.dry_run,
        }
    }
}

/// Takes away what install has made: services, keys, files, accounts, and the Node
///
/// Refuses while pods run. --drain ends them first; --abandon leaves them to themselves.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo interlinkctl uninstall --role local --kubeconfig ~/.kube/config --drain\n  sudo interlinkctl uninstall --role remote\n  interlinkctl run -f pod.yaml\n\nExit codes:\n  0 nothing is left, 1 a step failed (run it again), 2 wrong command line, 78 refused before anything was changed"
)]
pub struct UninstallArgs {
    /// Which end this machine is
    #[arg(long, value_enum)]
    pub role: Role,
    /// What was installed with --user
    #[arg(long)]
    pub user: bool,
    /// Local: delete the node's pods first, and wait until they are gone. Remote: wait until none runs
    #[arg(long, conflicts_with = "abandon")]
    pub drain: bool,
    /// Go on while pods run: their jobs go on, and nobody watches them
    #[arg(long)]
    pub abandon: bool,
    /// How long --drain waits, such as 90s, 10m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = crate::command::duration, default_value = "10m")]
    pub timeout: Duration,
    /// Local: an administrator's kubeconfig [default: KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}
