//! Pods as jobs of a real cluster, submitted by an ordinary account.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use interlink_testkit::slurm::{Cluster, Options};
use interlink_testkit::users::hpcuser;
use interlink_testkit::wait;
use interlink_wire::status::ContainerState;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Plugin, container, file, pod, pod_of, uid};

/// A plugin on that cluster; `sbatch` may be a wrapper.
async fn plugin(cluster: &Cluster, more: &str) -> Plugin {
    let config = format!("Scheduler: slurm\nContainerRuntime: host\n{more}");
    let conf = cluster.conf();
    Plugin::start_with(&config, |launch| launch.env("SLURM_CONF", conf), Some(&hpcuser())).await
}

fn flagged(mut pod: Value, flags: &str) -> Value {
    pod["metadata"]["annotations"]["slurm-job.vk.io/flags"] = json!(flags);
    pod
}

fn waiting(status: &interlink_wire::PodStatus) -> Option<(String, String)> {
    match &status.containers[0].state {
        ContainerState::Waiting(waiting) => Some((waiting.reason.clone(), waiting.message.clone())),
        _ => None,
    }
}

#[tokio::test]
async fn a_pod_becomes_one_job_of_its_owner_and_ends_with_its_own_code() {
    let cluster = Cluster::start(Options::default()).await;
    let plugin = plugin(&cluster, "").await;
    let mut main = container("c", "id -un; cat /cfg/a 2>/dev/null || cat $M/a; env | grep -c NOTIFY_SOCKET; exit 42");
    main["resources"] = json!({"limits": {"cpu": "1500m", "memory": "100M"}});
    let pod = flagged(pod_of(json!({"containers": [main]})), "--partition=batch --time=10");
    let job = plugin.create(&pod, json!({})).await.job();
    assert_eq!(plugin.ends(&pod).await, [(42, "Error".to_owned())]);
    assert_eq!(plugin.logs(&pod, "c", json!({"Tail": 99})).await.lines().next(), Some("hpcuser"));
    let ended = cluster.job_in_state(&job, &["FAILED"], PATIENCE).await;
    assert_eq!((ended.field("JobName"), ended.field("NumCPUs")), (uid(&pod), "2"));
    assert_eq!(plugin.create(&pod, json!({})).await.job(), job);
    assert_eq!(cluster.submitted().await.len(), 1);
    plugin.delete(&pod).await;
    plugin.gone(&pod).await;
}

#[tokio::test]
async fn a_waiting_job_quotes_slurm_and_is_deleted_without_having_run() {
    let cluster = Cluster::start(Options::default()).await;
    let plugin = plugin(&cluster, "").await;
    let pod = flagged(pod("true"), "--hold");
    let job = plugin.create(&pod, json!({})).await.job();
    let status = plugin
        .status_when(&pod, "Slurm's reason", |s| waiting(s).is_some_and(|(_, m)| m.contains("JobHeldUser")))
        .await;
    assert_eq!(waiting(&status), Some(("Queued".to_owned(), "PENDING (JobHeldUser)".to_owned())));
    plugin.delete(&pod).await;
    plugin.gone(&pod).await;
    cluster.job_in_state(&job, &["CANCELLED"], PATIENCE).await;
}

#[tokio::test]
async fn a_running_job_is_ended_by_a_delete_within_its_grace() {
    let cluster = Cluster::start(Options::default()).await;
    let plugin = plugin(&cluster, "").await;
    let mut pod = pod("trap 'echo bye > $OUT; exit 0' TERM; echo up; while :; do sleep 0.05; done");
    let out = plugin.pod_dir("x").with_file_name(".said");
    pod["spec"]["containers"][0]["env"] = json!([{"name": "OUT", "value": out}]);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(30);
    plugin.create(&pod, json!({})).await;
    plugin.running(&pod).await;
    wait::until("the container's trap", PATIENCE, async || match plugin.logs(&pod, "c", json!({})).await {
        text if text == "up\n" => Ok(()),
        text => Err(text),
    })
    .await;
    plugin.delete(&pod).await;
    plugin.gone(&pod).await;
    assert_eq!(std::fs::read_to_string(out).unwrap(), "bye\n");
}

#[tokio::test]
async fn a_refusal_is_quoted_in_slurms_own_words() {
    let cluster = Cluster::start(Options::default()).await;
    let plugin = plugin(&cluster, "").await;
    let pod = flagged(pod("true"), "--partition=nope");
    assert_eq!(plugin.create(&pod, json!({})).await.code, 200);
    assert_eq!(plugin.ends(&pod).await, [(1, "SubmissionRefused".to_owned())]);
    let status = plugin.status(&pod).await.unwrap();
    let message = &status.containers[0].state.terminated().unwrap().message;
    assert!(message.contains("Invalid partition name specified"), "{message}");
    assert!(plugin.logs(&pod, "c", json!({})).await.contains("Invalid partition"));
    plugin.killed_and_restarted().await;
    assert_eq!(plugin.ends(&pod).await.len(), 1);
    plugin.delete(&pod).await;
    plugin.gone(&pod).await;
    assert!(cluster.submitted().await.is_empty());
}

