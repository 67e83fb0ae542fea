//! `interlinkctl demo`: the whole chain on this machine, and one pod through it.
//!
//! - [`place`]: the private directory; [`program`], [`processes`], [`warden`]: starting programs, and their certain end.
//! - [`namespaces`]: whether this kernel lets the example have volumes.
//! - [`keys`], [`sshd`], [`own_sshd`]: the SSH server between the two halves.
//! - [`chain`]: the hops, one after the other.
//! - [`view`]: what the kubelet says about the pod; [`expected`]: what the pod must have said.
//! - [`cluster`]: the same in a cluster that `KUBECONFIG` points to.

pub mod chain;
pub mod cluster;
pub mod expected;
pub mod keys;
pub mod namespaces;
pub mod own_sshd;
pub mod place;
pub mod processes;
pub mod program;
pub mod screen;
pub mod sshd;
pub mod view;
pub mod warden;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use interlink_daemon::Failure;

use crate::run::outcome::exit_code;
use crate::run::phase::Teller;
use crate::run::signal::Interrupts;
use chain::Source;
use cluster::Cluster;
use expected::{CONTAINERS, EXAMPLE, WITHOUT_VOLUMES};
use place::Place;
use screen::Screen;
use view::View;
use warden::Warden;

/// How long the example may take: it sleeps for three seconds.
const POD_PATIENCE: Duration = Duration::from_secs(120);

/// How often the pod is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// How long the deletion of the pod may take: its grace period and some.
const DELETE_PATIENCE: Duration = Duration::from_secs(20);

/// Runs the demo; the exit code.
///
/// # Errors
/// [`Failure`] naming what didn't work and where to read on.
pub async fn demo(keep: bool) -> Result<u8, Failure> {
    let mut interrupts = Interrupts::install().map_err(|e| Failure::failed(format!("can't handle signals: {e}")))?;
    let screen = Screen::default();
    let (warden, place) = Warden::start().await?;
    screen.line(&format!("interlink demo in {}", place.path().display()));
    let shown = tokio::select! {
        shown = show(&place, &screen) => shown.map(|()| 0),
        code = interrupts.next() => Ok(code),
    };
    if keep && matches!(shown, Ok(0)) {
        kept(&place, &screen);
        warden.dismiss().await;
        return Ok(0);
    }
    let left = stop(&place).await;
    place.remove(shown.is_err());
    warden.dismiss().await;
    if left > 0 {
        screen.bad("stopped", &format!("{left} processes can't be ended"));
        return Err(Failure::failed("the demo could not end all that it started"));
    }
    let rest =
        if shown.is_err() { format!("; the logs are in {}", place.logs().display()) } else { " and removed".into() };
    screen.line(&format!("everything stopped{rest}; {:.1} s in all", screen.elapsed().as_secs_f64()));
    shown
}

/// Stops a demo that was left running.
///
/// # Errors
/// [`Failure`] when `dir` is not a demo's directory or something can't be ended.
pub async fn stop_kept(dir: &Path) -> Result<u8, Failure> {
    let place = Place::find(dir)?;
    let left = stop(&place).await;
    if left > 0 {
        return Err(Failure::failed(format!("{left} processes of the demo can't be ended; try again as their user")));
    }
    place.remove(false);
    Screen::default().line("everything stopped and removed");
    Ok(0)
}

/// Takes the pod away through the chain, then ends all processes; how many are left.
async fn stop(place: &Place) -> usize {
    let cluster = Cluster::open_if_joined(place).await;
    let _ = withdraw(place, cluster.as_ref()).await;
    processes::end(place.path(), processes::PATIENCE).await;
    if let Some(cluster) = cluster {
        // The kubelet would make it again.
        cluster.remove_node().await;
    }
    processes::of(place.path()).len()
}

