//! What a pod does while nothing disturbs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use interlink_supervisor::exit;
use interlink_supervisor::index::OutputIndex;
use interlink_supervisor::layout::Kind;
use interlink_wire::status::ContainerState;
use nix::sys::signal::Signal;

use crate::pod::{Pod, script, terminated};

crate::tests![
    init_containers_run_in_order_before_the_others,
    a_failed_init_container_ends_the_pod,
    every_container_has_its_own_exit_code_and_the_highest_is_the_jobs,
    a_signalled_container_reports_the_signal,
    a_container_killed_by_a_real_time_signal_is_still_reported,
    output_is_byte_exact,
    output_times_are_in_the_index,
    variables_are_byte_exact_and_the_only_ones,
    a_missing_program_is_named,
    a_file_that_is_not_executable_is_named,
    an_empty_command_is_refused_with_the_remedy,
    a_working_directory_that_is_missing_is_named,
    references_to_variables_are_expanded,
    a_container_starts_with_the_process_state_of_a_container,
    every_report_has_its_sequence_and_its_event,
    what_a_container_leaves_behind_is_killed,
    files_are_private,
    a_launch_description_that_cannot_be_read_is_reported,
    a_full_disk_costs_output_and_nothing_else,
    the_shim_is_not_for_people,
];

fn init_containers_run_in_order_before_the_others() {
    let pod = Pod::new(vec![], vec![]);
    let file = pod.home.join("order");
    let append = |name: &str| script(name, &format!("echo {name} >> {}", file.display()));
    let pod = Pod {
        launch: interlink_supervisor::launch::Launch {
            init_containers: vec![append("first"), append("second")],
            containers: vec![append("main")],
            ..pod.launch.clone()
        },
        ..pod
    };
    assert_eq!(pod.run(), 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "first\nsecond\nmain\n");
    let report = pod.report();
    assert!(report.finished && report.started && report.ending.is_none());
    for status in report.init.iter().chain(&report.containers) {
        let end = terminated(status);
        assert_eq!((end.exit_code, end.reason.as_str()), (0, "Completed"), "{}", status.name);
        assert!(end.started_at.unwrap() <= end.finished_at.unwrap());
    }
    assert_eq!(exit::load(&pod.dir(), Kind::Init, "first"), Some(0));
    assert_eq!(exit::load(&pod.dir(), Kind::Main, "main"), Some(0));
}

fn a_failed_init_container_ends_the_pod() {
    let pod = Pod::new(
        vec![script("ok", "true"), script("bad", "echo no >&2; exit 4"), script("later", "true")],
        vec![script("a", "true"), script("b", "true")],
    );
    assert_eq!(pod.run(), 4);
    let report = pod.report();
    let codes: Vec<i32> = report.init.iter().chain(&report.containers).map(|c| terminated(c).exit_code).collect();
    assert_eq!(codes, [0, 4, 4, 4, 4]);
    for index in [0, 1] {
        let end = pod.ended(index);
        assert_eq!(end.reason, "InitContainerFailed");
        assert!(end.message.contains("\"bad\"") && end.started_at.is_none(), "{}", end.message);
    }
    assert_eq!(pod.output("init-bad.out"), "no\n");
    assert!(!pod.dir().join("run-a.out").exists());
    assert_eq!(exit::load(&pod.dir(), Kind::Main, "a"), Some(4));
}

fn every_container_has_its_own_exit_code_and_the_highest_is_the_jobs() {
    let pod = Pod::new(vec![], vec![script("a", "exit 3"), script("b", "exit 0"), script("c", "exit 42")]);
    assert_eq!(pod.run(), 42);
    let codes: Vec<i32> = (0..3).map(|i| pod.ended(i).exit_code).collect();
    assert_eq!(codes, [3, 0, 42]);
    assert_eq!(exit::load(&pod.dir(), Kind::Main, "a"), Some(3));
    assert_eq!(exit::load(&pod.dir(), Kind::Main, "c"), Some(42));
}

fn a_signalled_container_reports_the_signal() {
    let pod = Pod::of(script("a", "kill -9 $$"));
    assert_eq!(pod.run(), 137);
    let end = pod.ended(0);
    assert_eq!((end.exit_code, end.signal, end.reason.as_str()), (137, Some(9), "Error"));
}

fn a_container_killed_by_a_real_time_signal_is_still_reported() {
    let pod = Pod::of(script("a", "kill -40 $$; sleep 60"));
    assert_eq!(pod.run(), 168);
    assert_eq!(pod.ended(0).signal, Some(40));
}

