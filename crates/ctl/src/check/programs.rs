//! The programs' own word: each serves its state on a socket in the runtime directory.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::Method;
use interlink_daemon::state::ProgramState;
use interlink_transport::{Call, CallError, Client, Endpoint};
use interlink_wire::{HopState, HopStatus};

use super::step::{Fault, Id, Step};

/// A state is a few hundred bytes.
const STATE_LIMIT: usize = 1 << 20;

/// A program of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// virtual-kubelet.
    Kubelet,
    /// interlink.
    Api,
    /// ssh-tunnel.
    Tunnel,
    /// interlink-plugin.
    Plugin,
}

impl Program {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubelet => "virtual-kubelet",
            Self::Api => "interlink",
            Self::Tunnel => "ssh-tunnel",
            Self::Plugin => "interlink-plugin",
        }
    }

    /// The name of its hop.
    #[must_use]
    pub fn hop(self) -> &'static str {
        match self {
            Self::Kubelet => "virtual-kubelet",
            Self::Api => "api",
            Self::Tunnel => "tunnel",
            Self::Plugin => "plugin",
        }
    }

    fn id(self) -> Id {
        match self {
            Self::Kubelet => Id::KubeletProcess,
            Self::Api => Id::ApiProcess,
            Self::Tunnel => Id::TunnelProcess,
            Self::Plugin => Id::PluginProcess,
        }
    }

    /// What starts it where it was installed as a service.
    fn unit(self) -> &'static str {
        match self {
            Self::Kubelet => "interlink-virtual-kubelet",
            Self::Api => "interlink-api",
            Self::Tunnel => "interlink-tunnel",
            Self::Plugin => "interlink-remote-plugin",
        }
    }
}

/// What came of asking.
#[derive(Debug, Clone)]
pub enum Word {
    /// It said this.
    Said(Box<ProgramState>),
    /// There is no socket.
    Missing,
    /// The socket's maker is gone.
    Left,
    /// The socket, or the directory on the way to it, is for this user only.
    Denied(Option<u32>),
    /// Something else.
    Unclear(String),
}

/// A program's word, and what else is known of it.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Whose.
    pub program: Program,
    /// Its word.
    pub word: Word,
    /// Where it was asked for.
    pub socket: PathBuf,
    /// How long it took.
    pub latency: Duration,
    /// Processes of that name on this machine.
    pub processes: Vec<u32>,
}

impl Heard {
    /// What it said.
    #[must_use]
    pub fn state(&self) -> Option<&ProgramState> {
        match &self.word {
            Word::Said(state) => Some(state),
            _ => None,
        }
    }

    /// A detail of what it said.
    #[must_use]
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.state()?.details.get(key)?.as_str()
    }
}

/// Asks `program` at `socket`.
pub async fn ask(program: Program, socket: &Path, limit: Duration) -> Heard {
    let started = Instant::now();
    let word = match Endpoint::unix(socket) {
        Ok(endpoint) => word(&Client::new(endpoint), socket, limit).await,
        Err(error) => Word::Unclear(error.to_string()),
    };
    let latency = started.elapsed();
    let processes = if matches!(word, Word::Said(_)) { Vec::new() } else { processes(program.name()) };
    Heard { program, word, socket: socket.to_owned(), latency, processes }
}

async fn word(client: &Client, socket: &Path, limit: Duration) -> Word {
    let answer = match client.send(Call::new(Method::GET, "/", "").timeout(limit)).await {
        Ok(answer) => answer,
        Err(CallError::Unreachable { kind: Some(io::ErrorKind::NotFound), .. }) => return Word::Missing,
        Err(CallError::Unreachable { kind: Some(io::ErrorKind::ConnectionRefused), .. }) => return Word::Left,
        Err(CallError::Unreachable { kind: Some(io::ErrorKind::PermissionDenied), .. }) => {
            return Word::Denied(owner(socket));
        }
        Err(error) => return Word::Unclear(error.to_string()),
    };
    match answer.bytes(STATE_LIMIT, limit).await {
        Ok(body) => match serde_json::from_slice(&body) {
            Ok(state) => Word::Said(Box::new(state)),
            Err(_) => Word::Unclear(format!("{} answers with something that is no state", socket.display())),
        },
        Err(error) => Word::Unclear(error.to_string()),
    }
}

