//! How `ssh` is called: a configuration of our own that includes the user's, and arguments. Pure.
//!
//! What stands first in a configuration wins, so ours can't be overridden; and jump hosts, which `ssh` logs in at by another
//! `ssh` with the same `-F`, follow the same rules.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Direction, Forward, Remote, Settings, System};
use crate::hostkeys::Source;

/// As the built-in engine: a silent drop is noticed within 45 seconds.
const ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const ALIVE_COUNT: usize = 3;

/// The text of our configuration.
pub(super) fn config(settings: &Settings, system: &System, home: Option<&Path>) -> Result<String, String> {
    let mut text = format!(
        "# Made by ssh-tunnel, for as long as it runs.\n\
         BatchMode yes\nControlMaster no\nControlPath none\nForwardAgent no\nForwardX11 no\nPermitLocalCommand no\n\
         RequestTTY no\nEscapeChar none\nUpdateHostKeys no\nVisualHostKey no\nConnectionAttempts 1\n\
         ConnectTimeout {}\nServerAliveInterval {}\nServerAliveCountMax {ALIVE_COUNT}\n",
        settings.connect_timeout.as_secs().max(1),
        ALIVE_INTERVAL.as_secs(),
    );
    let mut line = |key: &str, path: &Path| -> Result<(), String> {
        let _ = writeln!(text, "{key} {}", quoted(path, true)?);
        Ok(())
    };
    if let Some(key) = &settings.identity.key_file {
        line("IdentityFile", key)?;
    }
    if let Some(agent) = &settings.identity.agent {
        line("IdentityAgent", agent)?;
    }
    let given = match &settings.host_keys {
        Source::File(file) => {
            line("UserKnownHostsFile", file)?;
            text.push_str("GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n");
            true
        }
        Source::Records(_) => false,
    };
    if settings.identity.key_file.is_some() {
        text.push_str("IdentitiesOnly yes\n");
    }
    let included: Vec<PathBuf> = match &system.config {
        Some(file) => vec![file.clone()],
        None => home.map(|home| home.join(".ssh/config")).into_iter().chain(["/etc/ssh/ssh_config".into()]).collect(),
    };
    for file in included {
        let _ = writeln!(text, "Include {}", quoted(&file, false)?);
    }
    if !given {
        // Only where the user's own configuration has no rule.
        text.push_str("Match all\nStrictHostKeyChecking accept-new\n");
    }
    Ok(text)
}

/// A file name as ssh_config takes it; `%` begins a token in some of its options.
fn quoted(path: &Path, tokens: bool) -> Result<String, String> {
    let text = path.to_str().filter(|text| !text.contains(['"', '\n', '\\']));
    let text = text.ok_or_else(|| format!("{} can't be named in ssh_config: use a plainer path", path.display()))?;
    Ok(if tokens { format!("\"{}\"", text.replace('%', "%%")) } else { format!("\"{text}\"") })
}

/// The arguments of an `ssh` that carries `forward` by way of our private `socket`, and of one that runs its command.
pub(super) fn arguments(
    settings: &Settings,
    system: &System,
    config: &Path,
    forward: &Forward,
    socket: &Path,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["-F".into(), config.into(), "-T".into(), "-S".into(), "none".into()];
    let mut option = |text: &str| args.extend(["-o".into(), text.into()]);
    match &forward.remote {
        Remote::Command(_) => {
            // What a user's configuration forwards for this host, whose ports their own ssh may have. It would clear ours,
            // too, where we have one.
            option("ClearAllForwardings=yes");
            // What the command says must be told from what ssh says.
            option("LogLevel=VERBOSE");
        }
        Remote::Port(_) | Remote::Socket(_) => {
            option("LogLevel=DEBUG2");
            option("ExitOnForwardFailure=yes");
            option("StreamLocalBindUnlink=yes");
            option("StreamLocalBindMask=0177");
            args.push("-N".into());
        }
    }
    if system.user {
        args.extend(["-l".into(), settings.user.clone().into()]);
    }
    if system.port {
        args.extend(["-p".into(), settings.server.port.to_string().into()]);
    }
    if let Some(jumps) = &system.jumps {
        args.extend(["-J".into(), jumps.into()]);
    }
    let far = match &forward.remote {
        Remote::Port(port) => Some(format!("localhost:{port}")),
        Remote::Socket(path) => Some(escaped(path)),
        Remote::Command(_) => None,
    };
    let near = escaped(&socket.to_string_lossy());
    match (far, forward.direction) {
        (Some(far), Direction::Forward) => args.extend(["-L".into(), format!("{near}:{far}").into()]),
        (Some(far), Direction::Reverse) => args.extend(["-R".into(), format!("{far}:{near}").into()]),
        (None, _) => {}
    }
    args.extend(["--".into(), settings.server.host.clone().into()]);
    if let Remote::Command(command) = &forward.remote {
        args.push(command.into());
    }
    args
}

