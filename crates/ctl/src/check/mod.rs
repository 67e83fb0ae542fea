//! `interlinkctl check`: walks the chain from this side, hop by hop, and names what is broken, why, and what to do.
//!
//! ```text
//!   files ─┐
//!   programs' state sockets ─┤                      judge (pure)            mark_consequences
//!   sockets between them ────┼─▶ facts ────────────────────▶ steps ────────────────────▶ show
//!   pings ───────────────────┤
//!   Kubernetes ──────────────┘
//! ```
//!
//! Every question has a time limit, and a broken hop is named once: what fails because of it is marked as its consequence.
//!
//! - [`step`]: one step, and which is the cause of which. [`show`]: text and JSON.
//! - [`files`], [`tunnel`], [`agreement`]: the configurations, and their addresses against one another.
//! - [`programs`], [`sockets`]: the programs' own word, and the sockets between them.
//! - [`ping`]: through the chain. [`cluster`]: the Kubernetes side. [`deep`]: a real test pod.
//! - [`modes`], [`units`], [`logs`]: whose the files are, what systemd makes of the services, where their logs go.
//! - [`remote`]: the far end, on its own machine.
//! - [`textfile`], [`logfile`]: the report for Prometheus, and for a log.

pub mod agreement;
pub mod cluster;
pub mod deep;
pub mod files;
pub mod logfile;
pub mod logs;
pub mod modes;
pub mod ping;
pub mod programs;
pub mod remote;
pub mod show;
pub mod sockets;
pub mod step;
pub mod textfile;
pub mod tunnel;
pub mod units;
pub mod words;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use interlink_daemon::exit::FAILED;
use interlink_daemon::{Failure, paths};
use interlink_transport::Endpoint;
use jiff::Timestamp;

use crate::run::signal::Interrupts;
use agreement::{Addresses, Said};
use files::Named;
use ping::Pinged;
use programs::{Heard, Program, Word};
use sockets::Meeting;
use step::{Id, Step, Verdict, mark_consequences};
use words::Words;

/// Where the programs' sockets are when they run as services of the system.
const SYSTEM_RUNTIME: &str = "/run/interlink";

/// What to look at.
#[derive(Debug, Clone)]
pub struct Options {
    /// Print JSON.
    pub json: bool,
    /// The configuration files.
    pub files: Named,
    /// The directory with the state sockets.
    pub runtime_dir: Option<PathBuf>,
    /// The tunnel's state socket, where it is not in that directory.
    pub tunnel_state: Option<PathBuf>,
    /// Name of the node.
    pub node: Option<String>,
    /// The cluster.
    pub kubeconfig: Option<PathBuf>,
    /// The limit of each step.
    pub limit: Duration,
    /// Try a pod.
    pub deep: Option<deep::Options>,
    /// Look at this machine as the far end.
    pub remote: Option<remote::Options>,
    /// This machine is the far end alone.
    pub remote_only: bool,
    /// Where metrics go.
    pub textfile: Option<PathBuf>,
    /// Where lines of a log go.
    pub logfile: Option<PathBuf>,
}

