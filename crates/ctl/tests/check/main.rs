//! `interlinkctl check` on the real chain: a healthy one has no fault, and of each planted fault it names hop, cause and
//! remedy, once. `interlinkctl status` shows the same chain.

#![allow(clippy::unwrap_used, clippy::panic)] // the helpers below are test code as well

mod chain;
mod cluster;
mod deep;
mod remote;
mod status;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use chain::{Chain, Plan};
use interlink_testkit::process::Signal;
use interlink_testkit::slurm::{self, Cluster};
use interlink_testkit::sshd::{KeyPair, KeyType};
use interlink_testkit::users::{self, User};

const GRACE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_chain_has_no_fault_and_one_after_the_other_is_named_when_it_is_stopped() {
    let chain = Chain::healthy().await;
    let output = chain.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.ends_with("every hop works\n"), "{text}");
    for part in [
        "✓ api             configuration",
        "✓ chain           agreement       virtual-kubelet, interlink and ssh-tunnel fit together",
        "✓ virtual-kubelet process",
        "✓ api             socket",
        "✓ tunnel          process",
        "✓ tunnel          ssh connection  connected to 127.0.0.1:",
        "✓ plugin          plugin ping",
        "✓ local           scheduler",
        "✓ api             chain ping",
        "✓ virtual-kubelet own word        every hop to the batch machine answers",
        "- kubernetes      api server      no --kubeconfig given",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(!text.contains('✗') && !text.contains('\x1b'), "{text}");
    let report = chain.check();
    assert!(report.steps.iter().all(|step| step["ok"] == true), "{}", report.text);
    assert!(report.steps.iter().any(|step| step["latency_ms"].as_f64().is_some_and(|ms| ms > 0.0)), "{}", report.text);

    chain.plugin.terminate(GRACE).await;
    let socket = chain.dir.join("far/plugin.sock").display().to_string();
    chain
        .names("far end", "plugin", &format!("{socket} on 127.0.0.1 can't be connected to"), "start the service there")
        .await;
    chain.plugin.start_again();
    chain.until("the plugin is back", |report| report.code == Some(0)).await;

    chain.sshd.daemon().kill9();
    chain.sshd.kill_sessions();
    chain
        .names("ssh connection", "tunnel", "can't be connected to (Connection refused", "sshd is not running there")
        .await;
    chain.sshd.restart().await;
    chain.until("sshd is back", |report| report.code == Some(0)).await;

    chain.tunnel.terminate(GRACE).await;
    let report = chain.names("process", "tunnel", "ssh-tunnel is not running", "start it").await;
    let consequences = report.steps.iter().filter(|step| step["follows_from"] == "process").count();
    assert!(consequences >= 3, "socket, pings and the kubelet's view: {}", report.text);
    chain.tunnel.start_again();
    chain.until("the tunnel is back", |report| report.code == Some(0)).await;

    chain.tunnel.kill9();
    chain.names("process", "tunnel", "it has left its state socket", "systemctl start interlink-tunnel").await;
    chain.tunnel.start_again();

    chain.api.terminate(GRACE).await;
    chain.names("process", "api", "interlink is not running", "systemctl start interlink-api").await;
    chain.api.start_again();
    chain.until("the API server is back", |report| report.code == Some(0)).await;

    chain.kubelet.kill9();
    chain.names("process", "virtual-kubelet", "virtual-kubelet is not running", "interlink-virtual-kubelet").await;
    let text = String::from_utf8_lossy(&chain.command().output().unwrap().stdout).into_owned();
    assert!(text.starts_with("✗ virtual-kubelet: virtual-kubelet is not running"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_is_named() {
    let dir = interlink_testkit::dirs::TestDir::new();
    let other = KeyPair::generate(dir.join("other"), KeyType::Ed25519);
    // For whatever port the server gets.
    let known_hosts = Some(format!("{}\n", other.public()));
    let chain = Chain::start(Plan { known_hosts, ..Plan::default() }).await;
    let cause = "is not the one on record: the server has ssh-ed25519";
    chain.names("ssh connection", "tunnel", cause, "ask the site whether it has a new key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_let_in_is_named() {
    let chain = Chain::start(Plan { locked_out: true, ..Plan::default() }).await;
    chain.names("ssh connection", "tunnel", "key", "authorized_keys").await;
    chain.sshd.authorize(&User::current().name, "restrict,port-forwarding", &chain.key);
    chain.tunnel.restart().await;
    chain.until("the key is let in", |report| report.code == Some(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_forwarding_is_named_with_the_options_of_sshd() {
    let sshd = vec!["AllowTcpForwarding no".to_owned()];
    let chain = Chain::start(Plan { sshd: sshd.clone(), ..Plan::default() }).await;
    chain
        .names("far end", "plugin", "or the server forbids it", "AllowStreamLocalForwarding must be yes or local")
        .await;
    drop(chain);
    let far_end = Some(["-rport".to_owned(), "4000".to_owned()]);
    let chain = Chain::start(Plan { sshd, far_end, ..Plan::default() }).await;
    chain
        .names(
            "ssh connection",
            "tunnel",
            "forbids forwarding to localhost:4000",
            "AllowTcpForwarding must be yes or local",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_in_place_of_dial_stdio_is_named() {
    let rexec = || Some(["-rexec".to_owned(), "interlink-plugin dial-stdio".to_owned()]);
    let chain = Chain::start(Plan { far_end: rexec(), ..Plan::default() }).await;
    let ended = "`interlink-plugin dial-stdio` on 127.0.0.1";
    let report = chain.names("ssh connection", "tunnel", ended, "the command= of the key in authorized_keys").await;
    assert!(report.text.contains("without carrying anything"), "{}", report.text);
    // The right program with a file that does not say where the plugin listens.
    let other = chain.dir.write("silent.yaml", "Scheduler: local\n");
    let plugin = interlink_testkit::binaries::path("interlink-plugin");
    let command = format!("{} -SlurmConfigpath={} dial-stdio", plugin.display(), other.display());
    let line = format!("restrict,command=\"{command}\" {}\n", chain.key.public());
    chain.sshd.set_authorized_keys(&User::current().name, &line);
    chain.tunnel.restart().await;
    chain
        .names("far end", "plugin", "can't reach the service's socket", "correct the socket that the command dials")
        .await;
    drop(chain);

    let sshd = vec!["ForceCommand /bin/false".to_owned()];
    let chain = Chain::start(Plan { far_end: rexec(), sshd, ..Plan::default() }).await;
    chain.names("ssh connection", "tunnel", ended, "a ForceCommand in the server's sshd_config").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_the_tunnel_from_starting_is_named_in_its_own_words() {
    let chain = Chain::healthy().await;
    let key = chain.key.private().display().to_string();
    let env = |more: &str| {
        let addr = format!("127.0.0.1:{}", chain.sshd.port());
        chain.dir.write("config/tunnel.env", format!("TUNNEL_ADDR={addr}\nTUNNEL_USER=root\nTUNNEL_KEY={key}\n{more}"));
    };
    let host_key = |text: &str| chain.dir.write(".ssh/host_key", text);
    host_key(&chain.sshd.known_hosts());
    env("TUNNEL_TO=-rexec \"interlink-plugin dial-stdio\"\n");
    let report = chain.check();
    assert_eq!(report.code, Some(0), "{}", report.text);
    assert!(report.step("configuration", "tunnel")["seen"].as_str().unwrap().contains("as root"), "{}", report.text);

    // The seed's second command, where known_hosts has only keys of another type.
    chain.tunnel.terminate(GRACE).await;
    let empty = host_key("");
    let cause = format!("the host key file {} holds no key", empty.display());
    let report = chain.names("configuration", "tunnel", &cause, "ssh-keyscan").await;
    assert_eq!(report.step("process", "tunnel")["follows_from"], "configuration");
    host_key(&chain.sshd.known_hosts());
    env("");
    chain.names("configuration", "tunnel", "tunnel.env does not set TUNNEL_TO", "add the line TUNNEL_TO=").await;
    env("TUNNEL_TO=-rport 4000 -rsock /x\n");
    chain.names("configuration", "tunnel", "tunnel.env: ", "").await;
    env("TUNNEL_TO=-rport 4000\nTUNNEL_KEY=/nowhere/key\n");
    chain.names("configuration", "tunnel", "/nowhere/key", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_others_can_change_or_read_are_warned_about() {
    let chain = Chain::healthy().await;
    let mode = |name: &str, mode| {
        let path = chain.dir.join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let warning = || {
        let report = chain.check();
        assert_eq!(report.code, Some(0), "{}", report.text);
        let step = report.steps.into_iter().find(|step| step["step"] == "file modes").unwrap();
        (step["hop"].as_str().unwrap().to_owned(), step["cause"].as_str().unwrap().to_owned())
    };
    assert_eq!(warning().1, "");
    mode("config/InterLinkConfig.yaml", 0o646);
    let (hop, cause) = warning();
    assert!(hop == "api" && cause.contains("every user of this machine can change"), "{hop}: {cause}");
    mode("config/InterLinkConfig.yaml", 0o644);
    // ssh-tunnel has read it already.
    std::fs::set_permissions(chain.key.private(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (hop, cause) = warning();
    assert!(hop == "tunnel" && cause.contains("is a secret, but other users may use it (mode 0644)"), "{hop}: {cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_nothing_listens_on_is_named() {
    let port = interlink_testkit::ports::free_port().to_string();
    let far_end = Some(["-rport".to_owned(), port.clone()]);
    let chain = Chain::start(Plan { far_end, ..Plan::default() }).await;
    chain.names("far end", "plugin", &format!("nothing listens at localhost:{port}"), "correct -rport").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_socket_for_api_and_tunnel_is_named_with_the_lines_to_change() {
    let chain = Chain::start(Plan::default()).await;
    chain.api.terminate(GRACE).await;
    let socket = chain.dir.join("run/plugin.sock").display().to_string();
    chain.dir.write(
        "config/InterLinkConfig.yaml",
        format!("InterlinkAddress: unix://{socket}\nSidecarURL: unix://{socket}\n"),
    );
    chain.api.start_again();
    assert_eq!(chain.api.exited(GRACE).await.code(), Some(78));
    let cause = format!("InterlinkAddress and SidecarURL are the same socket {socket}");
    chain.names("configuration", "api", &cause, "change two lines").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_url_that_bypasses_the_tunnel_is_named() {
    let api = "SidecarURL: http://remote-plugin.invalid\nSidecarPort: 4000\n".to_owned();
    let chain = Chain::start(Plan { api, ..Plan::default() }).await;
    let remedy = format!("SidecarURL: \"unix://{}\"", chain.dir.join("run/plugin.sock").display());
    chain.names("agreement", "api", "\"remote-plugin.invalid\" of SidecarURL does not resolve", &remedy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_do_not_meet_are_named() {
    let chain =
        Chain::start(Plan { kubelet: "InterlinkURL: unix:///nowhere/api.sock\n".into(), ..Plan::default() }).await;
    chain
        .names(
            "agreement",
            "virtual-kubelet",
            "virtual-kubelet dials unix:///nowhere/api.sock",
            "InterlinkURL: \"unix://",
        )
        .await;
    drop(chain);
    let chain = Chain::start(Plan { api: "SidecarURL: unix:///nowhere/plugin.sock\n".into(), ..Plan::default() }).await;
    chain
        .names(
            "agreement",
            "api",
            "interlink dials unix:///nowhere/plugin.sock (SidecarURL), but ssh-tunnel listens on",
            "SidecarURL: \"unix://",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_in_reverse_is_named_where_the_api_server_dials_it() {
    let port = interlink_testkit::ports::free_port();
    let far_end = Some([format!("-rport={port}"), "-reverse".to_owned()]);
    let chain = Chain::start(Plan { far_end, ..Plan::default() }).await;
    let cause = "ssh-tunnel runs with -reverse, so it listens at ";
    chain.names("socket", "tunnel", cause, "start ssh-tunnel without -reverse").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_one_path_for_two_owners_is_named_with_the_lines_to_change() {
    let chain = Chain::healthy().await;
    chain.api.terminate(GRACE).await;
    let socket = chain.dir.join("run/plugin.sock").display().to_string();
    let text =
        format!("InterlinkAddress: unix://{socket}\nSidecarURL: http://remote-plugin.invalid\nSidecarPort: 4000\n");
    chain.dir.write("config/InterLinkConfig.yaml", text);
    chain.api.start_again();
    assert_eq!(chain.api.exited(GRACE).await.code(), Some(78));
    let report = chain.check();
    let step = report.causes().into_iter().find(|step| step["hop"] == "tunnel").unwrap();
    let cause = format!("interlink (InterlinkAddress) and ssh-tunnel (-lsock) are both to listen on unix://{socket}");
    assert!(step["step"] == "agreement" && step["cause"].as_str().unwrap().contains(&cause), "{step}");
    for words in ["SidecarURL", "InterlinkAddress", "-reverse"] {
        assert!(step["remedy"].as_str().unwrap().contains(words), "{words}: {step}");
    }
    assert_eq!(report.code, Some(1), "{}", report.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_rotated_away_without_a_word_is_named() {
    let dir = interlink_testkit::dirs::TestDir::new();
    let log = dir.join("own.log");
    let tunnel = vec!["-logfile".to_owned(), log.display().to_string()];
    let chain = Chain::start(Plan { tunnel, ..Plan::default() }).await;
    let report = chain.until("a healthy chain", |report| report.code == Some(0)).await;
    assert_eq!(report.step("log files", "chain")["seen"], format!("written to {}", log.display()), "{}", report.text);
    std::fs::rename(&log, dir.join("own.log.1")).unwrap();
    let report = chain.check();
    let step = report.step("log files", "tunnel");
    let cause = format!("writes to {}.1: the file was rotated away and nobody said so", log.display());
    assert!(step["warning"] == true && step["cause"].as_str().unwrap().contains(&cause), "{step}");
    assert!(step["remedy"].as_str().unwrap().contains("kill -HUP"), "{step}");
    chain.tunnel.signal(Signal::SIGHUP);
    chain.until("the new file", |report| report.text.contains("\"written to ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_two_names_is_warned_about() {
    let chain = Chain::start(Plan { kubelet: "NodeName: my-interlink-node\n".into(), ..Plan::default() }).await;
    let warned = |report: &chain::Report| report.steps.iter().find(|step| step["warning"] == true).cloned();
    let works = |report: &chain::Report| report.code == Some(0) && warned(report).is_some();
    let report = chain.until("a chain that works, and a warning", works).await;
    let warned = warned(&report).unwrap();
    assert!(warned["cause"].as_str().unwrap().contains("NodeName says \"my-interlink-node\""), "{}", report.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_read_is_named_with_its_line() {
    let chain = Chain::start(Plan { kubelet: "InterlinkURL: localhost:3000\n".into(), ..Plan::default() }).await;
    chain.names("configuration", "virtual-kubelet", "InterlinkURL", "unix:///path").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_found_is_named() {
    let dir = interlink_testkit::dirs::TestDir::new();
    let key = KeyPair::generate(dir.join("key"), KeyType::Ed25519);
    let known_hosts = Some(format!("{}\n", key.public()));
    let chain = Chain::start(Plan { addr: Some("login.invalid:22".into()), known_hosts, ..Plan::default() }).await;
    chain.names("ssh connection", "tunnel", "login.invalid can't be resolved", "DNS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_hang_are_named_and_so_are_their_sockets() {
    let chain = Chain::healthy().await;
    for (daemon, hop) in [(&chain.tunnel, "tunnel"), (&chain.api, "api"), (&chain.kubelet, "virtual-kubelet")] {
        daemon.signal(Signal::SIGSTOP);
        chain.names("process", hop, "did not answer within 5 s", "restart it if it hangs").await;
        daemon.signal(Signal::SIGCONT);
        chain.until("it goes on", |report| report.code == Some(0)).await;
    }
    chain.plugin.signal(Signal::SIGSTOP);
    chain.names("plugin ping", "plugin", "did not answer within 5 s", "look at the plugin's log").await;
    chain.plugin.signal(Signal::SIGCONT);
    chain.until("it goes on", |report| report.code == Some(0)).await;

    let socket = chain.dir.join("run/api.sock");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let report = chain.check();
    assert_eq!(report.code, Some(0), "{}", report.text);
    let step = report.step("socket", "api");
    assert!(step["warning"] == true && step["cause"].as_str().unwrap().contains("open to other users"), "{step}");
    std::fs::remove_file(&socket).unwrap();
    chain.names("socket", "api", "api.sock (InterlinkAddress) is not there", "start (or restart) interlink").await;
    std::fs::write(&socket, "").unwrap();
    chain.names("socket", "api", "is there, but is not a socket", "move it away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_is_down_is_named_as_the_hop() {
    let slurm = Cluster::start(slurm::Options::default()).await;
    slurm.controller().terminate(GRACE).await;
    let plugin = "Scheduler: slurm\nSbatchPath: /usr/bin/sbatch\n".to_owned();
    let chain = Chain::start(Plan { plugin, slurm: Some(slurm.conf()), ..Plan::default() }).await;
    chain.names("scheduler", "slurm", "", "see whether slurm answers on this host").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_told_whose_the_programs_are() {
    assert!(users::is_root(), "only root can look at the chain as another user; run the tests as root");
    let chain = Chain::healthy().await;
    let program = chain.dir.join("interlinkctl");
    std::fs::copy(env!("CARGO_BIN_EXE_interlinkctl"), &program).unwrap();
    let user = users::hpcuser().name;
    let mut check = Command::new("setpriv");
    check.args(["--reuid", &user, "--regid", &user, "--init-groups", "--"]).arg(program).arg("check");
    check.args(["--json", "--runtime-dir"]).arg(chain.dir.join("run")).env_remove("KUBECONFIG");
    let output = check.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for program in ["ssh-tunnel", "interlink", "virtual-kubelet"] {
        assert!(text.contains(&format!("{program} runs, but its state socket")), "{text}");
    }
    assert!(text.contains("that of the user with the number 0") && text.contains("as that user or as root"), "{text}");
}

#[test]
fn a_wrong_flag_is_one_sentence() {
    let check = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_interlinkctl")).args(args).output().unwrap();
    let output = check(&["check", "--timeout", "soon"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]));
    let help = check(&["check", "--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("interlinkctl check --json"));
}
