//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use interlink_daemon::{Failure, exit, flags, paths};
use interlink_transport::Endpoint;

use crate::{check, demo, install, run, status};

/// The API server's socket where it runs as a service of the system.
const SYSTEM_SOCKET: &str = "/run/interlink/api.sock";

#[derive(Debug, Parser)]
#[command(
    name = "interlinkctl",
    version = interlink_daemon::VERSION,
    about = "Tries out and operates interlink, which runs Kubernetes pods as jobs of a batch machine behind SSH",
    after_help = "Examples:\n  interlinkctl demo                  the whole chain on this machine, no cluster needed\n  interlinkctl run -f pod.yaml       one pod through a running chain\n  interlinkctl run --help            more about a command",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(DemoArgs),
    Run(RunArgs),
    Check(Box<CheckArgs>),
    Status(StatusArgs),
    Install(Box<install::arguments::InstallArgs>),
    Uninstall(install::arguments::UninstallArgs),
    #[command(subcommand, hide = true)]
    Internal(Internal),
}

/// Runs the whole chain on this machine, and an example pod through it
///
/// Needs no root, no cluster and no batch system: the plugin runs the pod as a job of this machine, behind a real SSH
/// server on a loopback port. Shows every program coming up, the pod's states, its output and what it proves, and ends
/// with everything stopped and removed. With KUBECONFIG set to an existing file it joins that cluster as one more node
/// instead of reading the pod from a directory.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  interlinkctl demo\n  interlinkctl demo --keep\n  interlinkctl run -f pod.yaml --api unix:///tmp/interlink-demo-1a2b3c/api.sock\n  interlinkctl demo --stop /tmp/interlink-demo-1a2b3c\n  KUBECONFIG=~/.kube/config interlinkctl demo"
)]
struct DemoArgs {
    /// Leave everything running at the end and say how to use it
    #[arg(long, conflicts_with = "stop")]
    keep: bool,
    /// Stop a demo that was left running, by its directory
    #[arg(long, value_name = "DIR")]
    stop: Option<PathBuf>,
}

/// Parts of the demo that run as processes of their own
#[derive(Debug, Subcommand)]
enum Internal {
    Warden,
    Namespaces,
    /// The programs of a user without a service manager
    Keep {
        dir: PathBuf,
    },
    Sshd {
        port: u16,
        host_key: PathBuf,
        allowed: PathBuf,
        socket: PathBuf,
    },
}

/// Runs one pod through the interLink API, without Kubernetes
///
/// Reads a Pod and the ConfigMaps and Secrets that it names, submits it, shows its states on stderr and its output on
/// stdout, and ends with the pod's exit code: that of the first container that failed, 0 if none did. While a part of
/// the chain is down it waits and says so; the pod is never submitted twice.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  interlinkctl run -f examples/failing.yaml; echo $?\n  interlinkctl run -f pod.yaml --timeout 10m > output.txt\n  interlinkctl run -f pod.yaml --api unix:///run/interlink/api.sock\n  kubectl get pod p -o yaml | interlinkctl run -f - --namespace lab\n\nExit codes:\n  the pod's own; 1 the pod could not be run, 2 wrong command line,\n  124 --timeout, 130 Ctrl-C, 143 SIGTERM (in these three the pod is deleted)"
)]
struct RunArgs {
    /// The manifest, YAML or JSON: one Pod, with its ConfigMaps and Secrets; - is standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    filename: PathBuf,
    /// Where the API server listens: unix:///path or http://host:port [default: /run/interlink/api.sock, else the
    /// api.sock of this user's runtime directory]
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// The namespace, over the one in the manifest [default: default]
    #[arg(short = 'n', long)]
    namespace: Option<String>,
    /// Give up and delete the pod after this time, such as 90s, 10m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Leave the pod with the plugin when it has ended
    #[arg(long)]
    keep: bool,
}

