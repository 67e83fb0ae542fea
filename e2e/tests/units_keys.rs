//! What each of the three keys of `deploy/` opens, with the real ssh against the real sshd: nothing but the plugin,
//! or, where a key can't be narrowed, what is said about it there.
#![allow(clippy::unwrap_used, clippy::panic)]

use interlink_e2e::book::Book;
use interlink_e2e::deployed::{Deployed, Form, Options, UNITS};

/// A service of the machine that is none of the tunnel's business: sshd itself, which speaks first.
const FOREIGN: &str = "127.0.0.1:$PORT";
/// What it says.
const BANNER: &str = "SSH-2.0";

/// `ssh` with the tunnel's key and the tunnel's account; `timeout`, because a session that holds on is no refusal.
fn ssh(options: &str) -> String {
    format!(
        "timeout 5 ssh -F /dev/null -n -i /opt/interlink/.ssh/id_ed25519 -o BatchMode=yes -o ExitOnForwardFailure=yes \
         -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -p $PORT {options}"
    )
}

async fn sh(deployed: &Deployed, script: &str) -> (Option<i32>, String) {
    let script = format!(
        "PORT=$(sed -n 's/^TUNNEL_ADDR=.*://p' /opt/interlink/config/tunnel.env); export PORT; cd /tmp; {script}"
    );
    let output = deployed.machine.output(["runuser", "-u", "interlink", "--", "sh", "-c", &script]).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

async fn prepared(form: Form) -> Deployed {
    let deployed = Deployed::new(Options::alone(form)).await;
    deployed.machine.systemctl(["start", UNITS[3]]).await;
    deployed
}

/// Neither a command, nor a shell, nor a terminal, nor a port to listen on at the other end.
async fn gives_no_foothold(deployed: &Deployed, form: Form) {
    for command in ["id", "", "-tt ''"] {
        let words = if command == "id" { "127.0.0.1 id".to_owned() } else { format!("{command} 127.0.0.1") };
        let (_, said) = sh(deployed, &ssh(&words)).await;
        assert!(!said.contains("uid=") && !said.contains("$ "), "{form:?}, {command:?}: {said}");
    }
    for listen in ["4444:127.0.0.1:22", "/tmp/intruder.sock:127.0.0.1:22"] {
        let (code, said) = sh(deployed, &ssh(&format!("-N -R {listen} 127.0.0.1"))).await;
        assert_eq!((code, said.contains("forwarding failed")), (Some(255), true), "{form:?}, -R {listen}: {said}");
    }
}

/// What a connection through the tunnel's key to that destination gets.
async fn reached(deployed: &Deployed, destination: &str) -> String {
    sh(deployed, &ssh(&format!("-W {destination} 127.0.0.1"))).await.1
}

/// The same to a socket, by way of a local one.
async fn socket_reached(deployed: &Deployed, socket: &str) -> String {
    let forward = ssh(&format!("-N -L /tmp/near.sock:{socket} 127.0.0.1"));
    let script = format!(
        "rm -f near.sock; {forward} & for i in 1 2 3 4 5 6 7 8 9 10; do [ -S near.sock ] && break; sleep 0.2; done; \
         curl -s -m 3 --unix-socket near.sock http://x/status; wait"
    );
    sh(deployed, &script).await.1
}

const PLUGIN: &str = "/run/interlink/interlink-plugin.sock";

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_rexec_opens_the_plugin_and_nothing_else() {
    let deployed = prepared(Form::Rexec).await;
    gives_no_foothold(&deployed, Form::Rexec).await;
    assert!(!reached(&deployed, FOREIGN).await.contains(BANNER));
    let said = socket_reached(&deployed, PLUGIN).await;
    assert!(!said.contains('{'), "not even the plugin's by a forward: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_rport_opens_its_port_and_nothing_else() {
    let deployed = prepared(Form::Rport).await;
    gives_no_foothold(&deployed, Form::Rport).await;
    assert!(!reached(&deployed, FOREIGN).await.contains(BANNER));
    let said = socket_reached(&deployed, "/run/interlink/interlink-plugin.state").await;
    assert!(!said.contains('{'), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_rsock_gives_no_shell_but_reaches_what_the_machine_reaches_as_its_template_says() {
    let deployed = prepared(Form::Rsock).await;
    gives_no_foothold(&deployed, Form::Rsock).await;
    assert!(reached(&deployed, FOREIGN).await.contains(BANNER));
    let said = socket_reached(&deployed, PLUGIN).await;
    assert!(said.contains('['), "the plugin's answer to a ping: {said}");
    let template = interlink_e2e::deployed::read("sshd/authorized_keys.rsock");
    assert!(template.contains("it reaches whatever this machine\n# reaches"), "{template}");
    let page = Book::read().unwrap().page("security.md").unwrap().text.clone();
    let row = page.lines().find(|line| line.starts_with("| `-rsock`")).unwrap();
    assert!(row.contains("**whatever the login node reaches**") && row.contains("No shell"), "{row}");
}
