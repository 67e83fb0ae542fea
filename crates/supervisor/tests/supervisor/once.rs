//! A pod runs once, whatever happens to its jobs and supervisors.

use std::fs;

use interlink_supervisor::deletion::Deletion;
use interlink_supervisor::exit;
use interlink_supervisor::report::{EndReason, Report};
use nix::sys::signal::Signal;

use crate::pod::{Pod, script, terminated, until};

crate::tests![
    a_second_job_leaves_at_once_and_changes_nothing,
    a_second_supervisor_of_the_same_job_leaves_while_the_first_lives,
    a_job_started_again_reports_its_containers_as_lost,
    a_job_started_again_after_the_end_says_the_same_once_more,
    a_job_started_again_before_anything_ran_runs_the_pod,
    a_deleted_pod_runs_nothing,
    a_killed_supervisor_leaves_no_torn_file_and_no_container,
    nothing_is_started_where_nothing_can_be_written,
];

fn a_second_job_leaves_at_once_and_changes_nothing() {
    let pod = Pod::of(script("a", "echo once; sleep 0.5"));
    let first = pod.start("7");
    pod.until_running(0);
    let before = fs::read(pod.dir().join("state.json")).unwrap();
    assert_eq!(pod.start_again("8").end(), i32::from(exit::CLAIMED_BY_ANOTHER_JOB));
    let now: Report = serde_json::from_slice(&before).unwrap();
    assert_eq!(now.job_id.as_str(), "7");
    assert_eq!(fs::read_to_string(pod.dir().join("claim")).unwrap(), "7\n");
    assert_eq!(first.end(), 0);
    assert_eq!(pod.start_again("8").end(), i32::from(exit::CLAIMED_BY_ANOTHER_JOB));
    assert_eq!(pod.output("run-a.out"), "once\n");
    assert_eq!(pod.report().job_id.as_str(), "7");
}

fn a_second_supervisor_of_the_same_job_leaves_while_the_first_lives() {
    let pod = Pod::of(script("a", "echo once; sleep 0.5"));
    let first = pod.start("7");
    pod.until_running(0);
    assert_eq!(pod.start_again("7").end(), i32::from(exit::CLAIMED_BY_ANOTHER_JOB));
    assert_eq!(first.end(), 0);
    assert_eq!(pod.output("run-a.out"), "once\n");
}

fn a_job_started_again_reports_its_containers_as_lost() {
    let pod = Pod::new(vec![], vec![script("a", "echo once; exec sleep 1000"), script("b", "exit 0")]);
    let first = pod.start("7");
    let before = pod.until("one running, one ended", |r| {
        r.containers[0].state.is_running() && r.containers[1].state.terminated().is_some()
    });
    until("its first words", || fs::read(pod.dir().join("run-a.out")).is_ok_and(|t| t == b"once\n").then_some(()));
    first.signal(Signal::SIGKILL);
    assert_eq!(first.end(), -9);
    assert_eq!(pod.start_again("7").end(), 255);
    let report = pod.report();
    assert!(report.finished && report.sequence > before.sequence);
    let lost = terminated(&report.containers[0]);
    assert_eq!((lost.exit_code, lost.reason.as_str()), (255, "SupervisorLost"));
    assert!(lost.started_at.is_some() && lost.message.contains("a pod runs once"), "{}", lost.message);
    assert_eq!(terminated(&report.containers[1]).exit_code, 0);
    assert_eq!(pod.output("run-a.out"), "once\n");
}

fn a_job_started_again_after_the_end_says_the_same_once_more() {
    let pod = Pod::of(script("a", "echo once; exit 3"));
    assert_eq!(pod.run(), 3);
    let before = pod.report();
    assert_eq!(pod.start_again("7").end(), 3);
    let after = pod.report();
    assert_eq!(after.containers, before.containers);
    assert_eq!(after.sequence, before.sequence + 1);
    assert_eq!(pod.output("run-a.out"), "once\n");
}

fn a_job_started_again_before_anything_ran_runs_the_pod() {
    let pod = Pod::of(script("a", "echo once"));
    pod.write("pod/claim", "7\n");
    assert_eq!(pod.run(), 0);
    assert_eq!(pod.output("run-a.out"), "once\n");
}

fn a_deleted_pod_runs_nothing() {
    let pod = Pod::new(vec![script("i", "true")], vec![script("a", "echo ran")]);
    Deletion { grace_seconds: Some(0) }.store(&pod.dir()).unwrap();
    assert_eq!(pod.run(), i32::from(exit::DELETED_BEFORE_START));
    let report = pod.report();
    assert!(report.finished && !report.started);
    assert_eq!(report.ending.as_ref().unwrap().reason, EndReason::Deleted);
    assert!(terminated(&report.containers[0]).exit_code != 0);
    assert!(!pod.dir().join("run-a.out").exists());
}

fn a_killed_supervisor_leaves_no_torn_file_and_no_container() {
    for round in 0..10 {
        let pod = Pod::new(vec![script("i", "sleep 0.01")], vec![script("a", "echo $$; exec sleep 1000")]);
        let supervisor = pod.start("7");
        // at another moment of its life in every round
        std::thread::sleep(std::time::Duration::from_millis(round * 7));
        supervisor.signal(Signal::SIGKILL);
        assert_eq!(supervisor.end(), -9);
        // parses, or is not there at all
        let report = Report::load(&pod.dir()).unwrap();
        assert!(report.is_none_or(|r| !r.finished));
        for status in ["init-i.status", "run-a.status"] {
            let text = fs::read_to_string(pod.dir().join(status)).unwrap_or("0\n".into());
            assert!(text.ends_with('\n'), "{text:?}");
        }
        let pid = fs::read_to_string(pod.dir().join("run-a.out")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid {
            until("the container's end", || (!crate::pod::lives(pid)).then_some(()));
        }
    }
}

fn nothing_is_started_where_nothing_can_be_written() {
    let pod = Pod::of(script("a", "true"));
    fs::remove_dir_all(pod.dir()).unwrap();
    assert_eq!(pod.start_again("7").end(), i32::from(exit::CANNOT_WRITE));
}