/// Chain, pod, output, proofs, deletion.
async fn show(place: &Place, screen: &Screen) -> Result<(), Failure> {
    let (node, source) = match Cluster::from_environment(place).await? {
        Some(cluster) => (cluster.node().to_owned(), Source::Cluster { kubeconfig: cluster.kubeconfig().to_owned() }),
        None => {
            if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
                screen.line("KUBECONFIG names no file that exists, so no cluster is joined");
            }
            ("interlink-demo".to_owned(), Source::Directory)
        }
    };
    let refused = namespaces::refused().await;
    let example = if refused.is_some() { WITHOUT_VOLUMES } else { EXAMPLE };
    let mut running = chain::start(place, screen, &node, &source).await?;
    let view = match &source {
        Source::Directory => {
            for (name, text) in example.manifests {
                put(&place.manifests(), name, text)?;
            }
            View::standalone(place)?
        }
        Source::Cluster { .. } => {
            let cluster = Cluster::open(place).await?;
            cluster.apply(&example).await?;
            View::Cluster(cluster)
        }
    };
    let why = refused.map(|why| format!(", because {why}")).unwrap_or_default();
    screen.line(&format!("pod demo, from {}{why}", example.origin));
    let code = tokio::select! {
        code = follow(&view, screen) => code?,
        (name, why) = first_end(&mut running) => {
            return Err(Failure::failed(format!("{name} ended while the pod ran: {why}; its log is {}", place.log(name).display())));
        }
    };
    screen.line("output");
    let mut outputs = Vec::new();
    for container in CONTAINERS {
        let output = view.logs(container).await.map_err(|e| Failure::failed(format!("no logs of {container}: {e}")))?;
        for line in output.lines() {
            screen.line(&format!("  [{container}] {line}"));
        }
        outputs.push((container, output));
    }
    if code != 0 {
        return Err(Failure::failed(format!(
            "the pod failed with exit code {code}; see above, and {}",
            place.logs().display()
        )));
    }
    screen.line("checks");
    for proof in example.proofs {
        if !outputs.iter().any(|(container, output)| *container == proof.container && proof.holds(output)) {
            screen.bad(proof.of, &format!("{} should have said {:?}", proof.container, proof.line));
            return Err(Failure::failed(format!(
                "the pod's output is not what it should be; logs are in {}",
                place.logs().display()
            )));
        }
        screen.good(proof.of, proof.line, None);
    }
    Ok(())
}

/// Tells the pod's states until it has ended; its exit code.
async fn follow(view: &View, screen: &Screen) -> Result<u8, Failure> {
    let mut teller = Teller::default();
    let give_up = Instant::now() + POD_PATIENCE;
    loop {
        let trouble = match view.status().await {
            Ok(Some(status)) => {
                for line in teller.lines(&status) {
                    screen.event(&line);
                }
                if let Some(code) = exit_code(&status) {
                    return Ok(code);
                }
                "it has not ended".to_owned()
            }
            Ok(None) => "the kubelet does not know it".to_owned(),
            Err(why) => why,
        };
        if Instant::now() >= give_up {
            return Err(Failure::failed(format!("the pod took more than {} s: {trouble}", POD_PATIENCE.as_secs())));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits for the first program that ends, which none should.
async fn first_end(running: &mut [program::Running]) -> (&'static str, String) {
    loop {
        for program in running.iter_mut() {
            if let Some(why) = program.ended() {
                return (program.name, why);
            }
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Takes the pod away where it came from, and waits until the plugin has removed its job directory.
async fn withdraw(place: &Place, cluster: Option<&Cluster>) -> Result<(), Failure> {
    let manifests: Vec<PathBuf> = entries(&place.manifests());
    if let Some(cluster) = cluster {
        cluster.withdraw().await;
    } else if manifests.is_empty() {
        return Ok(());
    }
    for manifest in manifests {
        let _ = std::fs::remove_file(manifest);
    }
    let give_up = Instant::now() + DELETE_PATIENCE;
    while !job_directories(place).is_empty() && !processes::of(place.path()).is_empty() {
        if Instant::now() >= give_up {
            return Err(Failure::failed("the pod's job directory was not removed"));
        }
        tokio::time::sleep(GLANCE).await;
    }
    Ok(())
}

/// Those of pods; the plugin's own begin with a dot.
fn job_directories(place: &Place) -> Vec<PathBuf> {
    let mut all = entries(&place.jobs());
    all.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    all
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// A file that appears whole in a directory that is watched.
fn put(dir: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let hidden = dir.join(format!(".{name}"));
    keys::write(&hidden, text)?;
    std::fs::rename(&hidden, dir.join(name)).map_err(|e| Failure::failed(format!("can't write {name}: {e}")))
}

fn kept(place: &Place, screen: &Screen) {
    let program = own_file().unwrap_or_else(|_| "interlinkctl".into());
    let (program, dir) = (program.display(), place.path().display());
    screen.line(&format!("left running; {:.1} s in all", screen.elapsed().as_secs_f64()));
    for (what, how) in [
        ("run a pod", format!("{program} run -f examples/failing.yaml --api unix://{}", place.api_socket().display())),
        ("or put its manifest into", format!("{}", place.manifests().display())),
        ("ping the chain", format!("curl --unix-socket {} http://unix/pinglink", place.api_socket().display())),
        ("read the logs in", format!("{}", place.logs().display())),
        ("stop it", format!("{program} demo --stop {dir}")),
    ] {
        screen.line(&format!("  {what:<25} {how}"));
    }
}

/// The file that this program runs from; the other programs lie beside it.
fn own_file() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|e| Failure::failed(format!("can't find the programs: {e}")))
}