/// Walks the chain from this side, and names what is broken, why, and what to do
///
/// Compares the configurations with one another, asks every program for its own word, looks at the sockets between them,
/// pings through the tunnel and through the API server, and with a kubeconfig asks Kubernetes for the node. A broken hop
/// is named once; what fails because of it is marked as its consequence.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  interlinkctl check\n  interlinkctl check --kubeconfig /opt/interlink/.kube/config\n  interlinkctl check --deep          with a real test pod\n  interlinkctl check --remote        on the plugin's machine\n  interlinkctl check --json | jq '.[] | select(.ok | not)'\n\nExit codes:\n  0 every hop works, 1 one doesn't or the node isn't Ready, 2 wrong command line"
)]
struct CheckArgs {
    /// Print a list of {step, hop, ok, latency_ms, cause, remedy} instead of text
    #[arg(long)]
    json: bool,
    /// Directory with InterLinkConfig.yaml and VirtualKubeletConfig.yaml [default: /opt/interlink/config, else
    /// /etc/interlink]
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// The API server's configuration
    #[arg(long, value_name = "FILE")]
    api_config: Option<PathBuf>,
    /// The virtual kubelet's configuration
    #[arg(long, value_name = "FILE")]
    kubelet_config: Option<PathBuf>,
    /// Directory with the programs' state sockets [default: /run/interlink, else this user's runtime directory]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// The tunnel's state socket, where its -state names another
    #[arg(long, value_name = "SOCKET")]
    tunnel_state: Option<PathBuf>,
    /// Name of the Kubernetes node [default: the one that virtual-kubelet says]
    #[arg(long, value_name = "NAME")]
    nodename: Option<String>,
    /// The virtual kubelet's kubeconfig; without one Kubernetes is not asked [default: KUBECONFIG]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How long each step may take
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "12s")]
    timeout: Duration,
    /// Run a real test pod as well: through Kubernetes where there is a kubeconfig, else through the API server
    #[arg(long)]
    deep: bool,
    /// How long the test pod may take, from the queue to its end
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "120s")]
    deep_timeout: Duration,
    /// Image of the test pod
    #[arg(long, value_name = "IMAGE", default_value = "busybox")]
    image: String,
    /// Namespace of the test pod
    #[arg(short = 'n', long, default_value = "default")]
    namespace: String,
    /// Write metrics for the textfile collector of Prometheus' node_exporter, such as /var/lib/node_exporter/interlink.prom
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
    /// Append the report to this file, a line a step
    #[arg(long, value_name = "FILE")]
    logfile: Option<PathBuf>,
    /// This machine is the far end: look at the plugin, its sshd and its job directories, and at nothing else
    #[arg(long)]
    remote: bool,
    /// The plugin's configuration, on its machine [default with --remote: /opt/interlink-plugin/config/plugin-config.yaml]
    #[arg(long, value_name = "FILE")]
    plugin_config: Option<PathBuf>,
    /// The account at the far end that the tunnel logs in as [default: the plugin's]
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Another file than /etc/ssh/sshd_config
    #[arg(long, value_name = "FILE")]
    sshd_config: Option<PathBuf>,
}

impl CheckArgs {
    fn options(self) -> check::Options {
        // A list, as for kubectl; the first file counts.
        let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
        let from_environment = || std::env::split_paths(&named).find(|path| path.is_file());
        check::Options {
            json: self.json,
            files: check::files::Named { dir: self.config_dir, api: self.api_config, kubelet: self.kubelet_config },
            runtime_dir: self.runtime_dir,
            tunnel_state: self.tunnel_state,
            node: self.nodename,
            kubeconfig: self.kubeconfig.or_else(from_environment),
            limit: self.timeout,
            remote: (self.remote || self.plugin_config.is_some()).then_some(check::remote::Options {
                config: self.plugin_config,
                account: self.account,
                sshd_config: self.sshd_config,
                deep: self.deep,
            }),
            remote_only: self.remote,
            deep: self.deep.then_some(check::deep::Options {
                patience: self.deep_timeout,
                image: self.image,
                namespace: self.namespace,
            }),
            textfile: self.textfile,
            logfile: self.logfile,
        }
    }
}

/// Shows the chain and the pods on it, live in a terminal
///
/// Each hop's own word, since when, and how long its answer took; each pod's phase, job, node and what was last heard of
/// it. On a terminal it refreshes in place until Ctrl-C; elsewhere, with --once or --json, it is shown once.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  interlinkctl status\n  interlinkctl status --once | less -S\n  interlinkctl status --json | jq '.pods[] | select(.phase == \"Failed\")'\n  interlinkctl check                 what is wrong, why, and what to do\n\nExit codes:\n  0 every hop is up (or Ctrl-C), 1 one isn't, 2 wrong command line"
)]
struct StatusArgs {
    /// Print JSON: {at, hops: [{hop, state, since, latency_ms, word}], pods: [{namespace, name, uid, phase, job, node, since, lastEvent}]}
    #[arg(long)]
    json: bool,
    /// Show it once, also in a terminal
    #[arg(long)]
    once: bool,
    /// Time between two looks
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    interval: Duration,
    /// How long each hop may take to answer
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "3s")]
    timeout: Duration,
    /// Directory with the programs' state sockets [default: /run/interlink, else this user's runtime directory]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// The tunnel's state socket, where its -state names another
    #[arg(long, value_name = "SOCKET")]
    tunnel_state: Option<PathBuf>,
    /// Where the API server listens: unix:///path or http://host:port [default: where it says that it does]
    #[arg(long, value_name = "URL")]
    api: Option<String>,
}