/// A path in the argument of `-L` and `-R`.
fn escaped(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::flags::{Environment, Flags};

    fn settings(more: &[&str]) -> Settings {
        let addr = if more.iter().any(|flag| flag.starts_with("-addr")) { None } else { Some("-addr=cluster") };
        let base = ["ssh-tunnel", "-engine=openssh", "-lsock=/run/t.sock"].into_iter().chain(addr);
        let args = base.chain(more.iter().copied()).map(Into::into);
        let env = Environment { home: Some("/home/me".into()), ..Environment::default() };
        interlink_daemon::flags::try_parse::<Flags>(args).unwrap().settings(&env, Vec::new()).unwrap()
    }

    fn called(more: &[&str]) -> String {
        let settings = settings(more);
        let system = settings.engine.system().unwrap();
        let args = arguments(&settings, system, Path::new("/c"), &settings.forwards[0], Path::new("/r/1.sock"));
        args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_was_not_given_is_left_to_ssh_config() {
        let bare = called(&["-rport=4000"]);
        assert!(bare.ends_with("-N -L /r/1.sock:localhost:4000 -- cluster"), "{bare}");
        let all = called(&["-rsock=/a:b.sock", "-addr=h:2222", "-user=me", "-proxyjump=gate,x@last:23"]);
        assert!(all.ends_with("-l me -p 2222 -J gate,x@last:23 -L /r/1.sock:/a\\:b.sock -- h"), "{all}");
        let reverse = called(&["-rport=4000", "-reverse"]);
        assert!(reverse.ends_with("-R localhost:4000:/r/1.sock -- cluster"), "{reverse}");
        let command = called(&["-rexec=plugin dial-stdio"]);
        assert!(command.ends_with("LogLevel=VERBOSE -- cluster plugin dial-stdio"), "{command}");
        assert!(!command.contains("-N") && command.contains("ClearAllForwardings=yes"), "{command}");
        assert!(!bare.contains("ClearAllForwardings"), "{bare}");
    }

    #[test]
    fn our_rules_stand_first_and_the_users_own_follow() {
        let text = |more: &[&str]| {
            let settings = settings(&[&["-rport=1"], more].concat());
            config(&settings, settings.engine.system().unwrap(), Some(Path::new("/home/me"))).unwrap()
        };
        let bare = text(&[]);
        let at = |line: &str| bare.lines().position(|l| l == line).unwrap_or_else(|| panic!("{line}: {bare}"));
        assert!(at("BatchMode yes") < at("Include \"/home/me/.ssh/config\""));
        assert!(at("Include \"/home/me/.ssh/config\"") < at("Include \"/etc/ssh/ssh_config\""));
        // Only where theirs has no rule.
        assert!(at("Include \"/etc/ssh/ssh_config\"") < at("StrictHostKeyChecking accept-new"));
        assert!(!bare.contains("Identity"), "{bare}");
        let all = text(&["-hostkeyfile=/k h", "-keyfile=/50%.key", "-F=/site.conf"]);
        for line in [
            "UserKnownHostsFile \"/k h\"",
            "StrictHostKeyChecking yes",
            "IdentityFile \"/50%%.key\"",
            "IdentitiesOnly yes",
            "Include \"/site.conf\"",
        ] {
            assert!(all.lines().any(|l| l == line), "{line}: {all}");
        }
        assert!(!all.contains("accept-new") && !all.contains("/etc/ssh/ssh_config"), "{all}");
        assert!(quoted(Path::new("/a\"b"), true).is_err());
    }
}
