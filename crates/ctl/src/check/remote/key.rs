//! The tunnel's line in authorized_keys: which of the three kinds of key it is, and whether it can do its work.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::User;

use super::sshd::Settings;
use crate::check::step::{Id, Step};
use crate::install::wishes::Via;

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Names of options in lower case, with their values.
    pub options: Vec<(String, String)>,
    /// The rest: type, key and comment.
    pub key: String,
}

impl Line {
    /// Reads one; `None` for blank lines and comments.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let is_type = |word: &str| ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| word.starts_with(prefix));
        if text.split_whitespace().next().is_some_and(is_type) {
            return Some(Self { options: Vec::new(), key: text.to_owned() });
        }
        let (mut options, mut word, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
        let mut rest = "";
        for (at, c) in text.char_indices() {
            match c {
                '"' if escaped => word.push('"'),
                '"' => quoted = !quoted,
                '\\' if quoted && text[at + 1..].starts_with('"') => {}
                ',' if !quoted => options.push(std::mem::take(&mut word)),
                c if c.is_whitespace() && !quoted => {
                    rest = text[at..].trim();
                    break;
                }
                c => word.push(c),
            }
            escaped = quoted && c == '\\';
        }
        options.push(word);
        let options = options.iter().map(|option| option.split_once('=').unwrap_or((option, "")));
        Some(Self {
            options: options.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            key: rest.to_owned(),
        })
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(option, _)| option == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The command that runs in place of any other.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.values("command").next()
    }

    /// Whether its connections may lead on: the last word of `restrict` and the two others counts.
    #[must_use]
    pub fn may_forward(&self) -> bool {
        self.options.iter().fold(true, |may, (name, _)| match name.as_str() {
            "restrict" | "no-port-forwarding" => false,
            "port-forwarding" => true,
            _ => may,
        })
    }

    /// What it is for.
    #[must_use]
    pub fn form(&self) -> Via {
        match self.command() {
            // Whatever runs in place of dial-stdio, and no forward: it was meant for dial-stdio.
            Some(command) if command.contains("dial-stdio") => Via::Rexec,
            _ if self.has("permitopen") => Via::Rport,
            Some(_) if !self.may_forward() && !self.has("no-port-forwarding") => Via::Rexec,
            _ => Via::Rsock,
        }
    }
}

/// What was found.
#[derive(Debug, Clone)]
pub enum Keys {
    /// There is no such account.
    NoAccount,
    /// No file could be read: why.
    Unread(PathBuf, io::ErrorKind),
    /// The files have no key.
    Empty(PathBuf),
    /// The line that is the tunnel's, as far as that can be told, and its file.
    Line(PathBuf, Line),
}

impl Keys {
    /// What the tunnel's key is for.
    #[must_use]
    pub fn form(&self) -> Option<Via> {
        match self {
            Self::Line(_, line) => Some(line.form()),
            Self::NoAccount | Self::Unread(..) | Self::Empty(_) => None,
        }
    }
}

/// Reads the account's files, where sshd says that they are.
#[must_use]
pub fn read(account: &str, user: Option<&User>, settings: Option<&Settings>) -> Keys {
    let Some(user) = user else { return Keys::NoAccount };
    let files = settings.map(|settings| settings.words("authorizedkeysfile")).unwrap_or_default();
    let files = if files.is_empty() { vec![".ssh/authorized_keys"] } else { files };
    let mut found = Keys::Unread(user.dir.join(".ssh/authorized_keys"), io::ErrorKind::NotFound);
    let mut lines = Vec::new();
    for file in files {
        let file = file.replace("%u", account).replace("%h", &user.dir.display().to_string()).replace("%%", "%");
        let path = user.dir.join(file);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                lines.extend(text.lines().filter_map(Line::read).map(|line| (path.clone(), line)));
                found = Keys::Empty(path);
            }
            Err(error) => {
                if matches!(found, Keys::Unread(_, io::ErrorKind::NotFound)) {
                    found = Keys::Unread(path, error.kind());
                }
            }
        }
    }
    // Other people's keys may be there as well; ours says whose it is, in its command or its comment.
    let ours = |line: &Line| line.command().is_some_and(|c| c.contains("interlink")) || line.key.contains("interlink");
    let line = lines.iter().find(|(_, line)| ours(line)).or(lines.first()).cloned();
    line.map_or(found, |(path, line)| Keys::Line(path, line))
}

