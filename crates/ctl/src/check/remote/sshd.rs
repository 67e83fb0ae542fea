//! What sshd lets the tunnel's account do, by sshd's own word (`sshd -T`), and whether it has read its files since they
//! were changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::process::Command;

use crate::check::step::{Id, Step};
use crate::install::wishes::Via;

const MAIN: &str = "/etc/ssh/sshd_config";

/// The effective values: keywords in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<String, Vec<String>>,
}

impl Settings {
    /// Reads the output of `sshd -T`.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            values.entry(key.to_ascii_lowercase()).or_default().push(value.trim().to_owned());
        }
        Self { values }
    }

    /// The value of a keyword.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.first().map(String::as_str)
    }

    /// All words of a keyword, over all its lines.
    #[must_use]
    pub fn words(&self, key: &str) -> Vec<&str> {
        self.values.get(key).into_iter().flatten().flat_map(|value| value.split_whitespace()).collect()
    }

    fn is(&self, key: &str, values: &[&str]) -> bool {
        self.get(key).is_none_or(|value| values.iter().any(|wanted| value.eq_ignore_ascii_case(wanted)))
    }
}

/// What sshd said.
#[derive(Debug, Clone)]
pub enum Word {
    /// It can't be asked: why.
    Unasked(String),
    /// It does not accept its own files: what it says.
    Refuses(String),
    /// It does.
    Effective {
        /// The values for the account.
        settings: Settings,
        /// A file that it has not read since it was changed.
        stale: Option<PathBuf>,
    },
}

impl Word {
    /// The values, where there are any.
    #[must_use]
    pub fn settings(&self) -> Option<&Settings> {
        match self {
            Self::Effective { settings, .. } => Some(settings),
            Self::Unasked(_) | Self::Refuses(_) => None,
        }
    }
}

/// Asks sshd for the values that hold for `account`.
pub async fn ask(file: Option<&Path>, account: &str, limit: Duration) -> Word {
    let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|path| Path::new(path).exists());
    let Some(program) = program else { return Word::Unasked("there is no sshd on this machine".to_owned()) };
    if !nix::unistd::geteuid().is_root() {
        return Word::Unasked(
            "only root can ask sshd for its effective values; run interlinkctl check as root".to_owned(),
        );
    }
    let main = file.unwrap_or(Path::new(MAIN));
    let mut command = Command::new(program);
    command.arg("-T").arg("-f").arg(main).arg("-C").arg(format!("user={account},host=x,addr=127.0.0.1"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(limit, command.output()).await {
        Err(_) => Word::Unasked(format!("sshd -T did not answer within {} s", limit.as_secs())),
        Ok(Err(error)) => Word::Unasked(format!("{program} can't be started: {error}")),
        Ok(Ok(output)) if output.status.success() => {
            let settings = Settings::read(&String::from_utf8_lossy(&output.stdout));
            let stale = settings.get("pidfile").and_then(|pid| stale(main, Path::new(pid)));
            Word::Effective { settings, stale }
        }
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            Word::Refuses(said.join(", "))
        }
    }
}

/// A file that was changed after sshd wrote its pid file, which it does whenever it starts or is reloaded.
fn stale(main: &Path, pid_file: &Path) -> Option<PathBuf> {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let read: SystemTime = changed(pid_file)?;
    files(main).into_iter().find(|file| changed(file).is_some_and(|time| time > read))
}

/// The main file, and what it includes.
fn files(main: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(main).unwrap_or_default();
    let mut files = vec![main.to_owned()];
    let includes = text.lines().filter_map(|line| {
        let (key, value) = line.trim().split_once(char::is_whitespace)?;
        key.eq_ignore_ascii_case("include").then_some(value)
    });
    for pattern in includes.flat_map(str::split_whitespace) {
        let path = Path::new("/etc/ssh").join(pattern.trim_matches('"'));
        match (path.parent(), path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix('*'))) {
            (Some(dir), Some(end)) => {
                let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
                files.extend(entries.filter(|path| path.to_string_lossy().ends_with(end)));
            }
            _ => files.push(path),
        }
    }
    files
}

/// Judges it for a key of that form.
#[must_use]
pub fn judge(account: &str, form: Option<Via>, word: &Word) -> Vec<Step> {
    let failed = |cause: String, remedy: String| Step::failed(Id::Sshd, "sshd", cause, remedy);
    let (settings, stale) = match word {
        Word::Unasked(why) => return vec![Step::skipped(Id::Sshd, "sshd", why)],
        Word::Refuses(said) => {
            return vec![failed(
                format!("sshd does not accept its configuration, and would not start again: {said}"),
                "correct it until sshd -t says nothing, then reload sshd".to_owned(),
            )];
        }
        Word::Effective { settings, stale } => (settings, stale),
    };
    let then = "run sshd -t, and reload sshd";
    let mut steps = Vec::new();
    if let Some((cause, remedy)) = refusal(account, form, settings) {
        steps.push(failed(cause, format!("{remedy}; {then}")));
    }
    if let Some(file) = stale {
        let cause =
            format!("sshd has not read {} since it was changed, so other values hold than those", file.display());
        steps.push(Step::warned(
            Id::Sshd,
            "sshd",
            cause,
            "run sshd -t, then systemctl reload ssh (sshd on some systems)",
        ));
    }
    if steps.is_empty() {
        let way = form.map_or("logs in", |form| match form {
            Via::Rexec => "runs the key's command",
            Via::Rport | Via::Rsock => "may forward",
        });
        steps.push(Step::good(Id::Sshd, "sshd", format!("by sshd's effective values {account} {way}")));
    }
    steps
}