/// The owner of what keeps us out: the socket, or the nearest directory that can be looked at.
fn owner(socket: &Path) -> Option<u32> {
    socket.ancestors().find_map(|path| std::fs::symlink_metadata(path).ok()).map(|metadata| metadata.uid())
}

/// Processes that run a program of that name, by the kernel's word for it (proc(5), `comm`: at most 15 bytes). Never by
/// their arguments: `tail ssh-tunnel.log` is no tunnel.
fn processes(name: &str) -> Vec<u32> {
    let comm = &name[..name.len().min(15)];
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|found| found.trim() == comm))
        .collect()
}

/// Whether it runs. `None` where it need not run here and does not.
#[must_use]
pub fn judge(heard: &Heard, needed: bool) -> Option<Step> {
    let (program, socket) = (heard.program, heard.socket.display());
    let (id, hop, name) = (program.id(), program.hop(), program.name());
    let unit = program.unit();
    let start =
        format!("start it (systemctl start {unit} where it is a service; journalctl -u {unit} says why it ended)");
    let step = match &heard.word {
        Word::Said(state) => Step::good(id, hop, format!("{name} {} runs as process {}", state.version, state.pid))
            .took(Some(heard.latency)),
        Word::Missing if !needed => return None,
        Word::Left if !needed => return None,
        Word::Missing => match heard.processes.as_slice() {
            [] => {
                Step::failed(id, hop, format!("{name} is not running: its state socket {socket} is not there"), start)
            }
            [pid, ..] => Step::failed(
                id,
                hop,
                format!(
                    "{name} is not running with this runtime directory: its state socket {socket} is not there, though process {pid} has that name"
                ),
                format!("{start}, or name the directory of the one that runs with --runtime-dir"),
            ),
        },
        Word::Left => Step::failed(
            id,
            hop,
            format!("{name} is not running: it has left its state socket {socket} behind, as a killed program does"),
            start,
        ),
        Word::Denied(owner) => {
            let whose = owner
                .map_or_else(|| "another user's".to_owned(), |uid| format!("that of the user with the number {uid}"));
            let runs = if heard.processes.is_empty() { "may run" } else { "runs" };
            Step::failed(
                id,
                hop,
                format!("{name} {runs}, but its state socket {socket} is {whose} and may not be used by this one"),
                "run interlinkctl check as that user or as root",
            )
        }
        Word::Unclear(why) => Step::failed(
            id,
            hop,
            format!("{name} does not say how it is: {why}"),
            "look at its log, and restart it if it hangs",
        ),
    };
    Some(step)
}

/// What the tunnel says about its connection and the service behind it.
#[must_use]
pub fn judge_tunnel(heard: &Heard) -> Vec<Step> {
    let Some(state) = heard.state() else { return Vec::new() };
    let detail = |key| heard.detail(key).unwrap_or("?");
    let to = || format!("connected to {}", detail("server"));
    let mut hops = state.hops.iter();
    let mut steps = Vec::new();
    if let Some(own) = hops.next() {
        steps.push(match own.state {
            HopStatus::Starting => Step::failed(
                Id::Link,
                "tunnel",
                format!("ssh-tunnel is still connecting to {}", detail("server")),
                "try again in a few seconds; if it stays so, look at ssh-tunnel's log",
            ),
            _ => of_hop(Id::Link, "tunnel", own, to(), "look at ssh-tunnel's log"),
        });
    }
    // A service that refused once may have answered since: the ping that follows tells.
    steps.extend(
        hops.filter(|hop| hop.state == HopStatus::Down)
            .map(|hop| of_hop(Id::FarEnd, "plugin", hop, String::new(), "start the service behind the tunnel")),
    );
    steps
}

