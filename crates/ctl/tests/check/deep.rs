//! A real test pod, and the reports for Prometheus and for a log.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use interlink_testkit::slurm::{self, Cluster};

use crate::chain::{Chain, Plan};

/// Job directories of pods.
fn jobs(chain: &Chain) -> usize {
    let entries = std::fs::read_dir(chain.dir.join("jobs")).into_iter().flatten().flatten();
    entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_pod_runs_through_the_chain_and_is_removed_also_when_the_check_is_interrupted() {
    let chain = Chain::healthy().await;
    let report = chain.check_with(&["--deep"]);
    let step = report.step("test pod", "api");
    let seen = step["seen"].as_str().unwrap_or_default();
    assert!(report.code == Some(0) && seen.contains("as job") && seen.ends_with("its log came back"), "{step}");
    assert!(step["latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(jobs(&chain), 0, "the pod is gone");

    let mut check = chain.command().arg("--deep").stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while jobs(&chain) == 0 {
        assert!(began.elapsed() < Duration::from_secs(60) && check.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(2));
    }
    Command::new("kill").args(["-INT", &check.id().to_string()]).status().unwrap();
    assert_eq!(check.wait().unwrap().code(), Some(130));
    assert_eq!(jobs(&chain), 0, "the pod is gone");

    // A broken chain is not tried.
    chain.tunnel.kill9();
    let report = chain.check_with(&["--deep"]);
    let step = report.step("test pod", "chain");
    assert!(step["skipped"].as_str().unwrap().contains("no pod was tried"), "{step}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fails_and_one_that_does_not_start_are_named_and_removed() {
    let plugin = "ContainerRuntime: apptainer\nSingularityPath: /bin/false\n".to_owned();
    let chain = Chain::start(Plan { plugin, ..Plan::default() }).await;
    chain.until("a healthy chain", |report| report.code == Some(0)).await;
    chain.names_with(&["--deep"], "test pod", "api", "the test pod failed: ", "the image busybox is at hand").await;
    assert_eq!(jobs(&chain), 0, "the pod is gone");
    drop(chain);

    let slurm = Cluster::start(slurm::Options::default()).await;
    slurm.run("scontrol", ["update", "nodename=ALL", "state=drain", "reason=test"]).await;
    let plugin = "Scheduler: slurm\nSbatchPath: /usr/bin/sbatch\n".to_owned();
    let chain = Chain::start(Plan { plugin, slurm: Some(slurm.conf()), ..Plan::default() }).await;
    chain.until("a healthy chain", |report| report.code == Some(0)).await;
    let late = ["--deep", "--deep-timeout", "4s"];
    chain.names_with(&late, "test pod", "api", "had not ended after 4 s: ", "a longer --deep-timeout").await;
    assert_eq!(jobs(&chain), 0, "the pod is gone");
    let left: Vec<_> =
        slurm.jobs().await.into_iter().filter(|job| ["PENDING", "RUNNING"].contains(&job.state())).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_goes_to_prometheus_and_to_a_log() {
    let chain = Chain::healthy().await;
    let (metrics, log) = (chain.dir.join("interlink.prom"), chain.dir.join("health-check.log"));
    let files = ["--textfile", metrics.to_str().unwrap(), "--logfile", log.to_str().unwrap()];
    assert_eq!(chain.check_with(&files).code, Some(0));
    let text = read(&metrics);
    for line in [
        "interlink_check_success 1",
        "interlink_check_faults 0",
        "interlink_check_warnings 0",
        "interlink_check_step_success{step=\"chain ping\",hop=\"api\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    chain.tunnel.kill9();
    assert_eq!(chain.check_with(&files).code, Some(1));
    let text = read(&metrics);
    assert!(
        text.contains("interlink_check_success 0\n") && text.contains("{step=\"process\",hop=\"tunnel\"} 0\n"),
        "{text}"
    );
    let log = read(&log);
    assert_eq!(log.matches("Starting interLink health check").count(), 2, "{log}");
    assert!(
        log.contains(" OK - api chain ping: ") && log.contains(" ERROR - tunnel process: ssh-tunnel is not running"),
        "{log}"
    );
    assert!(log.ends_with("interLink health check completed, 1 faults\n"), "{log}");

    let output = chain.command().args(["--textfile", "/nowhere/interlink.prom"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("can't write /nowhere/interlink.prom"), "{said}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