fn output_is_byte_exact() {
    let pod = Pod::of(script("a", "printf 'a\\000b\\r\\n\\377'; head -c 5000000 /dev/zero; printf 'no newline' >&2"));
    assert_eq!(pod.run(), 0);
    let found = fs::read(pod.dir().join("run-a.out")).unwrap();
    let expected = [&b"a\0b\r\n\xff"[..], &vec![0; 5_000_000], b"no newline"].concat();
    assert!(found == expected, "{} bytes", found.len());
}

fn output_times_are_in_the_index() {
    let pod = Pod::of(script("a", "echo one; sleep 0.3; echo two"));
    assert_eq!(pod.run(), 0);
    let index = OutputIndex::parse(&fs::read(pod.dir().join("run-a.index")).unwrap());
    let (one, two) = (index.time_at(0).unwrap(), index.time_at(4).unwrap());
    let end = pod.ended(0);
    assert!(end.started_at.unwrap().as_second() <= one.as_second() + 1 && one < two && two <= end.finished_at.unwrap());
    assert_eq!(index.offset_since(two), Some(4));
}

fn variables_are_byte_exact_and_the_only_ones() {
    let values = ["", "plain", "it's \"quoted\"", "two\nlines\n", "$HOME `x` \\ $(A)", "tab\tend ", "é✓", "a=b"];
    let mut container = script("a", "");
    container.command = vec!["/usr/bin/env".into(), "-0".into()];
    container.env = values.iter().enumerate().map(|(i, v)| (format!("V{i}.x-y"), (*v).to_owned())).collect();
    let mut pod = Pod::of(container);
    pod.variables = vec![("LEAK".into(), "secret".into()), ("HOME".into(), "/home/x".into())];
    assert_eq!(pod.run(), 0);
    let output = pod.output("run-a.out");
    let mut found: Vec<&str> = output.split_terminator('\0').collect();
    let mut expected: Vec<String> = values.iter().enumerate().map(|(i, v)| format!("V{i}.x-y={v}")).collect();
    expected.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    expected.push("HOME=/home/x".into());
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

fn a_missing_program_is_named() {
    let mut container = script("a", "");
    container.command = vec!["no-such-program".into()];
    let pod = Pod::new(vec![], vec![container, script("b", "exit 5")]);
    assert_eq!(pod.run(), 127);
    let end = pod.ended(0);
    assert_eq!((end.exit_code, end.reason.as_str()), (127, "StartError"));
    assert!(end.message.contains("\"no-such-program\" is not on the node"), "{}", end.message);
    assert!(end.started_at.is_none());
    assert_eq!(pod.ended(1).exit_code, 5);
    assert_eq!(exit::load(&pod.dir(), Kind::Main, "a"), Some(127));
}

fn a_file_that_is_not_executable_is_named() {
    let mut container = script("a", "");
    let pod = Pod::new(vec![], vec![]);
    let file = pod.write("text", "words");
    container.command = vec![file.display().to_string()];
    let pod = Pod {
        launch: interlink_supervisor::launch::Launch { containers: vec![container], ..pod.launch.clone() },
        ..pod
    };
    assert_eq!(pod.run(), 126);
    let end = pod.ended(0);
    assert!(end.reason == "StartError" && end.message.contains("is not executable"), "{}", end.message);
}

fn an_empty_command_is_refused_with_the_remedy() {
    let mut container = script("a", "");
    container.command = vec![];
    container.args = vec!["x".into()];
    let pod = Pod::of(container);
    assert_eq!(pod.run(), 128);
    let end = pod.ended(0);
    assert!(end.reason == "StartError" && end.message.contains("give command"), "{}", end.message);
}

fn a_working_directory_that_is_missing_is_named() {
    let mut container = script("a", "true");
    container.working_dir = Some("/no/such/place".into());
    let mut there = script("b", "pwd");
    there.working_dir = Some("/usr".into());
    let pod = Pod::new(vec![], vec![container, there]);
    assert_eq!(pod.run(), 128);
    assert!(pod.ended(0).message.contains("workingDir \"/no/such/place\""), "{}", pod.ended(0).message);
    assert_eq!(pod.output("run-b.out"), "/usr\n");
}

fn references_to_variables_are_expanded() {
    let mut container = script("a", "");
    container.command = vec!["/bin/echo".into(), "$(WHO)".into()];
    container.args = vec!["$$(WHO)".into(), "$(NOBODY)".into()];
    container.env = vec![("WHO".into(), "me".into())];
    let pod = Pod::of(container);
    assert_eq!(pod.run(), 0);
    assert_eq!(pod.output("run-a.out"), "me $(WHO) $(NOBODY)\n");
}

fn a_container_starts_with_the_process_state_of_a_container() {
    let pod = Pod::of(script(
        "a",
        "umask; readlink /proc/self/fd/0; ls /proc/self/fd | wc -l; pwd; grep -E 'SigIgn|SigBlk' /proc/self/status; \
         cut -d' ' -f1,5,6 /proc/$$/stat; echo $$",
    ));
    assert_eq!(pod.run(), 0);
    let output = pod.output("run-a.out");
    let lines: Vec<&str> = output.lines().collect();
    // `ls` itself has its directory open
    assert_eq!(lines[..4], ["0022", "/dev/null", "4", "/"]);
    assert_eq!(lines[4], "SigBlk:\t0000000000000000");
    // a Rust program ignores it for itself; a container must not inherit that
    let ignored = u64::from_str_radix(lines[5].split('\t').nth(1).unwrap(), 16).unwrap();
    assert_eq!(ignored & 1 << (Signal::SIGPIPE as u64 - 1), 0);
    let pid = lines[7];
    assert_eq!(lines[6], format!("{pid} {pid} {pid}"), "a session of its own");
}

fn every_report_has_its_sequence_and_its_event() {
    let pod = Pod::new(vec![script("i", "sleep 0.2")], vec![script("a", "sleep 0.2"), script("b", "sleep 0.4")]);
    assert_eq!(pod.run(), 0);
    let report = pod.report();
    assert_eq!(pod.events(), (1..=report.sequence).collect::<Vec<_>>());
    assert_eq!(report.job_id.as_str(), "7");
    assert_eq!(report.node_name, nix::unistd::gethostname().unwrap().to_string_lossy());
    assert!(matches!(report.containers[0].state, ContainerState::Terminated(_)));
}

fn what_a_container_leaves_behind_is_killed() {
    // one in the container's session, one in a session of its own, and both hold the output open
    let text = "sleep 1000 & echo $!; setsid sh -c 'echo $$; exec sleep 1001' & sleep 0.5; exit 6";
    let pod = Pod::of(script("a", text));
    assert_eq!(pod.run(), 6);
    let output = pod.output("run-a.out");
    let pids: Vec<i32> = output.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2, "{output}");
    for pid in pids {
        assert!(!crate::pod::lives(pid), "{pid} lives");
    }
}

