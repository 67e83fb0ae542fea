//! Volumes in the host runtime: a mount namespace of the container's own.

use std::fs;
use std::path::Path;

use interlink_supervisor::launch::{ContainerLaunch, Launch, Mount};
use interlink_testkit::users;

use crate::pod::{Pod, mount, script};

crate::tests![
    a_volume_is_seen_at_a_path_that_the_node_does_not_have,
    nothing_of_it_is_left_on_the_node,
    a_read_only_volume_cannot_be_written_and_a_writable_one_can,
    a_file_can_be_mounted_over_a_file_and_beside_others,
    the_rest_of_the_node_stays_visible,
    volumes_nest,
    symbolic_links_on_the_way_are_followed_in_the_view,
    a_mount_over_its_own_source_works,
    a_mount_that_cannot_be_made_is_refused_in_a_sentence,
    a_missing_volume_is_named,
    an_unprivileged_account_has_volumes_too,
    a_kernel_that_forbids_namespaces_is_named,
    the_working_directory_can_be_in_a_volume,
    files_beside_an_added_directory_keep_their_content,
];

/// A pod whose container has the mounts that `mounts` makes of the pod's home.
fn pod(text: &str, mounts: impl Fn(&Path) -> Vec<Mount>) -> Pod {
    let pod = Pod::new(vec![], vec![]);
    pod.write("volume/key", "value");
    pod.write("volume/other", "more");
    let container = ContainerLaunch { mounts: mounts(pod.home.path()), ..script("a", text) };
    Pod { launch: Launch { containers: vec![container], ..pod.launch.clone() }, ..pod }
}

fn runs(pod: &Pod) -> String {
    let code = pod.run();
    let end = pod.ended(0);
    assert_eq!(code, 0, "{} {}: {}", end.reason, end.message, pod.output("run-a.out"));
    pod.output("run-a.out")
}

fn refused(pod: &Pod) -> String {
    assert_eq!(pod.run(), 128);
    let end = pod.ended(0);
    assert_eq!(end.reason, "StartError");
    end.message
}

fn a_volume_is_seen_at_a_path_that_the_node_does_not_have() {
    for target in
        ["/etc/interlink-test/config", "/interlink-test/a/b/c", "/usr/share/interlink-test", "/interlink-test"]
    {
        let pod = pod(&format!("ls {target}; cat {target}/key"), |home| vec![mount(home.join("volume"), target, true)]);
        assert_eq!(runs(&pod), "key\nother\nvalue", "{target}");
        assert!(!Path::new(target).exists(), "{target}");
    }
}

fn nothing_of_it_is_left_on_the_node() {
    let pod = pod("echo x > /etc/interlink-new; ls /etc/interlink-new", |home| {
        vec![
            mount(home.join("volume"), "/etc/interlink-test", true),
            mount(home.join("volume/key"), "/interlink-file", true),
        ]
    });
    assert_eq!(runs(&pod), "/etc/interlink-new\n");
    for path in ["/etc/interlink-new", "/etc/interlink-test", "/interlink-file"] {
        assert!(!Path::new(path).exists(), "{path}");
    }
    assert_eq!(fs::read_dir(pod.dir().join(".stage")).unwrap().count(), 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&pod.home.path().display().to_string()), "{mounts}");
}

fn a_read_only_volume_cannot_be_written_and_a_writable_one_can() {
    let text = "echo x 2>/dev/null > /interlink-test/ro/key && echo written; echo new > /interlink-test/rw/key; \
                touch /interlink-test/ro/new 2>/dev/null && echo made; cat /interlink-test/*/key";
    let pod = pod(text, |home| {
        fs::create_dir(home.join("scratch")).unwrap();
        vec![
            mount(home.join("volume"), "/interlink-test/ro", true),
            mount(home.join("scratch"), "/interlink-test/rw", false),
        ]
    });
    assert_eq!(runs(&pod), "valuenew\n");
    assert_eq!(fs::read_to_string(pod.home.join("scratch/key")).unwrap(), "new\n");
}

fn a_file_can_be_mounted_over_a_file_and_beside_others() {
    let hosts = fs::read_to_string("/etc/hosts").unwrap();
    let pod =
        pod("cat /etc/hosts; cat /etc/interlink-key; test -s /etc/passwd && echo; cat /etc/interlink-test", |home| {
            vec![
                mount(home.join("volume/key"), "/etc/hosts", true),
                mount(home.join("volume/other"), "/etc/interlink-key", true),
                mount(home.join("volume/key"), "/etc/interlink-test", true),
            ]
        });
    assert_eq!(runs(&pod), "valuemore\nvalue");
    assert_eq!(fs::read_to_string("/etc/hosts").unwrap(), hosts);
}

fn the_rest_of_the_node_stays_visible() {
    let text = "ls / | grep -v interlink-test; test -c /dev/null -a -r /proc/self/stat -a -d /sys/kernel && echo all; \
                readlink /bin || true";
    let pod = pod(text, |home| vec![mount(home.join("volume"), "/interlink-test/x", true)]);
    let mut expected: Vec<String> =
        fs::read_dir("/").unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    expected.retain(|name| !name.contains("interlink-test") && !name.starts_with('.'));
    expected.sort();
    let output = runs(&pod);
    let mut lines: Vec<&str> = output.lines().collect();
    if let Ok(link) = fs::read_link("/bin") {
        assert_eq!(lines.pop(), link.to_str());
    }
    assert_eq!(lines.pop(), Some("all"));
    lines.sort_unstable();
    assert_eq!(lines, expected);
}

