//! The runtime `apptainer`, with busybox as its image: a sandbox directory, a SIF file over HTTP, an archive.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use interlink_supervisor::launch::{ContainerLaunch, Launch, Mount, PullPolicy, Runtime};
use interlink_testkit::dirs::TestDir;
use interlink_testkit::users;
use nix::sys::signal::Signal;

use crate::pod::{Pod, mount, script, until};

crate::tests![
    a_container_runs_in_its_image_with_its_exit_code,
    nothing_but_the_container_is_in_its_output,
    variables_arrive_byte_exact,
    a_variable_that_cannot_be_given_is_named,
    volumes_are_bound_whatever_their_paths,
    a_link_of_another_container_leads_nowhere,
    what_a_killed_pull_left_goes_with_the_next,
    arguments_alone_go_to_the_images_own_program,
    a_missing_image_is_an_image_error,
    a_missing_program_is_doubtful_and_says_so,
    a_missing_apptainer_is_named_with_the_remedy,
    a_reference_is_pulled_once,
    a_reference_is_pulled_for_each_pod_when_asked_for,
    an_image_that_may_not_be_pulled_is_not,
    a_failed_pull_quotes_the_tool,
    a_delete_gives_up_a_pull,
    an_archive_becomes_an_image,
    a_delete_reaches_the_program_in_the_container,
    an_unprivileged_account_runs_containers_too,
];

