//! The Slurm cluster is a real one.

use std::time::{Duration, Instant};

use interlink_testkit::process::leftovers;
use interlink_testkit::slurm::{Cluster, Options};
use interlink_testkit::users::hpcuser;
use interlink_testkit::wait;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn jobs_run_as_their_user_and_their_exit_codes_are_known() {
    let begun = Instant::now();
    let cluster = Cluster::start(Options::default()).await;
    println!("cluster up after {:?}", begun.elapsed());
    let user = hpcuser();
    let good = cluster.submit(&user, "true", ["-J", "good"]).await;
    let bad = cluster.submit(&user, "exit 3", ["-J", "bad one"]).await;
    let good = cluster.job_in_state(&good, &["COMPLETED"], SOON).await;
    let bad = cluster.job_in_state(&bad, &["FAILED"], SOON).await;
    assert_eq!((good.name(), good.exit_code()), ("good", "0:0"));
    assert_eq!((bad.name(), bad.exit_code()), ("bad one", "3:0"));
    assert!(good.field("UserId").starts_with("hpcuser("), "{good:?}");
    assert_eq!(cluster.submitted().await.len(), 2);
    println!("all done after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_running_job_survives_its_controller_and_a_forgotten_one_is_still_counted() {
    let cluster = Cluster::start(Options { nodes: 1, min_job_age: Duration::from_secs(2), ..Options::default() }).await;
    let user = hpcuser();
    let short = cluster.submit(&user, "true", [""; 0]).await;
    let long = cluster.submit(&user, "sleep 1000", [""; 0]).await;
    cluster.job_in_state(&long, &["RUNNING"], SOON).await;
    cluster.controller().terminate(SOON).await;
    let squeue = cluster.run_as(&user, "squeue", [""; 0]).await;
    assert!(!squeue.status.success(), "{squeue:?}");
    cluster.controller().start_again();
    cluster.ready().await;
    cluster.job_in_state(&long, &["RUNNING"], SOON).await;
    wait::until("slurmctld to forget the short job", Duration::from_secs(40), async || {
        let known: Vec<String> = cluster.jobs().await.iter().map(|job| job.id().to_owned()).collect();
        if known == [long.clone()] { Ok(()) } else { Err(format!("{known:?}")) }
    })
    .await;
    assert_eq!(cluster.completed()[0].id(), short);
    assert_eq!(cluster.submitted().await.len(), 2);
}

#[tokio::test]
async fn dropping_a_cluster_ends_its_daemons_and_its_jobs() {
    let cluster = Cluster::start(Options { nodes: 1, ..Options::default() }).await;
    let user = hpcuser();
    // one that ignores SIGTERM
    let job = cluster.submit(&user, "trap '' TERM; sleep 1002 & wait; wait", [""; 0]).await;
    cluster.job_in_state(&job, &["RUNNING"], SOON).await;
    let dir = cluster.dir().to_owned();
    assert!(!leftovers::of(&dir).is_empty());
    drop(cluster);
    assert_eq!(leftovers::of(&dir), Default::default());
    assert!(!dir.exists());
}

#[tokio::test]
async fn jobs_of_a_cluster_whose_daemons_were_killed_end_with_it() {
    let cluster = Cluster::start(Options { nodes: 1, gpus: 2, ..Options::default() }).await;
    let job = cluster.submit(&hpcuser(), "exec sleep 1003", ["--gres=gpu:1"]).await;
    cluster.job_in_state(&job, &["RUNNING"], SOON).await;
    let sleeping = async || {
        let found = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            (line == b"sleep\x001003\0").then(|| entry.file_name().into_string().unwrap_or_default())
        });
        found.collect::<Vec<_>>()
    };
    wait::until("the job's process", SOON, async || if sleeping().await.len() == 1 { Ok(()) } else { Err("none") })
        .await;
    cluster.node(0).kill9();
    cluster.controller().kill9();
    assert_eq!(sleeping().await.len(), 1, "it outlives its daemons");
    drop(cluster);
    wait::until("the end of the job's process", SOON, async || match sleeping().await {
        none if none.is_empty() => Ok(()),
        some => Err(format!("{some:?}")),
    })
    .await;
}