/// What keeps a tunnel of that form out: cause and remedy.
fn refusal(account: &str, form: Option<Via>, settings: &Settings) -> Option<(String, String)> {
    let line = |key: &str, value: &str| (format!("{key} is {value} for {account}"), key.to_owned());
    let (allow, deny) = (settings.words("allowusers"), settings.words("denyusers"));
    if (!allow.is_empty() && !allow.iter().any(|user| matches(user, account)))
        || deny.iter().any(|u| matches(u, account))
    {
        return Some((
            format!("sshd lets {account} not in (AllowUsers, DenyUsers)"),
            format!("add {account} to AllowUsers in sshd_config, or take it from DenyUsers"),
        ));
    }
    if !settings.is("pubkeyauthentication", &["yes"]) {
        return Some((
            line("PubkeyAuthentication", "no").0,
            "set PubkeyAuthentication yes in its Match block".to_owned(),
        ));
    }
    let forced = settings.get("forcecommand").filter(|command| !command.eq_ignore_ascii_case("none"));
    let forwards = |key: &str| settings.is(key, &["yes", "local", "all"]);
    let value = |key: &str| settings.get(key).unwrap_or_default().to_owned();
    match form? {
        Via::Rexec => forced.filter(|command| !command.contains("dial-stdio")).map(|command| {
            (
                format!(
                    "sshd runs `{command}` for {account} whatever its key says (ForceCommand), so dial-stdio never runs"
                ),
                "take ForceCommand out of its Match block, as in interlink-rexec.conf".to_owned(),
            )
        }),
        Via::Rport | Via::Rsock if !settings.is("disableforwarding", &["no"]) => Some((
            format!("DisableForwarding is yes for {account}, so its connections lead nowhere"),
            "use the Match block of interlink-rport.conf, or start ssh-tunnel with -rexec".to_owned(),
        )),
        Via::Rport | Via::Rsock if !forwards("allowtcpforwarding") => Some((
            format!(
                "AllowTcpForwarding is {} for {account}, so its connections lead nowhere",
                value("allowtcpforwarding")
            ),
            "set AllowTcpForwarding local in its Match block, or start ssh-tunnel with -rexec".to_owned(),
        )),
        Via::Rsock if !forwards("allowstreamlocalforwarding") => Some((
            format!(
                "AllowStreamLocalForwarding is {} for {account}, so it reaches no socket",
                value("allowstreamlocalforwarding")
            ),
            "set AllowStreamLocalForwarding local in its Match block, or start ssh-tunnel with -rexec".to_owned(),
        )),
        Via::Rport | Via::Rsock => None,
    }
}

/// By the only pattern that is common in lists of users.
fn matches(pattern: &str, account: &str) -> bool {
    let user = pattern.split('@').next().unwrap_or_default();
    user == account || user == "*"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::Verdict;

    fn word(text: &str) -> Word {
        Word::Effective { settings: Settings::read(text), stale: None }
    }

    #[test]
    fn what_keeps_a_tunnel_out_is_named_with_the_line_to_change() {
        let cases = [
            (Via::Rexec, "forcecommand /bin/false", "runs `/bin/false` for interlink", "take ForceCommand out"),
            (Via::Rexec, "allowusers ada", "lets interlink not in", "add interlink to AllowUsers"),
            (Via::Rexec, "denyusers interlink", "lets interlink not in", "DenyUsers"),
            (Via::Rexec, "pubkeyauthentication no", "PubkeyAuthentication is no", "PubkeyAuthentication yes"),
            (Via::Rport, "allowtcpforwarding no", "AllowTcpForwarding is no", "AllowTcpForwarding local"),
            (Via::Rport, "disableforwarding yes", "DisableForwarding is yes", "interlink-rport.conf"),
            (Via::Rsock, "allowstreamlocalforwarding no", "reaches no socket", "AllowStreamLocalForwarding local"),
        ];
        for (form, text, cause, remedy) in cases {
            let steps = judge("interlink", Some(form), &word(text));
            let fault = steps[0].fault().unwrap();
            assert!(fault.cause.contains(cause) && fault.remedy.contains(remedy), "{fault:?}");
            assert!(fault.remedy.ends_with("run sshd -t, and reload sshd"), "{fault:?}");
        }
        for (form, text) in [
            (Via::Rexec, "forcecommand none\ndisableforwarding yes\nallowtcpforwarding no"),
            (Via::Rport, "forcecommand /bin/false\nallowtcpforwarding local\nallowusers ada interlink@10.0.0.1"),
            (Via::Rsock, "allowtcpforwarding yes\nallowstreamlocalforwarding local"),
        ] {
            let steps = judge("interlink", Some(form), &word(text));
            assert!(matches!(steps[0].verdict, Verdict::Good(_)), "{steps:?}");
        }
        let refuses = judge("interlink", None, &Word::Refuses("line 3: Bad configuration option: Foo".into()));
        assert!(refuses[0].fault().unwrap().cause.contains("Bad configuration option: Foo"));
    }

    #[test]
    fn a_file_that_sshd_has_not_read_is_found_among_those_it_includes() {
        let dir = tempfile::tempdir().unwrap();
        let (main, pid) = (dir.path().join("sshd_config"), dir.path().join("sshd.pid"));
        let part = dir.path().join("d/interlink.conf");
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(&main, format!("# x\nInclude {}/d/*.conf\nPort 22\n", dir.path().display())).unwrap();
        std::fs::write(&part, "").unwrap();
        assert_eq!(stale(&main, &pid), None, "without a pid file nobody knows");
        std::fs::write(&pid, "1").unwrap();
        let at = |path: &Path, seconds| {
            let time = SystemTime::now() + Duration::from_secs(seconds);
            std::fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
        };
        at(&pid, 10);
        assert_eq!(stale(&main, &pid), None);
        at(&part, 20);
        assert_eq!(stale(&main, &pid), Some(part));
    }
}