/// A sandbox directory with busybox, made once for all tests; it goes with the test process.
fn sandbox() -> &'static Path {
    static MADE: OnceLock<(TestDir, PathBuf)> = OnceLock::new();
    let (_, root) = MADE.get_or_init(|| {
        let installed =
            Command::new(interlink_testkit::binaries::workspace().join("scripts/apptainer")).status().unwrap();
        assert!(installed.success(), "scripts/apptainer must be able to install Apptainer");
        let home = TestDir::new();
        let root = home.folder("busybox-sandbox");
        for folder in ["bin", "etc", "tmp", "proc", "sys", "dev", "usr", "var/tmp", "root", "home", "mnt", "run"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static must be installed: scripts/setup");
        for applet in
            ["sh", "cat", "env", "echo", "sleep", "printf", "touch", "pwd", "id", "head", "ls", "true", "grep"]
        {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
        for file in ["etc/hosts", "etc/resolv.conf", "etc/localtime"] {
            fs::write(root.join(file), "").unwrap();
        }
        (home, root)
    });
    root
}

fn runtime(image: &str, pull: PullPolicy) -> Runtime {
    Runtime::Apptainer { executable: "apptainer".into(), options: vec![], image: image.into(), pull }
}

fn contained(text: &str) -> ContainerLaunch {
    ContainerLaunch {
        runtime: runtime(&sandbox().display().to_string(), PullPolicy::IfNotPresent),
        ..script("a", text)
    }
}

/// A pod whose container is made with the pod's own directory at hand.
fn pod_with(make: impl Fn(&Pod) -> ContainerLaunch) -> Pod {
    let pod = Pod::new(vec![], vec![]);
    let container = make(&pod);
    Pod { launch: Launch { containers: vec![container], ..pod.launch.clone() }, ..pod }
}

fn a_container_runs_in_its_image_with_its_exit_code() {
    let init = ContainerLaunch { name: "i".into(), ..contained("exit 0") };
    let pod = Pod::new(vec![init], vec![contained("ls /bin/busybox; ls /work 2>/dev/null; cd /mnt; pwd; exit 42")]);
    assert_eq!(pod.run(), 42);
    assert_eq!(pod.output("run-a.out"), "/bin/busybox\n/mnt\n");
    assert_eq!(pod.ended(0).exit_code, 42);
}

fn nothing_but_the_container_is_in_its_output() {
    let mut container = contained("");
    container.command = vec!["printf".into(), "x\\000y".into()];
    container.env = vec![("HOME".into(), "/mnt".into())];
    let pod = Pod::of(container);
    assert_eq!(pod.run(), 0);
    assert_eq!(fs::read(pod.dir().join("run-a.out")).unwrap(), b"x\0y");
}

fn variables_arrive_byte_exact() {
    let values =
        ["", "it's \"quoted\"", "two\nlines\n", "$HOME ${X} `id` \\ \\n $(id)", "tab\tend ", "é✓", "a=b", "\\\n", "#!"];
    let mut container = contained("");
    container.command = vec!["env".into(), "-0".into()];
    container.env = values.iter().enumerate().map(|(i, v)| (format!("V{i}"), (*v).to_owned())).collect();
    container.env.push(("PATH".into(), "/bin:/mnt".into()));
    let mut pod = Pod::of(container);
    pod.variables = vec![("LEAK".into(), "secret".into())];
    assert_eq!(pod.run(), 0);
    let output = pod.output("run-a.out");
    let found: Vec<&str> = output.split_terminator('\0').collect();
    for (i, value) in values.iter().enumerate() {
        let expected = format!("V{i}={value}");
        assert!(found.contains(&expected.as_str()), "{expected:?} is not in {found:?}");
    }
    assert!(found.contains(&"PATH=/bin:/mnt"), "{found:?}");
    assert!(!found.iter().any(|line| line.starts_with("LEAK")), "{found:?}");
}

fn a_variable_that_cannot_be_given_is_named() {
    let mut container = contained("true");
    container.env = vec![("my.var".into(), "x".into())];
    let pod = Pod::of(container);
    assert_eq!(pod.run(), 128);
    assert!(pod.ended(0).message.contains("\"my.var\""), "{}", pod.ended(0).message);
}

fn volumes_are_bound_whatever_their_paths() {
    let pod = pod_with(|pod| {
        let text = "cat /etc/config/key /deep/new/place/key '/o,d:d/key'; echo x 2>/dev/null > /etc/config/key && echo written; \
                    echo new > /scratch/made; pwd";
        pod.write("volume/key", "value");
        let odd = pod.write("o\"d,d:/key", "odd").parent().unwrap().to_owned();
        fs::create_dir(pod.home.join("scratch")).unwrap();
        let mounts = vec![
            mount(pod.home.join("volume"), "/etc/config", true),
            mount(pod.home.join("volume"), "/deep/new/place", true),
            mount(odd, "/o,d:d", true),
            mount(pod.home.join("scratch"), "/scratch", false),
        ];
        ContainerLaunch { mounts, working_dir: Some("/scratch".into()), ..contained(text) }
    });
    assert_eq!(pod.run(), 0, "{} {}", pod.ended(0).message, pod.output("run-a.out"));
    assert_eq!(pod.output("run-a.out"), "valuevalueodd/scratch\n");
    assert_eq!(fs::read_to_string(pod.home.join("scratch/made")).unwrap(), "new\n");
}

fn a_link_of_another_container_leads_nowhere() {
    let pod = Pod::new(vec![], vec![]);
    let secret = pod.write("account/key", "secret").parent().unwrap().to_owned();
    let volume = pod.home.folder("volume");
    fs::create_dir(volume.join("part")).unwrap();
    let text = format!("rm -r /v/part; ln -s {} /v/part; ln -s . /v/here; echo own > /v/key", secret.display());
    let init = ContainerLaunch {
        name: "i".into(),
        command: vec!["/bin/busybox".into(), "sh".into(), "-c".into(), text],
        mounts: vec![mount(&volume, "/v", false)],
        ..contained("")
    };
    let within = |name: &str, part: &str| ContainerLaunch {
        name: name.into(),
        mounts: vec![Mount { within: vec![volume.clone()], ..mount(volume.join(part), "/mnt", true) }],
        ..contained("cat /mnt/key")
    };
    let containers = vec![within("out", "part"), within("in", "here")];
    let launch = Launch { init_containers: vec![init], containers, ..pod.launch.clone() };
    let pod = Pod { launch, ..pod };
    assert_eq!(pod.run(), 128);
    assert!(pod.ended(0).message.contains("symbolic link"), "{}", pod.ended(0).message);
    assert!(!pod.dir().join("run-out.out").exists());
    assert_eq!(pod.output("run-in.out"), "own\n");
}

fn arguments_alone_go_to_the_images_own_program() {
    // a sandbox without a runscript runs a shell
    let mut container = contained("");
    container.command = vec![];
    container.args = vec!["-c".into(), "echo $(WHO) \"$0\"".into(), "zero".into()];
    container.env = vec![("WHO".into(), "me".into())];
    let pod = Pod::of(container);
    assert_eq!(pod.run(), 0);
    assert_eq!(pod.output("run-a.out"), "me zero\n");
}

fn a_missing_image_is_an_image_error() {
    let container =
        ContainerLaunch { runtime: runtime("/no/such/image.sif", PullPolicy::IfNotPresent), ..script("a", "true") };
    let pod = Pod::of(container);
    assert_eq!(pod.run(), 125);
    let end = pod.ended(0);
    assert_eq!(end.reason, "ErrImagePull");
    assert!(end.message.contains("\"/no/such/image.sif\" cannot be used on the node"), "{}", end.message);
}

fn a_missing_program_is_doubtful_and_says_so() {
    let mut container = contained("");
    container.command = vec!["/bin/no-such-program".into()];
    let pod = Pod::of(container);
    assert_eq!(pod.run(), 255);
    assert!(pod.ended(0).message.contains("cannot start the program"), "{}", pod.ended(0).message);
    assert!(pod.output("run-a.out").contains("no-such-program"), "{}", pod.output("run-a.out"));
}

fn a_missing_apptainer_is_named_with_the_remedy() {
    for (image, code) in [(sandbox().display().to_string(), 127), ("docker://busybox".to_owned(), 125)] {
        let mut container = script("a", "true");
        container.runtime = Runtime::Apptainer {
            executable: "/no/such/apptainer".into(),
            options: vec![],
            image,
            pull: PullPolicy::IfNotPresent,
        };
        let pod = Pod::of(container);
        assert_eq!(pod.run(), code);
        let message = pod.ended(0).message;
        assert!(message.contains("/no/such/apptainer") && message.contains("install Apptainer"), "{message}");
    }
}

/// Serves one file over HTTP for as long as the test process lives, and counts how often.
fn serve(file: PathBuf) -> (String, &'static AtomicUsize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/image.sif", listener.local_addr().unwrap());
    let count: &'static AtomicUsize = Box::leak(Box::default());
    std::thread::spawn(move || {
        let content = fs::read(file).unwrap();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
            let _ = stream.write_all(head.as_bytes());
            if request[..length].starts_with(b"GET") {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(&content);
            }
        }
    });
    (url, count)
}

