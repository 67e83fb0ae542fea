//! What a killed test process leaves behind is ended all the same.
//!
//! Without the usual harness, for this program is also the process that gets killed: called with the variable [`NOTE`].

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::Launch;
use libtest_mimic::{Arguments, Failed, Trial};

/// Names the file in which the process to be killed writes down what it has started.
const NOTE: &str = "NOTE";

fn main() -> ExitCode {
    if let Some(note) = std::env::var_os(NOTE) {
        wait_to_be_killed(&PathBuf::from(note));
        return ExitCode::FAILURE;
    }
    let test = Trial::test(
        "the_warden_ends_what_a_killed_test_process_leaves",
        the_warden_ends_what_a_killed_test_process_leaves,
    );
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code()
}

fn the_warden_ends_what_a_killed_test_process_leaves() -> Result<(), Failed> {
    let dir = TestDir::new();
    let note = dir.join("pid");
    let mut run = Command::new(std::env::current_exe()?).env(NOTE, &note).env_remove("KEEP").spawn()?;
    let begun =
        until(Duration::from_secs(10), || std::fs::read_to_string(&note).ok().filter(|text| text.ends_with('\n')));
    run.kill()?;
    run.wait()?;
    let text = begun.ok_or("the other process has started nothing")?;
    let (pid, root) = text.trim().split_once(' ').ok_or("the note has two words")?;
    let root = Path::new(root);
    until(Duration::from_secs(5), || (!runs(pid) && !root.exists()).then_some(()))
        .ok_or_else(|| Failed::from(format!("process {pid} or {} is still there", root.display())))
}

/// The part of the other process: it starts a daemon, says so, and waits for its end.
fn wait_to_be_killed(note: &Path) {
    let dir = TestDir::new();
    let daemon = Launch::new("sleep", dir.join("log")).arg("1000").start();
    assert!(runs(&daemon.pid().to_string()) && dir.path().is_dir());
    std::fs::write(note, format!("{} {}\n", daemon.pid(), dir.path().display())).expect("the other test's directory");
    std::thread::sleep(Duration::from_secs(60));
}

fn until<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let found = probe();
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether it runs: an orphan that nobody reaps stays as a zombie where PID 1 is not an init.
fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}
