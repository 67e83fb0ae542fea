//! Takes an installation away: what its record says, and nothing else.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use interlink_daemon::Failure;

use super::arguments::UninstallArgs;
use super::cluster::Cluster;
use super::facts::{self, Around};
use super::place::Place;
use super::plan::{self, Task};
use super::record::Record;
use super::run::{self, say};
use super::step::Site;
use super::wishes::{Role, Wishes};
use super::{other, pods};

/// Between two looks at what still runs.
const PAUSE: Duration = Duration::from_secs(1);

/// Uninstalls.
///
/// # Errors
/// [`Failure`] as the command's help says.
pub async fn uninstall(args: UninstallArgs) -> Result<u8, Failure> {
    let place = super::place(args.user)?;
    if place.me.is_none() && !nix::unistd::geteuid().is_root() {
        return Err(Failure::config(
            "this needs root: put sudo before it, or add --user for what is installed for you alone",
        ));
    }
    let path = place.record(args.role);
    let Some(record) = Record::read(&path).map_err(Failure::config)? else {
        say(format!(
            "nothing to do: there is no {}, so interlinkctl has installed no {} end here",
            path.display(),
            args.role.name()
        ));
        return Ok(0);
    };
    let around = Around { kubeconfig: args.kubeconfig.clone(), dry: true, ..Around::default() };
    let mut facts = facts::gather(args.role, &record.wishes, &place, &around).await.map_err(Failure::failed)?;
    match args.role {
        Role::Local => {
            let in_cluster = record.made.iter().any(|title| title.ends_with(" in the cluster"));
            if !nobody_runs_here(&args, &record.wishes, facts.operators_kubeconfig.clone(), in_cluster).await? {
                facts.operators_kubeconfig = None;
            }
        }
        Role::Remote => nobody_runs_there(&args, &record.wishes, &place).await?,
    }
    let mut kept = Vec::new();
    if args.role == Role::Remote {
        let jobs = plan::jobs(&record.wishes, &place);
        if !pods::of_jobs(&jobs).is_empty() {
            kept = vec![jobs, path.clone()];
        }
    }
    let mut site = Site { kept, shared: other(&place, args.role)?.is_some(), record, ..Site::default() };
    // so that the steps are those that were made
    facts.host_keys.get_or_insert_default();
    let wishes = site.record.wishes.clone();
    let plan = plan::plan(args.role, Task { wishes: &wishes, facts: &facts, place: &place });
    let tally = run::undo(&plan, &mut site, &path).await.map_err(Failure::failed)?;
    if args.role == Role::Remote {
        end_sessions(&place.remote.join("bin/plugin"));
    }
    if site.kept.is_empty() {
        let _ = std::fs::remove_file(&path);
    }
    if place.me.as_ref().is_none_or(|me| me.manager) {
        let _ = place.manager().ctl(&["daemon-reload"]).await;
    }
    let count = tally.changed;
    say(match site.kept.first() {
        None => format!("done: the {} end is gone, {count} steps were undone", args.role.name()),
        Some(jobs) => format!(
            "done: {count} steps were undone; {} and the account stay for the jobs that go on: run this again when they \
             have ended, and they go too",
            jobs.display()
        ),
    });
    Ok(0)
}

/// Ends what sshd still runs for the tunnel: it knows a socket that is gone, and the tunnel would hold on to it.
fn end_sessions(program: &std::path::Path) {
    let gone = format!("{} (deleted)", program.display());
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let exe = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
        let ours = exe == program || exe.to_str() == Some(&gone);
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if ours && line.split(|byte| *byte == 0).any(|word| word == b"dial-stdio") {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
    }
}

/// Whether the cluster is there to be cleaned up too.
async fn nobody_runs_here(
    args: &UninstallArgs,
    wishes: &Wishes,
    operators: Option<PathBuf>,
    in_cluster: bool,
) -> Result<bool, Failure> {
    let node = wishes.nodename();
    let asked = async {
        let operators = operators.ok_or("there is no administrator's kubeconfig (--kubeconfig)")?;
        let cluster = Cluster::open(&operators).await?;
        let running = pods::of_node(&cluster, node).await?;
        Ok::<_, String>((cluster, running))
    };
    let (cluster, mut running) = match asked.await {
        Ok(asked) => asked,
        Err(why) if args.abandon || !in_cluster => {
            say(format!(
                "left      Node {node}, ServiceAccount interlink/{node} and ClusterRole interlink-{node} in the cluster, which can't be asked: {why}"
            ));
            return Ok(false);
        }
        Err(why) => {
            return Err(Failure::config(format!(
                "refused, nothing was changed: whether pods run on the node {node} can't be told: {why}; --abandon goes on without"
            )));
        }
    };
    if args.drain {
        // or what a Deployment makes in the place of its pods comes here again
        cluster.cordon(node).await.map_err(Failure::failed)?;
        let deadline = tokio::time::Instant::now() + args.timeout;
        let mut deleted = BTreeSet::new();
        while !running.is_empty() && tokio::time::Instant::now() < deadline {
            // some may have been bound before the cordon
            let new: Vec<String> = running.into_iter().filter(|pod| !deleted.contains(pod)).collect();
            pods::delete(&cluster, &new).await.map_err(Failure::failed)?;
            deleted.extend(new);
            tokio::time::sleep(PAUSE).await;
            running = pods::of_node(&cluster, node).await.map_err(Failure::failed)?;
        }
    }
    refuse_while(&running, args)?;
    Ok(true)
}

async fn nobody_runs_there(args: &UninstallArgs, wishes: &Wishes, place: &Place) -> Result<(), Failure> {
    let jobs = plan::jobs(wishes, place);
    let deadline = tokio::time::Instant::now() + args.timeout;
    let mut running = pods::of_jobs(&jobs);
    while args.drain && !running.is_empty() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(PAUSE).await;
        running = pods::of_jobs(&jobs);
    }
    refuse_while(&running, args)
}

fn refuse_while(running: &[String], args: &UninstallArgs) -> Result<(), Failure> {
    if running.is_empty() || args.abandon {
        return Ok(());
    }
    let named = running.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    let more = if running.len() > 5 { ", …" } else { "" };
    let remedy = match (args.drain, args.role) {
        (true, Role::Local) => {
            "they did not end in time; a longer --timeout waits for them, --abandon leaves their jobs to themselves; \
             until then the node takes no other (kubectl uncordon)"
        }
        (true, Role::Remote) => {
            "they did not end in time; a longer --timeout waits for them, --abandon leaves their jobs to themselves"
        }
        (false, Role::Local) => {
            "--drain deletes them and waits for their end, --abandon leaves their jobs to themselves"
        }
        (false, Role::Remote) => "--drain waits for their end, --abandon leaves their jobs to themselves",
    };
    let (count, verb) = (running.len(), if running.len() == 1 { "pod runs" } else { "pods run" });
    Err(Failure::config(format!("refused, nothing was removed: {count} {verb} ({named}{more}); {remedy}")))
}