/// Walks the chain and prints what was found; the exit code.
///
/// # Errors
/// [`Failure`] when the walk can't begin, or a report can't be written.
pub async fn check(options: Options) -> Result<u8, Failure> {
    let mut interrupts = Interrupts::install().map_err(|e| Failure::failed(format!("can't handle signals: {e}")))?;
    let began = Timestamp::now();
    let walked = tokio::select! {
        walked = walk(&options) => walked?,
        code = interrupts.next() => return Ok(code),
    };
    let mut steps = walked.steps;
    mark_consequences(&mut steps);
    if let Some(trial) = &options.deep
        && !options.remote_only
    {
        let whole =
            |step: &&Step| step.fault().is_some() && [Id::Ping, Id::NodeReady, Id::NodeConnectivity].contains(&step.id);
        let step = match (steps.iter().find(whole), &walked.node) {
            (Some(step), _) => {
                Step::skipped(Id::TestPod, "chain", format!("no pod was tried, as the {} fails", step.id.name()))
            }
            (None, node) => {
                let client = match options.kubeconfig.as_deref() {
                    Some(path) if node.is_some() => cluster::client(path, options.limit).await.ok(),
                    _ => None,
                };
                let node = node.as_deref().unwrap_or("interlinkctl");
                let server = walked.server.as_ref();
                match deep::judge(trial, node, client.as_ref(), server, options.limit, &mut interrupts).await {
                    Ok(step) => step,
                    Err(code) => return Ok(code),
                }
            }
        };
        steps.push(step);
        mark_consequences(&mut steps);
    }
    let out = std::io::stdout();
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let report = if options.json { show::json(&steps) } else { show::text(&steps, colours) };
    // Nobody may be reading; the exit code tells.
    let _ = out.lock().write_all(report.as_bytes());
    let ended = Timestamp::now();
    let unwritten =
        |path: &Path, e| Failure::failed(format!("can't write {}: {e}; correct its path or mode", path.display()));
    if let Some(path) = &options.logfile {
        logfile::append(path, &logfile::render(&steps, began, ended)).map_err(|e| unwritten(path, e))?;
    }
    if let Some(path) = &options.textfile {
        textfile::write(path, &textfile::render(&steps, ended)).map_err(|e| unwritten(path, e))?;
    }
    Ok(if steps.iter().any(|step| step.fault().is_some()) { FAILED } else { 0 })
}

/// The directory with the state sockets: the named one, else the system's, else this user's.
///
/// # Errors
/// [`Failure`] where this user can have none.
pub(crate) fn runtime_dir(named: Option<&Path>) -> Result<PathBuf, Failure> {
    Ok(match named {
        Some(dir) => std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()),
        None if Path::new(SYSTEM_RUNTIME).exists() => PathBuf::from(SYSTEM_RUNTIME),
        None => paths::runtime_dir()?,
    })
}

/// Programs share a runtime directory, or have one each below it, as a demo's do.
pub(crate) fn state_socket(dir: &Path, program: Program) -> PathBuf {
    let name = format!("{}.state", program.name());
    let own = dir.join(program.name()).join(&name);
    if own.exists() { own } else { dir.join(name) }
}

/// What a walk leads to.
struct Walked {
    steps: Vec<Step>,
    /// The node's name, where it is known.
    node: Option<String>,
    /// Where the API server listens.
    server: Option<Endpoint>,
}