impl StatusArgs {
    fn options(self) -> Result<status::Options, Failure> {
        Ok(status::Options {
            json: self.json,
            once: self.once,
            runtime_dir: check::runtime_dir(self.runtime_dir.as_deref())?,
            tunnel_state: self.tunnel_state,
            api: self.api.as_deref().map(|url| endpoint(Some(url))).transpose()?,
            every: self.interval,
            limit: self.timeout,
        })
    }
}

/// Reads `90s`, `10m`, `1h30m`, or plain seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time; write 90s, 10m or 1h30m");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let read: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(read).map_err(|_| wrong())
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let line: Line = flags::parse();
    if let Command::Internal(Internal::Namespaces) = line.command {
        return if demo::namespaces::try_here() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // One thread for everything, so that what depends on the starting thread's life depends on the process's.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(PROGRAM, &Failure::failed(format!("can't start: {error}"))),
    };
    let result = runtime.block_on(execute(line.command));
    // A write to a terminal that nobody reads must not hold the exit.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => exit::report(PROGRAM, &failure),
    }
}

const PROGRAM: &str = "interlinkctl";

async fn execute(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Demo(DemoArgs { stop: Some(dir), .. }) => demo::stop_kept(&dir).await,
        Command::Demo(args) => demo::demo(args.keep).await,
        Command::Internal(Internal::Namespaces) => {
            Err(Failure::usage("internal namespaces needs a process without threads"))
        }
        Command::Internal(Internal::Warden) => demo::warden::watch().await.map(|()| 0),
        Command::Internal(Internal::Keep { dir }) => install::keep::keep(&dir).await.map(|()| 0),
        Command::Internal(Internal::Sshd { port, host_key, allowed, socket }) => {
            demo::own_sshd::serve(port, &host_key, &allowed, socket).await.map(|()| 0)
        }
        Command::Check(args) => check::check(args.options()).await,
        Command::Status(args) => status::status(args.options()?).await,
        Command::Install(args) => install::install(*args).await,
        Command::Uninstall(args) => install::uninstall(args).await,
        Command::Run(args) => {
            let api = endpoint(args.api.as_deref())?;
            let manifest = run::read_manifest(&args.filename)?;
            let RunArgs { namespace, timeout, keep, .. } = args;
            run::run(run::Options { manifest, api, namespace, timeout, keep }).await
        }
    }
}

fn endpoint(url: Option<&str>) -> Result<Endpoint, Failure> {
    let wrong = |e| Failure::usage(format!("--api: {e}"));
    match url {
        Some(url) => Endpoint::parse(url, "").map_err(wrong),
        None if std::path::Path::new(SYSTEM_SOCKET).exists() => Endpoint::unix(SYSTEM_SOCKET.as_ref()).map_err(wrong),
        None => Endpoint::unix(&paths::runtime_dir()?.join("api.sock")).map_err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flags::{Stop, try_parse};

    fn read(args: &[&str]) -> Result<Line, Stop> {
        try_parse(std::iter::once("interlinkctl").chain(args.iter().copied()).map(Into::into))
    }

    #[test]
    fn flags_are_read_in_both_styles() {
        for args in [
            &["run", "-f", "p.yaml", "-api", "unix:///a", "-timeout=10m", "-keep"][..],
            &["run", "--filename=p.yaml", "--api=unix:///a", "--timeout", "600", "--keep"],
        ] {
            let Command::Run(run) = read(args).unwrap().command else { panic!("{args:?}") };
            assert_eq!(run.timeout, Some(Duration::from_secs(600)));
            assert!(run.keep && run.api.as_deref() == Some("unix:///a"));
        }
    }

    #[test]
    fn mistakes_are_one_sentence() {
        for (args, part) in [
            (&["fly"][..], "fly"),
            (&["run"], "--filename"),
            (&["demo", "--keep", "--stop", "x"], "--stop"),
            (&["run", "-f", "p", "--color"], "--color"),
            (&["run", "-f", "p", "--timeout", "soon"], "write 90s"),
        ] {
            match read(args) {
                Err(Stop::Mistake(sentence)) => {
                    assert!(sentence.contains(part) && !sentence.contains('\n'), "{sentence}")
                }
                other => panic!("{args:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn help_teaches_by_example() {
        for args in [&["--help"][..], &["run", "--help"], &["demo", "-help"], &[]] {
            match read(args) {
                Err(Stop::Print(text)) => {
                    assert!(text.contains("interlinkctl run -f") && !text.contains("internal"), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
