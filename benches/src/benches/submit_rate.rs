//! `submit.rate`: pods per second, from create to `sbatch`.
//!
//! ```text
//!   creates, 16 at a time ──▶ interlink-plugin ──┐
//!                                                ├──▶ one Slurm cluster, one user
//!   for i in …; do sbatch tiny.sh; done ─────────┘
//! ```
//!
//! What is measured is submitting, as on a login node whose jobs run elsewhere: the partition is down meanwhile, so that
//! jobs queue and don't take this machine's processors. It comes up after each measurement; then every pod must end
//! well, and Slurm must have had exactly one job for each.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use interlink_e2e::{Site, site};
use interlink_testkit::{slurm, wait};
use interlink_transport::{Call, Client, Endpoint};
use interlink_wire::{
    ContainerState, CreateStruct, Envelope as _, Object, PodStatus, RetrievedContainer, RetrievedPodData, header, path,
};
use serde_json::json;

use crate::bench::Bench;
use crate::figure::{Better, Figure};

pub(crate) const BENCH: Bench = Bench {
    figures: &[RATE],
    about: "100 pods from create to sbatch by interlink-plugin, and 100 jobs by a plain sbatch loop",
    programs: &["interlink-plugin"],
    run: || Box::pin(run()),
};

const RATE: &str = "submit.rate";
const PEER: &str = "sbatch loop";

/// Odd, so that the median is a round that took place.
const ROUNDS: usize = 7;
/// Pods, and jobs of the loop, in each round.
const PODS: usize = 100;
/// Creates under way at once: as many workers as a virtual kubelet has.
const AT_ONCE: usize = 16;
/// Time limit of every single step.
const LIMIT: Duration = Duration::from_secs(120);

async fn run() -> anyhow::Result<Vec<Figure>> {
    let site = Site::start(site::Options {
        slurm: slurm::Options { nodes: 2, cpus: 32, ..slurm::Options::default() },
        ..site::Options::default()
    })
    .await;
    site.dir.write("tiny.sh", "#!/bin/sh\nexec true\n");
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let mut rates = [0.0, 0.0];
        for side in [round % 2, 1 - round % 2] {
            rates[side] = if side == 0 { pods(&site, round).await? } else { jobs(&site).await? };
        }
        let [ours, peers] = rates;
        eprintln!("  round {} of {ROUNDS}: {ours:.1} pods/s, {PEER} {peers:.1}", round + 1);
        rounds.push((ours, peers));
    }
    Ok(vec![Figure::of_rounds(RATE, "pods/s", Better::Higher, PEER, &rounds)])
}

/// Ours: pods per second until Slurm has a job for each.
async fn pods(site: &Site, round: usize) -> anyhow::Result<f64> {
    let client = Client::new(Endpoint::unix(&site.socket)?);
    let pods: Vec<Object> = (0..PODS).map(|number| pod(round, number)).collect();
    let bodies: Vec<Vec<u8>> = pods.iter().map(create_body).collect::<anyhow::Result<_>>()?;
    partition(site, "DOWN").await?;
    let begun = Instant::now();
    stream::iter(bodies)
        .map(|body| create(&client, body))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<CreateStruct>>()
        .await
        .with_context(|| format!("the plugin's log ends: {}", site.plugin.log_tail(5)))?;
    all_queued(site).await?;
    let took = begun.elapsed();
    partition(site, "UP").await?;
    all_end_well(&client, &pods).await?;
    drained(site).await;
    // Nothing is deleted: for minutes after, ext4 looks at every inode that became free before it makes a file.
    Ok(rate(took))
}

/// The peer's: jobs per second.
async fn jobs(site: &Site) -> anyhow::Result<f64> {
    partition(site, "DOWN").await?;
    let script = "i=0; while [ $i -lt $1 ]; do sbatch -o /dev/null \"$2\" >/dev/null || exit 1; i=$((i+1)); done";
    let mut command = site.slurm.command_as(&site.user, "sh");
    command.args(["-c", script, "loop", &PODS.to_string()]).arg(site.dir.join("tiny.sh"));
    let begun = Instant::now();
    let output = tokio::time::timeout(LIMIT, command.output()).await.context("the sbatch loop takes too long")??;
    ensure!(output.status.success(), "sbatch: {}", String::from_utf8_lossy(&output.stderr).trim());
    all_queued(site).await?;
    let took = begun.elapsed();
    partition(site, "UP").await?;
    drained(site).await;
    Ok(rate(took))
}