async fn walk(options: &Options) -> Result<Walked, Failure> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let dir = runtime_dir(options.runtime_dir.as_deref())?;
    let tunnel_state = options.tunnel_state.as_deref().map(absolute);
    let tunnel_state = tunnel_state.as_deref();
    if let (true, Some(remote)) = (options.remote_only, &options.remote) {
        let plugin = programs::ask(Program::Plugin, &state_socket(&dir, Program::Plugin), options.limit).await;
        let mut steps = remote::walk(remote, &plugin, options.limit).await;
        steps.extend(around(&[&plugin], &dir, options.limit).await);
        return Ok(Walked { steps, node: None, server: None });
    }
    let before = Words::ask(&dir, tunnel_state, options.limit).await;
    let node = options.node.clone().or_else(|| before.kubelet.detail("node").map(str::to_owned));
    let api_file = files::api(&options.files);
    let kubelet_file = files::kubelet(&options.files, node.as_deref());
    let node = node.or_else(|| files::node(&kubelet_file));

    let mut addresses = Addresses {
        kubelet_dials: said(kubelet_file.get().map(|c| &c.api), "the file's InterlinkURL", &before.kubelet, "api"),
        api_listens: said(api_file.get().map(|c| &c.listen), "the file's InterlinkAddress", &before.api, "listen"),
        api_dials: said(api_file.get().map(|c| &c.plugin), "the file's SidecarURL", &before.api, "plugin"),
        tunnel_listens: said(None, "", &before.tunnel, "listens").pop(),
        resolves: true,
    };
    let listens = addresses.api_listens.last().or(addresses.kubelet_dials.last()).map(|said| said.at.clone());
    // Without the API server's word the tunnel's tells where the plugin can be asked.
    let dials = addresses.api_dials.last().or(addresses.tunnel_listens.as_ref()).map(|said| said.at.clone());
    addresses.resolves = resolves(dials.as_ref(), options.limit).await;

    let pings = async {
        tokio::join!(async { Some(ping::plugin(dials.as_ref()?, addresses.resolves, options.limit).await) }, async {
            Some(ping::api(listens.as_ref()?, options.limit).await)
        },)
    };
    let cluster = async {
        let (kubeconfig, name) = (options.kubeconfig.as_deref()?, node.as_deref()?);
        Some(cluster::ask(kubeconfig, name, options.limit).await)
    };
    // A tunnel in reverse listens elsewhere, and leads here.
    let forward = addresses.tunnel_listens.is_some();
    let exposed = async {
        let (server, leads_to) = (before.tunnel.detail("server")?, before.tunnel.detail("forwardsTo")?);
        if forward { remote::port::past_the_tunnel(server, leads_to, options.limit).await } else { None }
    };
    let ((plugin_ping, api_ping), cluster, exposed) = tokio::join!(pings, cluster, exposed);
    // Asked again, because the pings may have told the programs something new.
    let words = Words::ask(&dir, tunnel_state, options.limit).await;

    let mut steps = Vec::new();
    let warnings = api_file.get().map(|c| c.warnings.as_slice()).unwrap_or_default();
    let seen = |c: &interlink_api::config::Config| format!("listens on {}, plugin at {}", c.listen, c.plugin);
    steps.extend(files::judge(Id::ApiConfig, "api", &api_file, seen, warnings));
    let warnings = kubelet_file.get().map(|c| c.warnings.as_slice()).unwrap_or_default();
    let seen = |c: &interlink_kubelet::config::Config| format!("API server at {}", c.api);
    steps.extend(files::judge(Id::KubeletConfig, "virtual-kubelet", &kubelet_file, seen, warnings));
    if let Some(file) = tunnel::read(&options.files) {
        let warnings = file.get().map(|c| c.warnings.as_slice()).unwrap_or_default();
        let seen = |c: &interlink_tunnel::config::Settings| format!("logs in at {} as {}", c.server, c.user);
        steps.extend(files::judge(Id::TunnelConfig, "tunnel", &file, seen, warnings));
    }
    steps.extend(agreement::judge(&addresses));
    let no_file = matches!(kubelet_file, files::Read::Absent(_));
    steps.extend(hops(&words, no_file, listens.as_ref(), dials.as_ref(), plugin_ping.as_ref()));
    steps.extend(exposed);
    steps.extend(ping::judge(plugin_ping.as_ref(), api_ping.as_ref()));
    steps.extend(programs::judge_kubelet_view(&words.kubelet));
    steps.extend(match &cluster {
        Some(facts) => cluster::judge(facts),
        None if options.kubeconfig.is_none() => vec![Step::skipped(Id::Cluster, "kubernetes", "no --kubeconfig given")],
        None => vec![Step::failed(
            Id::NodeReady,
            "kubernetes",
            "the name of the node is not known",
            "name it with --nodename, or start virtual-kubelet",
        )],
    });
    let all = [&words.kubelet, &words.api, &words.tunnel, &words.plugin];
    steps.extend(around(&all, &dir, options.limit).await);
    if let Some(remote) = &options.remote {
        let far = remote::walk(remote, &words.plugin, options.limit).await;
        // The pings through the chain say the same, and more.
        let more = far.into_iter().filter(|step| !steps.iter().any(|other| other.id == step.id));
        steps.extend(more.collect::<Vec<_>>());
    }
    Ok(Walked { steps, node, server: listens })
}

/// What is around the programs that said who they are: their files, their services, their logs.
async fn around(heard: &[&Heard], dir: &Path, limit: Duration) -> Vec<Step> {
    let pids: Vec<_> = heard.iter().filter_map(|heard| Some((heard.program.hop(), heard.state()?.pid))).collect();
    let processes: Vec<_> = pids.iter().filter_map(|(hop, pid)| modes::process(hop, *pid)).collect();
    let logs: Vec<_> = pids.iter().filter_map(|(hop, pid)| logs::of(hop, *pid)).collect();
    // Others than the machine's own services have other units, or none.
    let units = if dir == Path::new(SYSTEM_RUNTIME) { units::ask(limit).await } else { Vec::new() };
    let mut steps = modes::judge(&processes);
    steps.extend(units::judge(&units));
    steps.extend(logs::judge(&logs));
    steps
}

