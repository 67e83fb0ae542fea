//! Ending a pod from outside.

use std::fs;

use interlink_supervisor::deletion::Deletion;
use interlink_supervisor::report::EndReason;
use nix::sys::signal::Signal;

use crate::pod::{Pod, lives, script, terminated};

crate::tests![
    a_delete_asks_every_container_to_stop,
    a_container_that_ignores_term_is_killed_after_its_grace,
    the_grace_of_the_delete_wins,
    a_grace_without_end_is_none_at_all,
    a_second_delete_in_a_hurry_shortens_the_grace,
    a_finished_container_keeps_its_own_exit_code,
    the_time_limit_is_never_a_success,
    scancel_without_a_delete_is_never_a_success,
    an_active_deadline_ends_the_pod,
    a_delete_during_init_starts_nothing_more,
    children_of_a_container_are_told_too,
];

const WAITS: &str = "trap 'echo told; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
const IGNORES: &str = "trap '' TERM; echo ready; while :; do sleep 0.05; done";

fn ready(pod: &Pod, containers: &[&str]) {
    for name in containers {
        let file = pod.dir().join(format!("run-{name}.out"));
        crate::pod::until("its first words", || fs::read(&file).is_ok_and(|t| !t.is_empty()).then_some(()));
    }
}

fn a_delete_asks_every_container_to_stop() {
    let pod = Pod::new(vec![], vec![script("a", WAITS), script("b", "echo x; exec sleep 1000")]);
    let supervisor = pod.start("7");
    ready(&pod, &["a", "b"]);
    Deletion { grace_seconds: None }.store(&pod.dir()).unwrap();
    supervisor.signal(Signal::SIGUSR1);
    assert_eq!(supervisor.end(), 143);
    // between the two, the shell says that its sleep was told as well
    assert!(pod.output("run-a.out").ends_with("told\n"), "{}", pod.output("run-a.out"));
    assert_eq!((pod.ended(0).exit_code, pod.ended(0).reason.as_str()), (0, "Completed"));
    let killed = pod.ended(1);
    assert_eq!((killed.exit_code, killed.signal, killed.reason.as_str()), (143, Some(15), "Terminated"));
    assert_eq!(pod.report().ending.unwrap().reason, EndReason::Deleted);
}

fn a_container_that_ignores_term_is_killed_after_its_grace() {
    let mut pod = Pod::of(script("a", IGNORES));
    pod.launch.grace_seconds = 1;
    let supervisor = pod.start("7");
    ready(&pod, &["a"]);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.end(), 137);
    let end = pod.ended(0);
    assert_eq!((end.exit_code, end.signal, end.reason.as_str()), (137, Some(9), "Terminated"));
}

fn the_grace_of_the_delete_wins() {
    let mut pod = Pod::of(script("a", IGNORES));
    pod.launch.grace_seconds = 10_000;
    let supervisor = pod.start("7");
    ready(&pod, &["a"]);
    Deletion { grace_seconds: Some(0) }.store(&pod.dir()).unwrap();
    supervisor.signal(Signal::SIGUSR1);
    assert_eq!(supervisor.end(), 137);
}

fn a_grace_without_end_is_none_at_all() {
    let mut pod = Pod::of(script("a", WAITS));
    // what Kubernetes lets through
    pod.launch.grace_seconds = i64::MAX.cast_unsigned();
    pod.launch.active_deadline_seconds = Some(i64::MAX.cast_unsigned());
    let supervisor = pod.start("7");
    ready(&pod, &["a"]);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.end(), 143);
    assert!(pod.report().finished && pod.output("run-a.out").ends_with("told\n"));
}

fn a_second_delete_in_a_hurry_shortens_the_grace() {
    let mut pod = Pod::of(script("a", IGNORES));
    pod.launch.grace_seconds = 10_000;
    let supervisor = pod.start("7");
    ready(&pod, &["a"]);
    Deletion { grace_seconds: None }.store(&pod.dir()).unwrap();
    supervisor.signal(Signal::SIGUSR1);
    pod.until("the end's reason", |r| r.ending.is_some());
    Deletion { grace_seconds: Some(0) }.store(&pod.dir()).unwrap();
    supervisor.signal(Signal::SIGUSR1);
    assert_eq!(supervisor.end(), 137);
}

fn a_finished_container_keeps_its_own_exit_code() {
    let pod =
        Pod::new(vec![], vec![script("a", "exit 3"), script("b", "exit 0"), script("c", "echo x; exec sleep 1000")]);
    let supervisor = pod.start("7");
    ready(&pod, &["c"]);
    pod.until("two ended", |r| r.containers[..2].iter().all(|c| c.state.terminated().is_some()));
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.end(), 143);
    let ends: Vec<(i32, String)> = (0..3).map(|i| (pod.ended(i).exit_code, pod.ended(i).reason)).collect();
    assert_eq!(ends, [(3, "Error".into()), (0, "Completed".into()), (143, "Terminated".into())]);
}

fn the_time_limit_is_never_a_success() {
    let pod = Pod::of(script("a", WAITS));
    let supervisor = pod.start("7");
    ready(&pod, &["a"]);
    supervisor.signal(Signal::SIGUSR2);
    assert_eq!(supervisor.end(), 143);
    let end = pod.ended(0);
    assert_eq!((end.exit_code, end.reason.as_str()), (143, "DeadlineExceeded"));
    assert!(end.message.contains("time limit"), "{}", end.message);
    assert_eq!(pod.report().ending.unwrap().reason, EndReason::DeadlineExceeded);
}

fn scancel_without_a_delete_is_never_a_success() {
    let pod = Pod::of(script("a", WAITS));
    let supervisor = pod.start("7");
    ready(&pod, &["a"]);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.end(), 143);
    assert_eq!((pod.ended(0).exit_code, pod.ended(0).reason.as_str()), (143, "Terminated"));
    assert!(pod.ended(0).message.contains("scancel"), "{}", pod.ended(0).message);
}

fn an_active_deadline_ends_the_pod() {
    let mut pod = Pod::of(script("a", "exec sleep 1000"));
    pod.launch.active_deadline_seconds = Some(1);
    assert_eq!(pod.run(), 143);
    assert_eq!(pod.ended(0).reason, "DeadlineExceeded");
    assert!(pod.ended(0).message.contains("activeDeadlineSeconds"), "{}", pod.ended(0).message);
}

fn a_delete_during_init_starts_nothing_more() {
    let pod = Pod::new(vec![script("i", "exec sleep 1000"), script("j", "true")], vec![script("a", "true")]);
    let supervisor = pod.start("7");
    pod.until("a running init container", |r| r.init[0].state.is_running());
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.end(), 143);
    let report = pod.report();
    let codes: Vec<i32> = report.init.iter().chain(&report.containers).map(|c| terminated(c).exit_code).collect();
    assert_eq!(codes, [143, 143, 143]);
    assert!(terminated(&report.containers[0]).message.contains("not started"));
    assert!(!pod.dir().join("run-a.out").exists() && !pod.dir().join("init-j.out").exists());
}

fn children_of_a_container_are_told_too() {
    let pod = Pod::of(script("a", "sleep 1000 & echo $!; sleep 1001"));
    let supervisor = pod.start("7");
    ready(&pod, &["a"]);
    let child: i32 = pod.output("run-a.out").trim().parse().unwrap();
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.end(), 143);
    assert!(!lives(child));
}