#[allow(clippy::cast_precision_loss, reason = "a small number")]
fn rate(took: Duration) -> f64 {
    PODS as f64 / took.as_secs_f64()
}

fn pod(round: usize, number: usize) -> Object {
    let uid = format!("{round:08x}-0000-4000-8000-{number:012x}");
    Object::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("bench-{round}-{number}"), "namespace": "default", "uid": uid},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "busybox", "command": ["true"]}],
        },
    }))
    .expect("a pod is an object")
}

fn create_body(pod: &Object) -> anyhow::Result<Vec<u8>> {
    let container = vec![RetrievedContainer { name: "main".to_owned(), ..RetrievedContainer::default() }];
    Ok(serde_json::to_vec(&RetrievedPodData { pod: pod.clone(), container, ..RetrievedPodData::default() })?)
}

async fn create(client: &Client, body: Vec<u8>) -> anyhow::Result<CreateStruct> {
    Ok(CreateStruct::decode(&call(client, Method::POST, path::CREATE, body).await.context("create")?)?)
}

async fn call(client: &Client, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let call = Call::new(method, path, body).header(header::OWNER, "local/bench").timeout(LIMIT);
    let answer = client.send(call).await?;
    let status = answer.status;
    let body = answer.bytes(16 << 20, LIMIT).await?;
    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    Ok(body.into())
}

/// Waits until every container has ended with exit code 0.
async fn all_end_well(client: &Client, pods: &[Object]) -> anyhow::Result<()> {
    let request = serde_json::to_vec(pods)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = call(client, Method::GET, path::STATUS, request.clone()).await.context("status")?;
        let statuses: Vec<PodStatus> = serde_json::from_slice(&answer)?;
        let states = || statuses.iter().flat_map(|pod| &pod.containers).map(|container| &container.state);
        let exit_code = |state: &ContainerState| state.terminated().map(|ended| ended.exit_code);
        if let Some(bad) = states().find(|state| exit_code(state).is_some_and(|code| code != 0)) {
            bail!("a pod that runs `true` ended with {bad:?}");
        }
        let ended = states().filter(|state| exit_code(state) == Some(0)).count();
        if ended == pods.len() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{ended} of {} pods have ended", pods.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The end of a measurement: Slurm has a job for each, and no more.
async fn all_queued(site: &Site) -> anyhow::Result<()> {
    let jobs = wait::until("Slurm to have all jobs", LIMIT, async || match queued(site).await {
        Ok(jobs) if jobs >= PODS => Ok(jobs),
        Ok(jobs) => Err(format!("{jobs} of {PODS}; the plugin's log ends: {}", site.plugin.log_tail(5))),
        Err(error) => Err(error.to_string()),
    })
    .await;
    ensure!(jobs == PODS, "{jobs} jobs were submitted where {PODS} were wanted");
    Ok(())
}

/// How many jobs wait or run.
async fn queued(site: &Site) -> anyhow::Result<usize> {
    let output = site.slurm.run("squeue", ["-h", "-o", "%i"]).await;
    ensure!(output.status.success(), "squeue: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).lines().count())
}

/// Waits until no job waits or runs.
async fn drained(site: &Site) {
    wait::until("the queue to be empty", LIMIT, async || match queued(site).await {
        Ok(0) => Ok(()),
        Ok(jobs) => Err(format!("{jobs} jobs")),
        Err(error) => Err(error.to_string()),
    })
    .await;
}

async fn partition(site: &Site, state: &str) -> anyhow::Result<()> {
    let output = site.slurm.run("scontrol", ["update", "PartitionName=batch", &format!("State={state}")]).await;
    ensure!(output.status.success(), "scontrol: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