/// Programs, sockets and the SSH connection.
fn hops(
    words: &Words,
    no_kubelet_file: bool,
    listens: Option<&Endpoint>,
    dials: Option<&Endpoint>,
    plugin: Option<&Pinged>,
) -> Vec<Step> {
    let answered = plugin.is_some_and(Pinged::is_well);
    // Whoever else carries the connections, or a plugin on this machine, does as well.
    let without_tunnel = answered || dials.is_some_and(|endpoint| endpoint.socket().is_none());
    let pid = |heard: &Heard| heard.state().map(|state| state.pid);
    let user = |heard: &Heard| pid(heard).and_then(sockets::user_of);
    let mut steps = Vec::new();
    // It may run in the cluster, and this machine only carries what it says.
    if no_kubelet_file && matches!(words.kubelet.word, Word::Missing) && words.kubelet.processes.is_empty() {
        let why = "virtual-kubelet is not on this machine: neither a configuration nor a process";
        steps.push(Step::skipped(Id::KubeletProcess, "virtual-kubelet", why));
    } else {
        steps.extend(programs::judge(&words.kubelet, true));
    }
    if let Some(path) = listens.and_then(Endpoint::socket) {
        let meeting = Meeting {
            id: Id::ApiSocket,
            path: path.to_owned(),
            key: "InterlinkAddress",
            owner: ("interlink", "api"),
            client: ("virtual-kubelet", user(&words.kubelet)),
        };
        steps.push(sockets::judge(&meeting, &sockets::look_for(path, pid(&words.api))));
    }
    steps.extend(programs::judge(&words.api, true));
    let mut in_reverse = false;
    if let Some(path) = dials.and_then(Endpoint::socket) {
        let meeting = Meeting {
            id: Id::TunnelSocket,
            path: path.to_owned(),
            key: "SidecarURL",
            owner: ("ssh-tunnel", "tunnel"),
            client: ("interlink", user(&words.api)),
        };
        let file = sockets::look_for(path, pid(&words.tunnel));
        let reversed = programs::judge_reverse(&words.tunnel, path).filter(|_| file == sockets::File::Missing);
        in_reverse = reversed.is_some();
        steps.push(reversed.unwrap_or_else(|| sockets::judge(&meeting, &file)));
    }
    match programs::judge(&words.tunnel, !without_tunnel) {
        // What is needed is told apart from what is merely not ours to ask.
        Some(step) if without_tunnel && step.fault().is_some() && !matches!(words.tunnel.word, Word::Said(_)) => {
            let why = step.fault().map(|fault| fault.cause.clone()).unwrap_or_default();
            steps.push(Step::new(step.id, &step.hop, Verdict::Skipped(why)));
        }
        step => steps.extend(step),
    }
    // A service that refused before the ping has answered since; and in reverse the far end is this one.
    let tunnel = programs::judge_tunnel(&words.tunnel).into_iter();
    steps.extend(tunnel.filter(|step| step.id != Id::FarEnd || !(answered || in_reverse)));
    steps.extend(programs::judge(&words.plugin, false));
    steps
}

/// What the file and the running program say, as far as they do.
fn said(file: Option<&Endpoint>, key: &'static str, heard: &Heard, detail: &str) -> Vec<Said> {
    let file = file.map(|at| Said { at: at.clone(), by: key });
    let running = heard.detail(detail).and_then(agreement::endpoint);
    file.into_iter().chain(running.map(|at| Said { at, by: "the running program" })).collect()
}

async fn resolves(endpoint: Option<&Endpoint>, limit: Duration) -> bool {
    let Some(Endpoint::Tcp { host, port }) = endpoint else { return true };
    let lookup = tokio::time::timeout(limit, tokio::net::lookup_host((host.as_str(), *port)));
    lookup.await.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some()))
}