fn files_are_private() {
    let pod = Pod::new(vec![script("i", "echo x")], vec![script("a", "echo x")]);
    assert_eq!(pod.run(), 0);
    for entry in fs::read_dir(pod.dir()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(!name.ends_with(".tmp"), "{name} is left");
        if entry.file_type().unwrap().is_file() {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
}

fn a_launch_description_that_cannot_be_read_is_reported() {
    let pod = Pod::of(script("a", "true"));
    pod.write("pod/launch.json", "{\"uid\":");
    assert_eq!(pod.start_again("7").end(), i32::from(exit::BAD_LAUNCH));
    let report = pod.report();
    assert!(report.finished && !report.started && report.containers.is_empty());
    assert!(report.ending.unwrap().message.contains("launch.json"));
}

fn a_full_disk_costs_output_and_nothing_else() {
    let mut pod = Pod::of(script("a", "head -c 3000000 /dev/zero; exit 5"));
    // the pod directory on a disk of 1 MB, which is gone with the supervisor's namespace
    let small = "cp $3/launch.json $3/../ && mount -t tmpfs -o size=1m small $3 && mv $3/../launch.json $3 && \
                 \"$@\"; code=$?; cp -r $3 $3/../kept; exit $code";
    pod.wrapper =
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", small, "sh"].map(str::to_owned).into();
    assert_eq!(pod.run(), 5);
    let kept = pod.home.join("kept");
    let report = interlink_supervisor::report::Report::load(&kept).unwrap().unwrap();
    let end = terminated(&report.containers[0]);
    assert!(report.finished && end.exit_code == 5);
    let written = fs::metadata(kept.join("run-a.out")).unwrap().len();
    let message = format!("{} bytes of its output could not be written: No space left on device", 3_000_000 - written);
    assert!(end.message.contains(&message), "{}", end.message);
    assert_eq!(exit::load(&kept, Kind::Main, "a"), Some(5));
}

fn the_shim_is_not_for_people() {
    let own = std::env::current_exe().unwrap();
    let output = std::process::Command::new(own).arg("contain").stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("by the supervisor only"));
}
