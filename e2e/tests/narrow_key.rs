//! A key that is good for the plugin and nothing else, at a site that forbids forwarding.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::Launch;
use interlink_testkit::sshd::{self, KeyType, Sshd};
use interlink_testkit::users::User;
use interlink_testkit::{binaries, wait};
use tokio::process::Command;
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(30);

async fn ping(socket: &Path) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-m", "20", "-w", " %{http_code}", "--unix-socket"]).arg(socket).arg("http://plugin/status");
    let answer = tokio::time::timeout(SOON, curl.kill_on_drop(true).output()).await.expect("in time").unwrap();
    String::from_utf8_lossy(&answer.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn dial_stdio_reaches_the_plugin_where_forwarding_is_forbidden_and_nothing_else() {
    let dir = TestDir::new();
    let (user, program) = (User::current(), binaries::path("interlink-plugin"));
    let far = dir.join("far.sock");
    let text = format!(
        "DataRootFolder: {}/\nScheduler: local\nContainerRuntime: host\nSocket: unix://{}\n",
        dir.folder("jobs").display(),
        far.display()
    );
    let config = dir.write("plugin.yaml", text);
    let _plugin = Launch::new(&program, dir.join("plugin.log"))
        .arg(format!("-SlurmConfigpath={}", config.display()))
        .env("RUNTIME_DIRECTORY", dir.path())
        .env("STATE_DIRECTORY", dir.path())
        .start();

    let lines = vec!["AllowTcpForwarding no".to_owned(), "DisableForwarding yes".to_owned()];
    let sshd = Sshd::start(sshd::Options { lines, ..sshd::Options::default() }).await;
    let key = sshd.key_pair("narrow", KeyType::Ed25519);
    let command = format!("{} -SlurmConfigpath={} dial-stdio", program.display(), config.display());
    sshd.authorize(&user.name, &format!("restrict,command=\"{command}\""), &key);

    let near = dir.join("near.sock");
    let tunnel = Launch::new(binaries::path("ssh-tunnel"), dir.join("tunnel.log"))
        .args(["-addr", &format!("127.0.0.1:{}", sshd.port()), "-user", &user.name, "-keyfile"])
        .arg(key.private())
        .arg("-hostkeyfile")
        .arg(dir.write("hosts", sshd.known_hosts()))
        .arg("-lsock")
        .arg(&near)
        .args(["-rexec", "interlink-plugin dial-stdio"])
        .env("RUNTIME_DIRECTORY", dir.path())
        .start();
    wait::until("the plugin's answer", SOON, async || match ping(&near).await {
        said if said.ends_with(" 200") => Ok(()),
        said => Err(format!("{said}; {}", tunnel.log_tail(3))),
    })
    .await;

    let mut asked = JoinSet::new();
    for _ in 0..200 {
        let near = near.clone();
        asked.spawn(async move { ping(&near).await });
    }
    while let Some(said) = asked.join_next().await {
        let said = said.unwrap();
        assert!(said.ends_with(" 200"), "{said}");
    }

    // The key opens no shell, no other port or socket, and has the server listen nowhere.
    let shell = sshd.ssh(&user.name, &key).args(["id"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&shell.stdout).into_owned();
    assert!(said.starts_with("interlink-mux/1\n") && !said.contains("uid="), "{said}");
    let port = sshd.port().to_string();
    for more in [["-W", &format!("127.0.0.1:{port}")], ["-W", "127.0.0.1:1"]] {
        let out = sshd.ssh(&user.name, &key).args(more).output().await.unwrap();
        assert!(!out.status.success() && out.stdout.is_empty(), "{out:?}");
    }
    for more in ["-R0:127.0.0.1:1".to_owned(), format!("-R{}:127.0.0.1:1", dir.join("r.sock").display())] {
        let mut ssh = sshd.ssh(&user.name, &key);
        let out = ssh.args(["-oExitOnForwardFailure=yes", "-N", &more]).output();
        let out = tokio::time::timeout(SOON, out).await.expect("it ends").unwrap();
        assert!(!out.status.success(), "{out:?}");
    }
    assert!(!dir.join("r.sock").exists());
    assert_eq!(tunnel.terminate(SOON).await.code(), Some(0));
}