/// A stand-in for sbatch that tells when it begins and waits for a word before and after the real one.
fn slow_sbatch(plugin_dir: &std::path::Path, before: &str, after: &str) -> String {
    let script = plugin_dir.join("slow-sbatch");
    let text = format!("#!/bin/sh\n{before}\nout=$(/usr/bin/sbatch \"$@\") || exit\n{after}\necho \"$out\"\n");
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script.display().to_string()
}

#[tokio::test]
async fn killed_while_sbatch_is_under_way_the_pod_is_still_submitted_once() {
    // The plugin dies before slurmctld has the job, and after; sbatch lives on both times.
    for (before, after) in [("touch $HOME/begun; sleep 3", ""), ("", "touch $HOME/begun; sleep 3")] {
        let cluster = Cluster::start(Options::default()).await;
        let scripts = interlink_testkit::dirs::TestDir::new();
        let sbatch = slow_sbatch(scripts.path(), before, after);
        let plugin = plugin(&cluster, &format!("SbatchPath: {sbatch}")).await;
        let pod = pod("sleep 1; exit 5");
        let create = plugin.create(&pod, json!({}));
        let begun = plugin.data().with_file_name("begun");
        tokio::select! {
            _ = create => panic!("answered before the job was submitted"),
            () = file(&begun) => {}
        }
        plugin.killed_and_restarted().await;
        assert_eq!(plugin.ends(&pod).await, [(5, "Error".to_owned())]);
        assert_eq!(cluster.submitted().await.len(), 1, "{}", plugin.daemon.log());
    }
}

#[tokio::test]
async fn a_delete_during_the_submission_cancels_the_job_that_comes_of_it() {
    let cluster = Cluster::start(Options::default()).await;
    let scripts = interlink_testkit::dirs::TestDir::new();
    let sbatch = slow_sbatch(scripts.path(), "touch $HOME/begun; sleep 2", "");
    let plugin = plugin(&cluster, &format!("SbatchPath: {sbatch}")).await;
    let pod = pod("sleep 300");
    let begun = plugin.data().with_file_name("begun");
    let ((), created) = tokio::join!(file(&begun), plugin.create(&pod, json!({})));
    assert_eq!((created.code, created.job().as_str()), (200, ""));
    assert_eq!(plugin.delete(&pod).await.code, 200);
    plugin.gone(&pod).await;
    let jobs = cluster.submitted().await;
    for job in &jobs {
        cluster.job_in_state(&job.to_string(), &["CANCELLED", "FAILED", "COMPLETED"], PATIENCE).await;
    }
    assert_eq!(jobs.len(), 1);
}

#[tokio::test]
async fn while_slurmctld_is_down_pods_wait_and_run_once_when_it_is_back() {
    let cluster = Cluster::start(Options::default()).await;
    let plugin = plugin(&cluster, "").await;
    let running = pod("while [ ! -e $GO ]; do sleep 0.05; done; exit 4");
    let go = plugin.pod_dir("x").with_file_name(".go");
    let mut running = running;
    running["spec"]["containers"][0]["env"] = json!([{"name": "GO", "value": go}]);
    plugin.create(&running, json!({})).await;
    plugin.running(&running).await;
    cluster.controller().terminate(PATIENCE).await;

    let late = pod("exit 6");
    let created = plugin.create(&late, json!({})).await;
    assert_eq!((created.code, created.job().as_str()), (200, ""));
    wait::until("the plugin to notice", PATIENCE, async || {
        let ping = plugin.call(http::Method::GET, "/status", "[]").await.json();
        if ping["hops"][0]["state"] == "down" { Ok(()) } else { Err(ping.to_string()) }
    })
    .await;
    assert!(plugin.status(&running).await.unwrap().containers[0].state.is_running());
    // The supervisor needs no slurmctld to say how its pod ended.
    std::fs::write(&go, "").unwrap();
    assert_eq!(plugin.ends(&running).await, [(4, "Error".to_owned())]);

    cluster.controller().start_again();
    cluster.ready().await;
    assert_eq!(plugin.ends(&late).await, [(6, "Error".to_owned())]);
    assert_eq!(cluster.submitted().await.len(), 2);
}

