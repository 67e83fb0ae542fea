//! The commands of the existing project's tunneled-deployment guide, from its sections Service Operations, Monitoring and
//! Health Checks, and Troubleshooting; each once, with what it does on a machine of ours. The book has a row for each.

use super::runner::{Machines, Said};

/// A command of the guide.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// As the guide has it.
    pub command: &'static str,
    /// The machine that it is for.
    pub machine: &'static str,
    /// How it is run here, where names, paths or the account differ; else it is run as it is.
    pub here: Option<&'static str>,
    /// What it does.
    pub does: Does,
}

/// What a command does.
#[derive(Debug, Clone, Copy)]
pub enum Does {
    /// It succeeds, and prints this.
    Works(&'static [&'static str]),
    /// It goes on until it is stopped.
    Follows,
    /// It fails, and prints this.
    Fails(&'static [&'static str]),
    /// It prints the first and never the second, however it ends.
    Prints(&'static str, &'static str),
}

const fn local(command: &'static str, does: Does) -> Asked {
    Asked { command, machine: "local", here: None, does }
}

const fn login(command: &'static str, does: Does) -> Asked {
    Asked { command, machine: "login", here: None, does }
}

const fn as_here(command: &'static str, here: &'static str, does: Does) -> Asked {
    Asked { command, machine: "local", here: Some(here), does }
}

/// In the order of the guide.
pub const COMMANDS: [Asked; 27] = [
    local("sudo journalctl -u interlink-tunnel -f", Does::Follows),
    local("sudo journalctl -u interlink-api -f", Does::Follows),
    local("sudo journalctl -u interlink-virtual-kubelet -f", Does::Follows),
    local("sudo systemctl restart interlink-tunnel", Does::Works(&[])),
    local("sudo systemctl stop interlink-virtual-kubelet interlink-api interlink-tunnel", Does::Works(&[])),
    local("sudo systemctl start interlink-tunnel interlink-api interlink-virtual-kubelet", Does::Works(&[])),
    local("sudo systemctl list-dependencies interlink-virtual-kubelet", Does::Works(&["interlink-api.service"])),
    as_here(
        "/opt/interlink/bin/tunneled-health-check.sh",
        // what was just started needs a moment to find the other end
        "for i in $(seq 60); do sudo -u interlink KUBECONFIG=/opt/interlink/.kube/config \
         /opt/interlink/bin/tunneled-health-check.sh && exit; sleep 1; done; exit 1",
        Does::Works(&["every hop works"]),
    ),
    as_here(
        "pgrep -f \"ssh-tunnel\"",
        "(exec -a 'tail ssh-tunnel.log' sleep 2) & sleep 0.5; pgrep -fa \"ssh-tunnel\"",
        Does::Works(&["tail ssh-tunnel.log"]),
    ),
    as_here("[ -S \"$SOCKET_PATH\" ]", "sudo -u interlink test -S /run/interlink/api.sock", Does::Works(&[])),
    as_here(
        "curl -s --unix-socket \"$SOCKET_PATH\" http://unix/pinglink",
        "sudo -u interlink curl -s --unix-socket /run/interlink/api.sock http://unix/pinglink",
        Does::Works(&["{"]),
    ),
    local("kubectl get node interlink-node --no-headers", Does::Works(&["interlink-node", "Ready"])),
    local("nc -z -w5 127.0.0.1 4000", Does::Fails(&[])),
    local("sudo chmod +x /opt/interlink/bin/tunneled-health-check.sh", Does::Works(&[])),
    as_here(
        "sudo chown interlink:interlink /opt/interlink/bin/tunneled-health-check.sh",
        "sudo chown interlink:interlink /opt/interlink/bin/tunneled-health-check.sh && \
         sudo chown root:root /opt/interlink/bin/tunneled-health-check.sh",
        Does::Works(&[]),
    ),
    local("sudo systemctl daemon-reload", Does::Works(&[])),
    local("sudo systemctl enable interlink-tunneled-health-check.timer", Does::Works(&[])),
    local("sudo systemctl start interlink-tunneled-health-check.timer", Does::Works(&[])),
    local("ps aux | grep ssh-tunnel", Does::Works(&["/opt/interlink/bin/ssh-tunnel"])),
    as_here(
        "sudo -u interlink ssh -i /opt/interlink/.ssh/id_rsa interlink@remote-server",
        "echo id | sudo -u interlink timeout 10 ssh -o BatchMode=yes -o StrictHostKeyChecking=no \
         -i /opt/interlink/.ssh/id_ed25519 interlink@login.example.org",
        Does::Prints("interlink-mux/1", "uid="),
    ),
    local("sudo journalctl -u interlink-tunnel --since \"1 hour ago\"", Does::Works(&["ssh-tunnel"])),
    as_here(
        "echo \"test\" | nc -U /tmp/interlink.sock",
        "echo \"test\" | sudo -u interlink nc -N -U /run/interlink/api.sock",
        Does::Works(&["400 Bad Request"]),
    ),
    as_here(
        "sudo -u interlink kubectl get nodes",
        "sudo -u interlink KUBECONFIG=/opt/interlink/.kube/config kubectl get nodes",
        Does::Fails(&["Forbidden"]),
    ),
    local("kubectl describe node interlink-node", Does::Works(&["InterlinkConnectivity"])),
    login("sudo systemctl status interlink-remote-plugin", Does::Works(&["Active: active (running)"])),
    login("netstat -tlnp | grep :4000", Does::Fails(&[])),
    login("curl -X GET http://localhost:4000/status", Does::Fails(&["connect"])),
];

/// Runs them, and ends at the first that does something else.
///
/// # Errors
/// The command, and what it did.
pub async fn run(machines: &impl Machines) -> Result<usize, String> {
    for asked in &COMMANDS {
        let seconds = matches!(asked.does, Does::Follows).then_some(2);
        let said = machines.run(asked.machine, asked.here.unwrap_or(asked.command), seconds).await;
        if !did(asked.does, &said) {
            return Err(format!("{}: {:?} was expected of {said:?}", asked.command, asked.does));
        }
    }
    Ok(COMMANDS.len())
}

fn did(does: Does, said: &Said) -> bool {
    let has = |words: &[&str]| words.iter().all(|word| said.text.contains(word));
    match does {
        Does::Works(words) => said.status == Some(0) && has(words),
        Does::Follows => said.status == Some(124),
        Does::Fails(words) => said.status.is_some_and(|status| status != 0 && status != 124) && has(words),
        Does::Prints(first, never) => has(&[first]) && !has(&[never]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_judged_by_its_end_and_its_words() {
        let said = |status, text: &str| Said { status: Some(status), text: text.into() };
        for (does, said, good) in [
            (Does::Works(&["a"]), said(0, "a b"), true),
            (Does::Works(&["a"]), said(0, "b"), false),
            (Does::Works(&[]), said(1, ""), false),
            (Does::Follows, said(124, ""), true),
            (Does::Follows, said(0, ""), false),
            (Does::Fails(&["no"]), said(1, "no"), true),
            (Does::Fails(&[]), said(124, "it was stopped"), false),
            (Does::Fails(&[]), said(0, ""), false),
            (Does::Prints("a", "b"), said(9, "a"), true),
            (Does::Prints("a", "b"), said(0, "a b"), false),
        ] {
            assert_eq!(did(does, &said), good, "{does:?} {said:?}");
        }
    }
}