fn volumes_nest() {
    // given in the wrong order, into a read-only volume and into a writable one
    let text = "cat /interlink-test/ro/sub/key /interlink-test/ro/key /interlink-test/rw/sub/key; \
                touch /interlink-test/ro/x /interlink-test/ro/sub/x 2>/dev/null && echo written; ls /interlink-test/ro";
    let pod = pod(text, |home| {
        fs::create_dir(home.join("scratch")).unwrap();
        vec![
            mount(home.join("volume"), "/interlink-test/ro/sub", true),
            mount(home.join("volume"), "/interlink-test/rw/sub", true),
            mount(home.join("volume"), "/interlink-test/ro", true),
            mount(home.join("scratch"), "/interlink-test/rw", false),
        ]
    });
    assert_eq!(runs(&pod), "valuevaluevaluekey\nother\nsub\n");
    assert!(!pod.home.join("volume/sub").exists());
}

fn symbolic_links_on_the_way_are_followed_in_the_view() {
    let pod = pod("", |_| vec![]);
    let home = pod.home.path();
    pod.home.folder("real");
    std::os::unix::fs::symlink(home.join("real"), home.join("absolute")).unwrap();
    std::os::unix::fs::symlink("../../real/deeper", pod.home.folder("links/here").join("up")).unwrap();
    let targets = [home.join("absolute/new"), home.join("links/here/up/new")].map(|t| t.display().to_string());
    let text = format!("cat {0}/real/new/key {0}/real/deeper/new/key", home.display());
    let mounts = targets.iter().map(|t| mount(home.join("volume"), t, true)).collect();
    let container = ContainerLaunch { mounts, ..script("a", &text) };
    let pod = Pod { launch: Launch { containers: vec![container], ..pod.launch.clone() }, ..pod };
    assert_eq!(runs(&pod), "valuevalue");
    assert_eq!(fs::read_dir(pod.home.join("real")).unwrap().count(), 0);
}

fn a_mount_over_its_own_source_works() {
    let pod = pod("ls /tmp; ls /interlink-test", |home| {
        vec![mount(home.join("volume"), "/tmp", false), mount(home.join("volume"), "/interlink-test", true)]
    });
    assert_eq!(runs(&pod), "key\nother\nkey\nother\n");
}

fn a_mount_that_cannot_be_made_is_refused_in_a_sentence() {
    let cases = [
        ("/", "volume", "must not be /"),
        ("relative", "volume", "must be absolute"),
        ("/usr/../etc", "volume", "'..'"),
        ("/etc/passwd", "volume", "there is a file and the volume is a directory"),
        ("/etc", "volume/key", "there is a directory and the volume is a file"),
        ("/etc/passwd/x", "volume", "/etc/passwd is a file"),
    ];
    for (target, source, expected) in cases {
        let message = refused(&pod("true", |home| vec![mount(home.join(source), target, true)]));
        assert!(message.contains(expected), "{target}: {message}");
    }
}

fn a_missing_volume_is_named() {
    let message = refused(&pod("true", |home| vec![mount(home.join("gone"), "/interlink-test", true)]));
    assert!(message.contains("/gone cannot be used on the node"), "{message}");
}

fn an_unprivileged_account_has_volumes_too() {
    let text = "id -u; cat /etc/interlink-test/deep/key; touch /etc/interlink-test/deep/new 2>/dev/null && echo written; \
                cat /interlink-test/key; grep CapEff /proc/self/status; ls /etc/shadow; head -c 1 /etc/shadow 2>/dev/null; \
                cat /proc/self/uid_map | tr -s ' '";
    let mut pod = pod(text, |home| {
        vec![
            mount(home.join("volume"), "/etc/interlink-test/deep", true),
            mount(home.join("volume"), "/interlink-test", true),
        ]
    });
    // root's own account is already unprivileged where the tests don't run as root
    let user = if users::is_root() { users::hpcuser().uid } else { users::User::current().uid };
    pod.account = users::is_root().then_some(user);
    let expected = format!("{user}\nvaluevalueCapEff:\t0000000000000000\n/etc/shadow\n {user} {user} 1\n");
    assert_eq!(runs(&pod), expected);
}

fn a_kernel_that_forbids_namespaces_is_named() {
    let mut pod = pod("true", |home| vec![mount(home.join("volume"), "/interlink-test", true)]);
    // a namespace in which no further one may be made
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-sys_admin --inh-caps=-all -- \"$0\" \"$@\"";
    pod.wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid].map(str::to_owned).into();
    let message = refused(&pod);
    assert!(message.contains("user.max_user_namespaces"), "{message}");
}

fn the_working_directory_can_be_in_a_volume() {
    let mut pod = pod("pwd; cat key", |home| vec![mount(home.join("volume"), "/interlink-test/here", true)]);
    pod.launch.containers[0].working_dir = Some("/interlink-test/here".into());
    assert_eq!(runs(&pod), "/interlink-test/here\nvalue");
}

fn files_beside_an_added_directory_keep_their_content() {
    let pod = pod("", |_| vec![]);
    let home = pod.home.path().to_owned();
    pod.write("full/file", "content");
    pod.write("full/dir/file", "below");
    std::os::unix::fs::symlink("file", home.join("full/link")).unwrap();
    let target = home.join("full/new").display().to_string();
    let text = format!("cd {}/full; ls; cat link dir/file new/key; echo changed > file", home.display());
    let container = ContainerLaunch { mounts: vec![mount(home.join("volume"), &target, true)], ..script("a", &text) };
    let pod = Pod { launch: Launch { containers: vec![container], ..pod.launch.clone() }, ..pod };
    assert_eq!(runs(&pod), "dir\nfile\nlink\nnew\ncontentbelowvalue");
    // existing files are the node's own
    assert_eq!(fs::read_to_string(home.join("full/file")).unwrap(), "changed\n");
    assert!(!home.join("full/new").exists());
}