/// Judges the tunnel's key.
#[must_use]
pub fn judge(account: &str, keys: &Keys) -> Step {
    let failed = |cause: String, remedy: String| Step::failed(Id::Key, "sshd", cause, remedy);
    let (path, line) = match keys {
        Keys::NoAccount => {
            let cause = format!("there is no account {account}, which the tunnel logs in as");
            return failed(cause, "make it, or name the right one with --account".to_owned());
        }
        Keys::Unread(path, io::ErrorKind::PermissionDenied) => {
            let why = format!("{} is closed to this user; run interlinkctl check as root", path.display());
            return Step::skipped(Id::Key, "sshd", why);
        }
        Keys::Unread(path, _) => {
            let cause = format!("there is no {}, so no key lets the tunnel in as {account}", path.display());
            return failed(cause, "put the tunnel's public key there, with its restriction".to_owned());
        }
        Keys::Empty(path) => {
            let cause = format!("{} has no key, so none lets the tunnel in as {account}", path.display());
            return failed(cause, "put the tunnel's public key there, with its restriction".to_owned());
        }
        Keys::Line(path, line) => (path, line),
    };
    let at = path.display();
    let form = line.form();
    if form == Via::Rexec {
        let command = line.command().unwrap_or_default();
        return match faulty(command) {
            Some(why) => failed(
                format!("the key in {at} runs `{command}` in place of dial-stdio: {why}"),
                "set command=\"/opt/interlink-plugin/bin/plugin -SlurmConfigpath=/opt/interlink-plugin/config/plugin-config.yaml dial-stdio\" in its line".to_owned(),
            ),
            None => Step::good(Id::Key, "sshd", format!("{at}: the tunnel's key runs `{command}`")),
        };
    }
    if !line.may_forward() {
        let cause =
            format!("the key in {at} forbids forwarding (no-port-forwarding or restrict), which is all that it is for");
        let remedy = "begin its line with restrict,command=\"interlink-plugin dial-stdio\" and start ssh-tunnel with -rexec, or with restrict,port-forwarding,… for -rport and -rsock";
        return failed(cause, remedy.to_owned());
    }
    if line.command().is_none() {
        let cause = format!("the key in {at} gives a shell as {account} to whoever has it");
        let remedy =
            "begin its line with restrict,command=\"interlink-plugin dial-stdio\" and start ssh-tunnel with -rexec";
        return Step::warned(Id::Key, "sshd", cause, remedy);
    }
    Step::good(Id::Key, "sshd", format!("{at}: the tunnel's key opens forwards ({})", form.flag()))
}

/// Why a command can't be dial-stdio.
fn faulty(command: &str) -> Option<String> {
    if !command.contains("dial-stdio") {
        return Some("that carries no connections".to_owned());
    }
    let program = command.split_whitespace().next().unwrap_or_default();
    let path = Path::new(program);
    if !path.is_absolute() {
        // It is looked up in the PATH that sshd gives, which is not ours.
        return None;
    }
    match std::fs::metadata(path) {
        Err(error) => Some(format!("{program}: {error}")),
        Ok(metadata) if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 => {
            Some(format!("{program} can't be executed"))
        }
        Ok(_) => command
            .split_whitespace()
            .find_map(|word| word.trim_start_matches('-').strip_prefix("SlurmConfigpath="))
            .filter(|file| !Path::new(file).exists())
            .map(|file| format!("{file} does not exist")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::Verdict;

    fn judged(text: &str) -> Step {
        judge("interlink", &Keys::Line("/h/.ssh/authorized_keys".into(), Line::read(text).unwrap()))
    }

    #[test]
    fn the_three_keys_are_told_apart() {
        for (options, form) in [
            (r#"restrict,command="/bin/sh dial-stdio" "#, Via::Rexec),
            (r#"restrict,command="/bin/false" "#, Via::Rexec),
            (r#"restrict,port-forwarding,permitopen="localhost:4000",command="/bin/false" "#, Via::Rport),
            (r#"restrict,port-forwarding,command="/bin/false" "#, Via::Rsock),
            ("", Via::Rsock),
        ] {
            assert_eq!(Line::read(&format!("{options}ssh-ed25519 AAAA x")).unwrap().form(), form, "{options}");
        }
        let line = Line::read(r#"no-pty,command="a \"b, c\" d",Restrict ssh-rsa AAAA who knows"#).unwrap();
        assert_eq!(line.command(), Some("a \"b, c\" d"));
        assert_eq!((line.key.as_str(), line.options.len()), ("ssh-rsa AAAA who knows", 3));
        assert_eq!(Line::read("  # a comment"), None);
    }

    #[test]
    fn keys_that_cannot_do_their_work_are_named() {
        // The seed's own line.
        let seed = r#"command="/usr/bin/false",no-pty,no-X11-forwarding,no-agent-forwarding,no-port-forwarding ssh-rsa AAAAB3 interlink-tunnel-key"#;
        for (line, cause, remedy) in [
            (seed, "forbids forwarding (no-port-forwarding", "-rexec"),
            (
                r#"restrict,command="/bin/false" ssh-rsa A x"#,
                "runs `/bin/false` in place of dial-stdio: that carries",
                "set command=",
            ),
            (
                r#"restrict,command="/nowhere/plugin dial-stdio" ssh-rsa A x"#,
                "/nowhere/plugin: No such file",
                "set command=",
            ),
            (
                r#"restrict,command="/bin/sh -SlurmConfigpath=/nowhere.yaml dial-stdio" ssh-rsa A x"#,
                "/nowhere.yaml does not exist",
                "set command=",
            ),
        ] {
            let step = judged(line);
            let fault = step.fault().unwrap();
            assert!(fault.cause.contains(cause) && fault.remedy.contains(remedy), "{fault:?}");
        }
        assert!(
            matches!(judged("ssh-rsa A x").verdict, Verdict::Warned(fault) if fault.cause.contains("gives a shell"))
        );
        assert!(matches!(judged(r#"restrict,command="/bin/sh dial-stdio" ssh-rsa A x"#).verdict, Verdict::Good(_)));
        assert!(judge("nobody-here", &Keys::NoAccount).fault().unwrap().cause.contains("no account nobody-here"));
    }
}