/// What a tunnel in reverse leaves undone for an API server that dials `socket` on this machine.
#[must_use]
pub fn judge_reverse(heard: &Heard, socket: &Path) -> Option<Step> {
    let forwards = heard.state()?.details.get("forwards")?.as_array()?;
    let forward = forwards.iter().find(|forward| forward["reverse"] == true)?;
    let there = forward["listens"].as_str().unwrap_or("the server");
    Some(Step::failed(
        Id::TunnelSocket,
        "tunnel",
        format!(
            "ssh-tunnel runs with -reverse, so it listens at {there} on the server, and nothing does at {} (SidecarURL)",
            socket.display()
        ),
        "start ssh-tunnel without -reverse where the API server is on this machine and the plugin on the server",
    ))
}

/// What the virtual kubelet says about the chain.
#[must_use]
pub fn judge_kubelet_view(heard: &Heard) -> Option<Step> {
    let state = heard.state()?;
    let down = state.hops.iter().find(|hop| hop.state == HopStatus::Down);
    let starting = state.hops.iter().skip(1).any(|hop| hop.state == HopStatus::Starting && hop.hop == "api");
    Some(match down {
        Some(hop) => {
            // Of an error answer the remedy is the end of the sentence.
            let said = Fault::of_sentence(&hop.cause, "look at virtual-kubelet's log");
            let (cause, remedy) =
                if hop.remedy.is_empty() { (said.cause, said.remedy) } else { (hop.cause.clone(), hop.remedy.clone()) };
            Step::failed(
                Id::KubeletView,
                "virtual-kubelet",
                format!("virtual-kubelet sees {} down: {cause}", hop.hop),
                remedy,
            )
        }
        None if starting => Step::failed(
            Id::KubeletView,
            "virtual-kubelet",
            "virtual-kubelet has had no answer of the API server yet",
            "try again in a few seconds",
        ),
        None => Step::good(Id::KubeletView, "virtual-kubelet", heard.detail("chain").unwrap_or("sees every hop up")),
    })
}