fn sif() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let path = sandbox().with_file_name("busybox.sif");
        let built = Command::new("apptainer")
            .args(["--silent", "build", "--force"])
            .arg(&path)
            .arg(sandbox())
            .status()
            .unwrap();
        assert!(built.success());
        path
    })
}

/// A pod that runs a fetched image, with Apptainer's own cache in a directory of the test.
fn fetching(image: &str, pull: PullPolicy, cache: &TestDir) -> Pod {
    let mut pod = Pod::of(ContainerLaunch { runtime: runtime(image, pull), ..script("a", "echo ran") });
    pod.launch.image_cache = cache.join("images");
    pod.variables = vec![("APPTAINER_CACHEDIR".into(), cache.join("apptainer").display().to_string())];
    pod
}

fn a_reference_is_pulled_once() {
    let (url, count) = serve(sif().to_owned());
    let cache = TestDir::new();
    let pods = [0; 3].map(|_| fetching(&url, PullPolicy::IfNotPresent, &cache));
    let supervisors = pods.each_ref().map(|pod| pod.start("7"));
    for (pod, supervisor) in pods.iter().zip(supervisors) {
        assert_eq!(supervisor.end(), 0, "{}", pod.ended(0).message);
        assert_eq!(pod.output("run-a.out"), "ran\n");
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let kept: Vec<String> =
        fs::read_dir(cache.join("images")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(kept.iter().all(|name| name.ends_with(".sif") || name.ends_with(".lock")), "{kept:?}");
}

fn what_a_killed_pull_left_goes_with_the_next() {
    let (url, _) = serve(sif().to_owned());
    let cache = TestDir::new();
    assert_eq!(fetching(&url, PullPolicy::IfNotPresent, &cache).run(), 0);
    let images =
        || -> Vec<PathBuf> { fs::read_dir(cache.join("images")).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let image = images().into_iter().find(|path| path.extension().is_some_and(|e| e == "sif")).unwrap();
    fs::rename(&image, image.with_extension("6.part")).unwrap();
    let other = cache.join("images/another.6.part");
    fs::write(&other, "").unwrap();
    assert_eq!(fetching(&url, PullPolicy::IfNotPresent, &cache).run(), 0);
    let parts: Vec<PathBuf> = images().into_iter().filter(|p| p.extension().is_some_and(|e| e == "part")).collect();
    assert_eq!(parts, [other]);
}

fn a_reference_is_pulled_for_each_pod_when_asked_for() {
    let (url, _) = serve(sif().to_owned());
    let cache = TestDir::new();
    let pod = fetching(&url, PullPolicy::Always, &cache);
    assert_eq!(pod.run(), 0, "{}", pod.ended(0).message);
    assert!(pod.dir().join("run-a.sif").exists() && !cache.join("images").exists());
}

fn an_image_that_may_not_be_pulled_is_not() {
    let (url, count) = serve(sif().to_owned());
    let cache = TestDir::new();
    let pod = fetching(&url, PullPolicy::Never, &cache);
    assert_eq!(pod.run(), 125);
    assert_eq!(pod.ended(0).reason, "ErrImageNeverPull");
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

fn a_failed_pull_quotes_the_tool() {
    let cache = TestDir::new();
    // nobody listens on port 1
    let pod = fetching("docker://127.0.0.1:1/none", PullPolicy::IfNotPresent, &cache);
    assert_eq!(pod.run(), 125);
    let end = pod.ended(0);
    assert_eq!(end.reason, "ErrImagePull");
    assert!(end.message.contains("docker://127.0.0.1:1/none") && end.message.contains("refused"), "{}", end.message);
    assert!(!pod.dir().join("run-a.out").exists());
}

fn a_delete_gives_up_a_pull() {
    // takes the connection and never answers
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/image.sif", listener.local_addr().unwrap());
    let cache = TestDir::new();
    let pod = fetching(&url, PullPolicy::IfNotPresent, &cache);
    let supervisor = pod.start("7");
    let _connection = listener.accept().unwrap();
    let report = until("the pull to be shown", || {
        Some(pod.report()).filter(|r| format!("{:?}", r.containers).contains("pulling"))
    });
    assert!(!report.finished);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.end(), 143);
    assert!(pod.ended(0).message.contains("it was not started"), "{}", pod.ended(0).message);
}

fn an_archive_becomes_an_image() {
    let cache = TestDir::new();
    let make = "tar --numeric-owner --owner=0 --group=0 -C \"$1\" -cf layer.tar . && sum=$(sha256sum layer.tar | cut -d' ' -f1) && \
                printf '{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\"]}}' $sum > config.json && \
                printf '[{\"Config\":\"config.json\",\"RepoTags\":[\"busybox:latest\"],\"Layers\":[\"layer.tar\"]}]' > manifest.json && \
                tar -cf image.tar manifest.json config.json layer.tar";
    let made = Command::new("sh").args(["-c", make, "sh"]).arg(sandbox()).current_dir(cache.path()).status().unwrap();
    assert!(made.success());
    let pod =
        fetching(&format!("docker-archive:{}", cache.join("image.tar").display()), PullPolicy::IfNotPresent, &cache);
    assert_eq!(pod.run(), 0, "{}", pod.ended(0).message);
    assert_eq!(pod.output("run-a.out"), "ran\n");
}

fn a_delete_reaches_the_program_in_the_container() {
    let pod = Pod::of(contained("trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.05; done"));
    let supervisor = pod.start("7");
    until("its first words", || fs::read(pod.dir().join("run-a.out")).is_ok_and(|t| !t.is_empty()).then_some(()));
    supervisor.signal(Signal::SIGUSR1);
    assert_eq!(supervisor.end(), 9);
    assert_eq!(pod.output("run-a.out").lines().last(), Some("told"));
}

fn an_unprivileged_account_runs_containers_too() {
    let mut pod = pod_with(|pod| {
        pod.write("volume/key", "value");
        ContainerLaunch {
            mounts: vec![mount(pod.home.join("volume"), "/etc/config", true)],
            env: vec![("A".into(), "it's".into())],
            ..contained("id -u; cat /etc/config/key; echo \"$A\"")
        }
    });
    let user = if users::is_root() { users::hpcuser().uid } else { users::User::current().uid };
    pod.account = users::is_root().then_some(user);
    assert_eq!(pod.run(), 0, "{} {}", pod.ended(0).message, pod.output("run-a.out"));
    assert_eq!(pod.output("run-a.out"), format!("{user}\nvalueit's\n"));
}