#[tokio::test]
async fn a_job_that_slurm_ended_without_asking_is_judged_by_slurms_record() {
    let cluster = Cluster::start(Options::default()).await;
    let plugin = plugin(&cluster, "").await;
    let pod = pod("sleep 300");
    let job = plugin.create(&pod, json!({})).await.job();
    plugin.running(&pod).await;
    let killed = cluster.run("scancel", ["--full", "--signal=KILL", &job]).await;
    assert!(killed.status.success(), "{killed:?}");
    let ends = plugin.ends(&pod).await;
    assert!(ends.iter().all(|(code, reason)| *code != 0 && !reason.is_empty()), "{ends:?}");
    plugin.delete(&pod).await;
    plugin.gone(&pod).await;
}

#[tokio::test]
async fn twenty_pods_and_a_plugin_that_keeps_dying_make_twenty_jobs() {
    let cluster = Cluster::start(Options { cpus: 32, memory_mb: 64_000, ..Options::default() }).await;
    let plugin = plugin(&cluster, "").await;
    let pods: Vec<Value> = (0..20).map(|n| pod(&format!("sleep 2; exit {n}"))).collect();
    for (n, pod) in pods.iter().enumerate() {
        if n % 5 == 4 {
            // A request that dies with the plugin is made again, as the kubelet does.
            let _ = tokio::time::timeout(Duration::from_millis(30), plugin.create(pod, json!({}))).await;
            plugin.killed_and_restarted().await;
        }
        assert_eq!(plugin.create(pod, json!({})).await.code, 200);
    }
    plugin.killed_and_restarted().await;
    for (n, pod) in (0..).zip(&pods) {
        assert_eq!(plugin.ends(pod).await[0].0, n);
    }
    assert_eq!(cluster.submitted().await.len(), 20);
}

#[tokio::test]
async fn a_lost_node_is_named_in_the_status() {
    let cluster = Cluster::start(Options::default()).await;
    let plugin = plugin(&cluster, "").await;
    let pod = flagged(pod("sleep 300"), "--nodelist=n2");
    plugin.create(&pod, json!({})).await;
    plugin.running(&pod).await;
    // A node that is lost says nothing more: neither Slurm's part there nor the supervisor.
    let supervisor = holder(&plugin.pod_dir(uid(&pod)).join("claim"));
    let stat = std::fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
    let stepd = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    for pid in [stepd, supervisor] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    let down = cluster.run("scontrol", ["update", "nodename=n2", "state=down", "reason=test"]).await;
    assert!(down.status.success(), "{down:?}");
    assert_eq!(plugin.ends(&pod).await, [(255, "NodeFailure".to_owned())]);
    let status = plugin.status(&pod).await.unwrap();
    let message = &status.containers[0].state.terminated().unwrap().message;
    assert!(message.contains("NODE_FAIL"), "{message}");
}

/// The process that holds a file open.
fn holder(file: &std::path::Path) -> i32 {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let open = std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        if open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|target| target == file) {
            return pid;
        }
    }
    panic!("nobody holds {}", file.display());
}

#[tokio::test]
async fn what_slurm_has_forgotten_the_job_directory_still_knows() {
    let cluster = Cluster::start(Options { min_job_age: Duration::from_secs(2), ..Options::default() }).await;
    let plugin = plugin(&cluster, "").await;
    let pod = pod("sleep 0.5; exit 9");
    let job = plugin.create(&pod, json!({})).await.job();
    plugin.daemon.kill9();
    wait::until("Slurm to forget the job", PATIENCE, async || {
        let known = cluster.jobs().await.iter().any(|known| known.id() == job);
        if known { Err("it knows it") } else { Ok(()) }
    })
    .await;
    plugin.daemon.start_again();
    plugin.ready().await;
    assert_eq!(plugin.ends(&pod).await, [(9, "Error".to_owned())]);
    assert_eq!(plugin.create(&pod, json!({})).await.job(), job);
    plugin.delete(&pod).await;
    plugin.gone(&pod).await;
    assert_eq!(cluster.submitted().await.len(), 1);
}

