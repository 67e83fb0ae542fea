//! `interlinkctl status` on the real chain: once, as JSON, and live on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use interlink_testkit::process::Signal;
use interlink_testkit::wait;
use serde_json::Value;

use crate::chain::Chain;

const SOON: Duration = Duration::from_secs(60);

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: sleeper, namespace: lab}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: busybox, command: [sleep, '600']}]
";

fn status(chain: &Chain, more: &[&str]) -> Command {
    let mut status = Command::new(env!("CARGO_BIN_EXE_interlinkctl"));
    status.args(["status", "--timeout", "2s", "--runtime-dir"]).arg(chain.dir.join("run")).args(more);
    status.stdin(Stdio::null());
    status
}

fn json(chain: &Chain) -> (Option<i32>, Value) {
    let output = status(chain, &["--json"]).output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

fn states(status: &Value) -> Vec<String> {
    let hops = status["hops"].as_array().unwrap().iter();
    hops.map(|hop| format!("{} {}", hop["hop"].as_str().unwrap(), hop["state"].as_str().unwrap())).collect()
}

/// The status until it is as wanted: programs notice a change after a while.
async fn until(chain: &Chain, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, SOON, async || {
        let (_, status) = tokio::task::block_in_place(|| json(chain));
        if wanted(&status) { Ok(status) } else { Err(status.to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hop_has_its_own_word_and_every_pod_its_state() {
    let chain = Chain::healthy().await;
    let output = status(&chain, &[]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.ends_with("no pods\n") && !text.contains('\x1b'), "{text}");
    let (code, seen) = json(&chain);
    assert_eq!(code, Some(0), "{seen}");
    assert_eq!(states(&seen), ["virtual-kubelet up", "api up", "tunnel up", "plugin up", "local up"]);
    for hop in seen["hops"].as_array().unwrap() {
        assert!(hop["latency_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{hop}");
    }
    assert!(seen["hops"][2]["word"].as_str().unwrap().starts_with("127.0.0.1:"), "{seen}");
    assert!(seen["hops"][2]["since"].as_str().is_some(), "{seen}");

    let mut run = Command::new(env!("CARGO_BIN_EXE_interlinkctl"));
    run.args(["run", "-f", "-", "--api", &format!("unix://{}", chain.dir.join("run/api.sock").display())]);
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    run.stdin.take().unwrap().write_all(POD.as_bytes()).unwrap();
    let seen = until(&chain, "the pod to run", |status| status["pods"][0]["phase"] == "Running").await;
    let pod = &seen["pods"][0];
    assert_eq!([&pod["namespace"], &pod["name"]], ["lab", "sleeper"]);
    assert!(pod["job"].as_str().unwrap().starts_with("local-") && !pod["node"].as_str().unwrap().is_empty(), "{pod}");
    assert!(pod["since"].as_str().is_some() && pod["lastEvent"] == "Running", "{pod}");
    let text = String::from_utf8_lossy(&status(&chain, &["--once"]).output().unwrap().stdout).into_owned();
    assert!(text.contains("\nlab/sleeper  Running  local-"), "{text}");
    Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    until(&chain, "the pod to be gone", |status| status["pods"].as_array().is_some_and(Vec::is_empty)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_is_silent_or_stopped_holds_up_nobody() {
    let chain = Chain::healthy().await;
    chain.tunnel.signal(Signal::SIGSTOP);
    let (code, seen) = json(&chain);
    assert_eq!((code, states(&seen)[2].as_str()), (Some(1), "tunnel silent"), "{seen}");
    assert_eq!(states(&seen)[..2], ["virtual-kubelet up", "api up"], "the others say theirs");
    chain.tunnel.signal(Signal::SIGCONT);
    until(&chain, "the tunnel to go on", |status| states(status)[2] == "tunnel up").await;

    chain.api.signal(Signal::SIGSTOP);
    let (_, seen) = json(&chain);
    assert_eq!(states(&seen)[1], "api silent", "{seen}");
    assert!(seen["podsUnknown"].as_str().is_some(), "{seen}");
    chain.api.signal(Signal::SIGCONT);

    chain.tunnel.terminate(SOON).await;
    let seen = until(&chain, "the API server to notice", |status| states(status)[3] != "plugin up").await;
    assert_eq!(states(&seen)[2], "tunnel stopped", "{seen}");
    assert!(seen["hops"][2]["word"].as_str().unwrap().contains("is not "), "{seen}");
}

/// Reads from a terminal until `wanted` is in what came.
fn read_until(terminal: &mut File, seen: &mut String, wanted: impl Fn(&str) -> bool) {
    let mut buffer = [0; 4096];
    while !wanted(seen) {
        let count = terminal.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "it ended: {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_refreshes_in_place_until_ctrl_c_and_gives_the_screen_back() {
    let chain = Chain::healthy().await;
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut terminal = File::from(pty.master);
    let mut live = status(&chain, &["--interval", "1s"]);
    let mut live = live.stdout(pty.slave).stderr(Stdio::null()).spawn().unwrap();
    let (mut seen, frames) = (String::new(), |seen: &str| seen.matches("\x1b[H").count());
    read_until(&mut terminal, &mut seen, |seen| frames(seen) >= 2 && seen.contains("no pods"));
    assert!(seen.starts_with("\x1b[?1049h"), "{seen:?}");
    chain.tunnel.signal(Signal::SIGSTOP);
    let before = frames(&seen);
    read_until(&mut terminal, &mut seen, |seen| frames(seen) >= before + 2 && seen.contains("silent"));
    chain.tunnel.signal(Signal::SIGCONT);
    Command::new("kill").args(["-INT", &live.id().to_string()]).status().unwrap();
    read_until(&mut terminal, &mut seen, |seen| seen.contains("\x1b[?1049l"));
    assert_eq!(live.wait().unwrap().code(), Some(0));
}