/// A hop as a program tells of it.
#[must_use]
pub fn of_hop(id: Id, name: &str, hop: &HopState, seen: String, otherwise: &str) -> Step {
    match hop.state {
        HopStatus::Up => Step::good(id, name, seen),
        HopStatus::Starting => Step::skipped(id, name, format!("{} is not known yet", hop.hop)),
        HopStatus::Down => {
            let remedy = if hop.remedy.is_empty() { otherwise } else { &hop.remedy };
            Step::failed(id, name, &hop.cause, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::Verdict;

    fn state(hops: &str) -> Word {
        let text = format!(
            r#"{{"program":"p","version":"1","pid":7,"startedAt":"2026-01-01T00:00:00Z","hops":{hops},"details":{{"server":"login:22","chain":"all well"}}}}"#
        );
        Word::Said(Box::new(serde_json::from_str(&text).unwrap()))
    }

    fn heard(program: Program, word: Word, processes: &[u32]) -> Heard {
        let socket = PathBuf::from("/run/interlink/p.state");
        Heard { program, word, socket, latency: Duration::from_millis(1), processes: processes.to_vec() }
    }

    #[test]
    fn not_running_is_told_from_not_ours_to_ask() {
        let cases: [(Word, &[u32], &str, &str); 6] = [
            (Word::Missing, &[], "ssh-tunnel is not running: its state socket", "systemctl start interlink-tunnel"),
            (Word::Missing, &[12], "though process 12 has that name", "--runtime-dir"),
            (Word::Left, &[], "ssh-tunnel is not running: it has left its state socket", "start it"),
            (Word::Denied(Some(998)), &[12], "ssh-tunnel runs, but its state socket", "as that user or as root"),
            (Word::Denied(None), &[], "ssh-tunnel may run, but", "as root"),
            (Word::Unclear("it did not answer within 5 s".into()), &[12], "within 5 s", "restart it if it hangs"),
        ];
        for (word, processes, cause, remedy) in cases {
            let heard = heard(Program::Tunnel, word, processes);
            let step = judge(&heard, true).unwrap();
            let fault = step.fault().unwrap();
            assert!(fault.cause.contains(cause) && fault.remedy.contains(remedy), "{fault:?}");
        }
        let runs = judge(&heard(Program::Tunnel, state("[]"), &[]), true).unwrap();
        assert_eq!(runs.verdict, Verdict::Good("ssh-tunnel 1 runs as process 7".into()));
    }

    #[test]
    fn a_plugin_that_runs_elsewhere_is_no_fault() {
        assert_eq!(judge(&heard(Program::Plugin, Word::Missing, &[]), false), None);
        assert!(judge(&heard(Program::Plugin, state("[]"), &[]), false).is_some());
    }

    #[test]
    fn the_tunnels_words_are_quoted() {
        let down = r#"[{"hop":"tunnel","state":"down","cause":"login refuses the key","remedy":"add the key"}]"#;
        let steps = judge_tunnel(&heard(Program::Tunnel, state(down), &[]));
        assert_eq!(steps, [Step::failed(Id::Link, "tunnel", "login refuses the key", "add the key")]);
        let behind = r#"[{"hop":"tunnel","state":"up"},{"hop":"remote","state":"down","cause":"nothing listens","remedy":"start it"}]"#;
        let steps = judge_tunnel(&heard(Program::Tunnel, state(behind), &[]));
        assert_eq!(steps[0], Step::good(Id::Link, "tunnel", "connected to login:22"));
        assert_eq!(steps[1], Step::failed(Id::FarEnd, "plugin", "nothing listens", "start it"));
        let starting = r#"[{"hop":"tunnel","state":"starting"}]"#;
        let steps = judge_tunnel(&heard(Program::Tunnel, state(starting), &[]));
        assert!(steps[0].fault().unwrap().cause.contains("still connecting to login:22"));
    }

    #[test]
    fn a_tunnel_in_reverse_is_told_from_one_that_goes_forward() {
        let with = |forwards: &str| {
            let text = format!(
                r#"{{"program":"p","version":"1","pid":7,"startedAt":"2026-01-01T00:00:00Z","hops":[],"details":{{"forwards":{forwards}}}}}"#
            );
            let word = Word::Said(Box::new(serde_json::from_str(&text).unwrap()));
            judge_reverse(&heard(Program::Tunnel, word, &[]), Path::new("/run/interlink/plugin.sock"))
        };
        let step = with(r#"[{"listens":"localhost:4000","reverse":true}]"#).unwrap();
        let fault = step.fault().unwrap();
        assert!(fault.cause.contains("-reverse, so it listens at localhost:4000 on the server"), "{fault:?}");
        assert!(fault.cause.contains("/run/interlink/plugin.sock") && fault.remedy.contains("without -reverse"));
        assert_eq!(with(r#"[{"listens":"/run/interlink/plugin.sock","reverse":false}]"#), None);
    }

    #[test]
    fn a_program_is_known_by_its_name_and_not_by_its_arguments() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("ssh-tunnel");
        std::fs::write(&log, "").unwrap();
        let mut tail = std::process::Command::new("tail").arg("-f").arg(&log).spawn().unwrap();
        // the kernel gives a program its name just after it has begun
        let itself = (0..2000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            processes("tail").contains(&tail.id())
        });
        let seen = processes("ssh-tunnel").contains(&tail.id());
        tail.kill().unwrap();
        tail.wait().unwrap();
        assert!(itself && !seen, "tail -f {}: {itself} {seen}", log.display());
    }

    #[test]
    fn the_kubelets_view_is_quoted() {
        let up = r#"[{"hop":"virtual-kubelet","state":"up"},{"hop":"api","state":"up"}]"#;
        let step = judge_kubelet_view(&heard(Program::Kubelet, state(up), &[])).unwrap();
        assert_eq!(step.verdict, Verdict::Good("all well".into()));
        let down = r#"[{"hop":"virtual-kubelet","state":"up"},{"hop":"tunnel","state":"down","cause":"c; r"}]"#;
        let step = judge_kubelet_view(&heard(Program::Kubelet, state(down), &[])).unwrap();
        assert_eq!(step.fault().unwrap(), &Fault::new("virtual-kubelet sees tunnel down: c", "r"));
    }

    #[tokio::test]
    async fn asking_tells_a_missing_socket_from_one_that_was_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.state");
        let limit = Duration::from_secs(5);
        assert!(matches!(ask(Program::Tunnel, &path, limit).await.word, Word::Missing));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(ask(Program::Tunnel, &path, limit).await.word, Word::Left));
    }
}