#[tokio::test]
async fn an_accounting_that_hangs_keeps_no_pod_waiting_for_the_others() {
    let cluster = Cluster::start(Options { cpus: 32, memory_mb: 64_000, ..Options::default() }).await;
    let plugin = plugin(&cluster, "SacctPath: /bin/sh -c 'sleep 300'").await;
    let pods: Vec<Value> = (0..8).map(|_| pod("sleep 300")).collect();
    for pod in &pods {
        plugin.create(pod, json!({})).await;
    }
    for pod in &pods {
        plugin.running(pod).await;
    }
    for pod in &pods {
        let supervisor = nix::unistd::Pid::from_raw(holder(&plugin.pod_dir(uid(pod)).join("claim")));
        nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    wait::until("all ends", PATIENCE, async || {
        for pod in &pods {
            let status = plugin.status(pod).await.unwrap();
            if status.containers[0].state.terminated().is_none() {
                return Err(format!("{status:?}"));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_job_that_slurmctld_lost_before_it_ran_is_submitted_once_more() {
    let cluster = Cluster::start(Options::default()).await;
    let plugin = plugin(&cluster, "").await;
    let drain = cluster.run("scontrol", ["update", "nodename=n1,n2", "state=drain", "reason=test"]).await;
    assert!(drain.status.success(), "{drain:?}");
    let pod = pod("exit 8");
    plugin.create(&pod, json!({})).await;
    plugin.status_when(&pod, "the queue", |s| waiting(s).is_some_and(|(reason, _)| reason == "Queued")).await;
    // What it took last was not yet on its disk.
    cluster.controller().kill9();
    for entry in std::fs::read_dir(cluster.dir().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    cluster.controller().start_again();
    cluster.ready().await;
    let code = wait::until("the pod to run after all", PATIENCE * 3, async || {
        let status = plugin.status(&pod).await.unwrap();
        match status.containers[0].state.terminated() {
            Some(end) => Ok(end.exit_code),
            None => Err(format!("{status:?}")),
        }
    })
    .await;
    assert_eq!(code, 8);
    plugin.delete(&pod).await;
    plugin.gone(&pod).await;
}

#[tokio::test]
async fn a_job_that_only_has_a_pods_number_is_left_alone() {
    let cluster = Cluster::start(Options::default()).await;
    let plugin = plugin(&cluster, "").await;
    let lost = flagged(pod("true"), "--hold");
    plugin.create(&lost, json!({})).await;
    let other = pod("sleep 300");
    let job = plugin.create(&other, json!({})).await.job();
    plugin.running(&other).await;
    // As after a loss of slurmctld's state: the first pod's number went to the second one's job.
    plugin.daemon.kill9();
    std::fs::write(plugin.pod_dir(uid(&lost)).join("JobID.jid"), &job).unwrap();
    plugin.daemon.start_again();
    plugin.ready().await;
    plugin.delete(&lost).await;
    plugin.gone(&lost).await;
    cluster.job_in_state(&job, &["RUNNING"], PATIENCE).await;
    assert!(plugin.status(&other).await.unwrap().containers[0].state.is_running());
    plugin.delete(&other).await;
    plugin.gone(&other).await;
}

#[tokio::test]
async fn an_earlier_pod_of_the_same_uid_does_not_stand_for_this_one() {
    let cluster = Cluster::start(Options::default()).await;
    let scripts = interlink_testkit::dirs::TestDir::new();
    // The first answer of the second submission gets lost before slurmctld has heard of it.
    let before = "if [ -e $HOME/lose ]; then rm $HOME/lose; echo 'Unable to contact slurm controller' >&2; exit 1; fi";
    let sbatch = slow_sbatch(scripts.path(), before, "");
    let plugin = plugin(&cluster, &format!("SbatchPath: {sbatch}")).await;
    let pod = pod("exit 3");
    plugin.create(&pod, json!({})).await;
    assert_eq!(plugin.ends(&pod).await, [(3, "Error".to_owned())]);
    plugin.delete(&pod).await;
    plugin.gone(&pod).await;
    // A restart forgets that the UID was deleted a moment ago.
    plugin.killed_and_restarted().await;
    let lose = plugin.data().with_file_name("lose");
    std::fs::write(&lose, "").unwrap();
    std::os::unix::fs::chown(&lose, Some(hpcuser().uid), Some(hpcuser().gid)).unwrap();
    assert_eq!(plugin.create(&pod, json!({})).await.code, 200);
    assert_eq!(plugin.ends(&pod).await, [(3, "Error".to_owned())]);
    assert_eq!(cluster.submitted().await.len(), 2);
}

#[tokio::test]
async fn shell_of_the_pod_author_runs_where_the_site_allows_it() {
    let cluster = Cluster::start(Options::default()).await;
    let plugin = plugin(&cluster, "PodScripts: allow\nCommandPrefix: export FROM_SITE=1").await;
    let mut pod = pod("true");
    pod["metadata"]["annotations"]["slurm-job.vk.io/pre-exec"] = json!("echo pre-exec of site $FROM_SITE");
    plugin.create(&pod, json!({})).await;
    assert_eq!(plugin.ends(&pod).await, [(0, "Completed".to_owned())]);
    let said = std::fs::read_to_string(plugin.pod_dir(uid(&pod)).join("job.out")).unwrap();
    assert!(said.starts_with("pre-exec of site 1\n"), "{said}");
}
