//! `interlinkctl install` and `uninstall` as commands: what is wrong about a command line, and what is refused before
//! anything is changed. (On machines of their own: `install` of the end-to-end tests.)
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::{Command, Stdio};

fn run(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interlinkctl"));
    command.args(args).env_remove("KUBECONFIG").stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn options_of_the_other_end_are_a_mistake() {
    for (args, said) in [
        (&["install"][..], "--role"),
        (&["install", "--role", "remote", "--addr", "hpc"], "--addr goes with --role local"),
        (&["install", "--role", "local", "--jobs", "/shared"], "--jobs goes with --role remote"),
        (&["install", "--role", "local", "--remote", "hpc"], "is not USER@HOST"),
        (&["install", "--role", "local", "--remote-unprivileged"], "--remote"),
        (&["uninstall", "--role", "local", "--drain", "--abandon"], "--abandon"),
    ] {
        let (code, text) = run(args);
        assert!(
            code == Some(2) && text.contains(said) && text.trim().lines().count() == 1,
            "{args:?}: {code:?} {text}"
        );
    }
}

#[test]
fn everything_that_is_missing_is_said_at_once_and_nothing_is_changed() {
    let empty = tempfile::tempdir().unwrap();
    let dir = empty.path().display().to_string();
    let (code, text) = run(&["install", "--role", "local", "--bin-dir", &dir, "--nodename", "My Node"]);
    assert_eq!(code, Some(78), "{text}");
    for said in
        ["/ssh-tunnel is missing: name the folder", "with --addr HOST[:PORT]", "\"My Node\" is no name for a node"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(text.trim().ends_with("nothing was changed"), "{text}");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn the_help_teaches_both_ends() {
    for command in ["install", "uninstall"] {
        let (code, text) = run(&[command, "--help"]);
        assert!(code == Some(0) && text.contains("--role remote") && text.contains("Exit codes:"), "{text}");
    }
}
