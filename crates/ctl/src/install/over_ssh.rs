//! The other end, installed from here: the programs are copied and run there by the system's own `ssh` and `scp`, with
//! the operator's own access. One connection is held for all of it, so that nothing is asked twice.

use std::io::IsTerminal as _;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::User;
use tokio::process::Command;

use super::host_keys;
use super::run::say;
use super::system::{self, Said};
use super::wishes::Wishes;

/// For looking and copying; a person may have to type a password first.
const LIMIT: Duration = Duration::from_secs(300);
/// For the installation there.
const INSTALL: Duration = Duration::from_secs(900);

/// `USER@HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who logs in.
    pub user: String,
    /// Where.
    pub host: String,
    /// On which port.
    pub port: u16,
}

impl Target {
    /// Reads one.
    ///
    /// # Errors
    /// One sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("--remote {text} is not USER@HOST or USER@HOST:PORT");
        let (user, addr) = text.rsplit_once('@').ok_or_else(wrong)?;
        let (host, port) = Wishes { addr: Some(addr.to_owned()), ..Wishes::default() }.server().ok_or_else(wrong)?;
        // nothing that ssh would take for an option
        if user.is_empty() || user.starts_with('-') || host.starts_with('-') {
            return Err(wrong());
        }
        Ok(Self { user: user.to_owned(), host, port })
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn addr(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }
}

/// The other end, ready to be installed.
#[derive(Debug)]
pub struct Far {
    target: Target,
    /// The person whose access it is, where that is another than we.
    person: Option<User>,
    /// Of the connection that is held.
    control: PathBuf,
    /// There, with the programs.
    dir: String,
    /// Whether root needs `sudo` there; `None` where it is not to be root.
    sudo: Option<bool>,
    /// The server's keys, as known_hosts lines.
    pub host_keys: String,
    /// Where it sees us coming from.
    pub from: Option<String>,
}

/// Run there by `sh`, whatever the person's own shell is.
const LOOK: &str = "umask 077; id -u; uname -m; echo \"from $SSH_CONNECTION\"; mktemp -d /tmp/interlink-install-XXXXXXXX; \
                    if command -v sudo >/dev/null 2>&1; then \
                    if sudo -n true >/dev/null 2>&1; then echo sudo free; else echo sudo asks; fi; \
                    else echo sudo none; fi; \
                    cat /etc/ssh/ssh_host_*_key.pub 2>/dev/null; true";

/// How a person becomes root there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sudo {
    /// `sudo` asks nothing.
    Free,
    /// It asks for a password, or refuses this person: it tells which only to who has typed one.
    Asks,
    /// There is none.
    None,
}

/// Why `target` can't install there as root; `None` where it can. `terminal`: whether a password can be typed.
fn not_root(target: &Target, uid: u32, sudo: Sudo, terminal: bool) -> Option<String> {
    let Target { user, host, .. } = target;
    match sudo {
        _ if uid == 0 => None,
        Sudo::Free => None,
        Sudo::Asks if terminal => None,
        Sudo::Asks => Some(format!(
            "{user} needs a password for sudo at {host}, and there is no terminal here to type it: run this in a \
             terminal, let {user} run sudo there without one (NOPASSWD), or install for {user} alone with \
             --remote-unprivileged"
        )),
        Sudo::None => Some(format!(
            "{user} is not root at {host}, and there is no sudo: log in as root there (--remote root@{host}), or \
             install for {user} alone with --remote-unprivileged"
        )),
    }
}

/// What there is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    uid: u32,
    machine: String,
    from: Option<String>,
    dir: String,
    sudo: Sudo,
    keys: Vec<String>,
}

fn look(text: &str) -> Option<Look> {
    let mut lines = text.lines();
    let uid = lines.next()?.trim().parse().ok()?;
    let machine = lines.next()?.trim().to_owned();
    let from = lines.next()?.strip_prefix("from ")?.split(' ').next().filter(|word| !word.is_empty());
    let dir = lines.next()?.trim().to_owned();
    let sudo = match lines.next()?.trim() {
        "sudo free" => Sudo::Free,
        "sudo asks" => Sudo::Asks,
        _ => Sudo::None,
    };
    let keys = lines.filter(|line| line.starts_with("ssh-") || line.starts_with("ecdsa-")).map(str::to_owned).collect();
    dir.starts_with("/tmp/interlink-install-").then(|| Look {
        uid,
        machine,
        from: from.map(str::to_owned),
        dir,
        sudo,
        keys,
    })
}

impl Far {
    /// Logs in, looks, and copies the programs there.
    ///
    /// # Errors
    /// One sentence.
    pub async fn reach(target: Target, programs: &Path, unprivileged: bool) -> Result<Self, String> {
        let person = std::env::var("SUDO_USER").ok().filter(|_| nix::unistd::geteuid().is_root());
        let person = person.and_then(|name| User::from_name(&name).ok().flatten()).filter(|user| !user.uid.is_root());
        let control =
            std::env::temp_dir().join(format!("interlink-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]));
        std::fs::DirBuilder::new().mode(0o700).create(&control).map_err(|e| format!("{}: {e}", control.display()))?;
        let mut far =
            Self { target, person, control, dir: String::new(), sudo: None, host_keys: String::new(), from: None };
        if let Some(person) = &far.person {
            chown(&far.control, Some(person.uid.as_raw()), Some(person.gid.as_raw())).map_err(|e| e.to_string())?;
        }
        match far.prepare(programs, unprivileged).await {
            Ok(()) => Ok(far),
            Err(why) => {
                far.leave().await;
                Err(why)
            }
        }
    }

    async fn prepare(&mut self, programs: &Path, unprivileged: bool) -> Result<(), String> {
        let far = self;
        let line = format!("exec sh -c {}", shlex::try_quote(LOOK).map_err(|e| e.to_string())?);
        let said = far.ssh(&line).await?;
        let found = look(&said.out).filter(|_| said.ok());
        let found = found.ok_or_else(|| {
            format!(
                "logging in as {}@{} does not work: {}; try it by hand: ssh -p {} {0}@{1}",
                far.target.user,
                far.target.host,
                said.why(),
                far.target.port
            )
        })?;
        far.dir = found.dir;
        if found.machine != std::env::consts::ARCH {
            return Err(format!(
                "{} is a machine of the kind {}, and these programs are for {}: copy those of its kind there and run interlinkctl install --role remote",
                far.target.host,
                found.machine,
                std::env::consts::ARCH
            ));
        }
        let terminal = std::io::stdin().is_terminal();
        if let Some(why) = not_root(&far.target, found.uid, found.sudo, terminal).filter(|_| !unprivileged) {
            return Err(why);
        }
        far.sudo = (!unprivileged).then_some(found.uid != 0);
        far.from = found.from;
        let name = if far.target.port == 22 {
            far.target.host.clone()
        } else {
            format!("[{}]:{}", far.target.host, far.target.port)
        };
        far.host_keys = host_keys::lines(&found.keys.iter().map(|key| format!("{name} {key}\n")).collect::<String>());
        far.copy(programs).await?;
        far.starts().await
    }

    /// Whether the programs start there: it may be older than they are, and `/tmp` may be for no programs.
    async fn starts(&self) -> Result<(), String> {
        for program in ["interlinkctl", "interlink-plugin"] {
            let said = self.ssh(&format!("{}/{program} --version", self.dir)).await?;
            if !said.ok() {
                return Err(format!(
                    "{program} does not start at {}: {}; copy programs that fit there by hand, and run interlinkctl \
                     install --role remote",
                    self.target.host,
                    said.why()
                ));
            }
        }
        Ok(())
    }

    /// Runs `interlinkctl install --role remote` there; its words go to the operator's terminal.
    ///
    /// # Errors
    /// One sentence.
    pub async fn install(&self, wishes: &Wishes, public_key: Option<&str>, dry: bool) -> Result<(), String> {
        let mut words = vec![];
        if self.sudo == Some(true) {
            words.push("sudo".to_owned());
        }
        words.extend([format!("{}/interlinkctl", self.dir), "install".into(), "--role".into(), "remote".into()]);
        words.extend(arguments(wishes, public_key, self.from.as_deref(), self.sudo.is_none(), dry));
        let line = words.iter().map(|word| shlex::try_quote(word).map(|word| word.into_owned()));
        let line = line.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?.join(" ");
        say(format!("at {}:", self.target.host));
        let terminal = std::io::stdin().is_terminal();
        let mut args = self.options();
        // sudo may ask for a password
        args.push(if terminal { "-t" } else { "-T" }.to_owned());
        args.extend([self.login(), line]);
        let mut command = self.command("ssh", &args);
        command.stdin(if terminal { Stdio::inherit() } else { Stdio::null() }).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| format!("ssh can't be started: {e}"))?;
        let ended = tokio::time::timeout(INSTALL, child.wait()).await;
        let ended = ended.map_err(|_| "the installation there does not end".to_owned())?.map_err(|e| e.to_string())?;
        match ended.code() {
            Some(0) => Ok(()),
            Some(78) => Err(format!("{} refuses, see above; nothing was changed there", self.target.host)),
            code => Err(format!(
                "the installation at {} ended with {}, see above; run this again and it goes on there",
                self.target.host,
                code.map_or("a signal".to_owned(), |code| code.to_string())
            )),
        }
    }

    async fn copy(&self, programs: &Path) -> Result<(), String> {
        let mut args = vec!["-q".to_owned(), "-P".into(), self.target.port.to_string()];
        args.extend(self.held());
        args.extend(["interlinkctl", "interlink-plugin"].map(|name| programs.join(name).display().to_string()));
        let host =
            if self.target.host.contains(':') { format!("[{}]", self.target.host) } else { self.target.host.clone() };
        args.push(format!("{}@{host}:{}/", self.target.user, self.dir));
        let (program, args) = self.as_person("scp", args);
        let said = system::run(&program, args, LIMIT).await?;
        if said.ok() { Ok(()) } else { Err(format!("the programs can't be copied there: {}", said.why())) }
    }

    async fn ssh(&self, line: &str) -> Result<Said, String> {
        let mut args = self.options();
        args.extend(["-T".to_owned(), self.login(), line.to_owned()]);
        let (program, args) = self.as_person("ssh", args);
        system::run(&program, args, LIMIT).await
    }

    /// Ends the connection, and takes away what was copied.
    pub async fn leave(self) {
        if !self.dir.is_empty() {
            let _ = self.ssh(&format!("rm -rf {}", self.dir)).await;
        }
        let mut args = self.options();
        args.extend(["-O".to_owned(), "exit".to_owned(), self.login()]);
        let (program, args) = self.as_person("ssh", args);
        let _ = system::run(&program, args, LIMIT).await;
        let _ = std::fs::remove_dir_all(&self.control);
    }

    fn login(&self) -> String {
        format!("{}@{}", self.target.user, self.target.host)
    }

    fn held(&self) -> Vec<String> {
        let path = format!("ControlPath={}/held", self.control.display());
        ["-o", "ControlMaster=auto", "-o", &path, "-o", "ControlPersist=120"].map(str::to_owned).to_vec()
    }

    fn options(&self) -> Vec<String> {
        let mut args = vec!["-p".to_owned(), self.target.port.to_string()];
        args.extend(self.held());
        args
    }

    /// As the person behind sudo, whose keys and known hosts they are.
    fn as_person(&self, program: &str, args: Vec<String>) -> (String, Vec<String>) {
        let Some(person) = &self.person else { return (program.to_owned(), args) };
        let mut all = ["-u", &person.name, "--", program].map(str::to_owned).to_vec();
        all.extend(args);
        ("runuser".to_owned(), all)
    }

    fn command(&self, program: &str, args: &[String]) -> Command {
        let (program, args) = self.as_person(program, args.to_vec());
        let mut command = Command::new(program);
        command.args(args);
        command
    }
}

/// The options of the other end's installation.
fn arguments(wishes: &Wishes, key: Option<&str>, from: Option<&str>, unprivileged: bool, dry: bool) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([format!("--{name}"), value]);
        }
    };
    option("account", (!unprivileged).then(|| wishes.login().to_owned()));
    option("via", Some(wishes.via().name().to_owned()));
    option("jobs", wishes.jobs.as_ref().map(|jobs| jobs.display().to_string()));
    option("scheduler", wishes.scheduler.map(|scheduler| scheduler.name().to_owned()));
    option("runtime", wishes.runtime.map(|runtime| runtime.name().to_owned()));
    option("slurm-conf", wishes.slurm_conf.as_ref().map(|conf| conf.display().to_string()));
    option("from", from.map(str::to_owned));
    option("public-key", key.map(str::to_owned));
    if unprivileged {
        words.push("--user".into());
    }
    if dry {
        words.push("--dry-run".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_user_and_a_host() {
        let target = Target::parse("me@hpc:2222").unwrap();
        assert_eq!((target.user.as_str(), target.addr().as_str()), ("me", "hpc:2222"));
        assert_eq!(Target::parse("me@::1").unwrap().addr(), "[::1]:22");
        for wrong in ["hpc", "@hpc", "me@", "-oProxyCommand=x@hpc", "me@-x", "me@hpc:x"] {
            assert!(Target::parse(wrong).unwrap_err().contains("USER@HOST"), "{wrong}");
        }
    }

    #[test]
    fn what_the_other_end_says_is_read() {
        let text = "1000\nx86_64\nfrom 192.0.2.7 5000 192.0.2.8 22\n/tmp/interlink-install-AbCdEfGh\nsudo asks\nssh-ed25519 AAAA root@hpc\n";
        let found = look(text).unwrap();
        assert_eq!((found.uid, found.machine.as_str(), found.from.as_deref()), (1000, "x86_64", Some("192.0.2.7")));
        assert_eq!(found.sudo, Sudo::Asks);
        assert_eq!(found.keys, ["ssh-ed25519 AAAA root@hpc"]);
        assert_eq!(look("Welcome!\n"), None);
        assert_eq!(look("0\nx86_64\nfrom \nmktemp: failed\n"), None);
    }

    #[test]
    fn who_is_not_root_there_needs_a_sudo_that_can_be_answered() {
        let target = Target::parse("me@hpc").unwrap();
        for (uid, sudo, terminal, said) in [
            (0, Sudo::None, false, None),
            (1000, Sudo::Free, false, None),
            (1000, Sudo::Asks, true, None),
            (1000, Sudo::Asks, false, Some("me needs a password for sudo at hpc")),
            (1000, Sudo::None, true, Some("--remote root@hpc")),
        ] {
            let why = not_root(&target, uid, sudo, terminal);
            assert_eq!(why.is_some(), said.is_some(), "{sudo:?}: {why:?}");
            assert!(why.is_none_or(|why| why.contains(said.unwrap()) && why.contains("--remote-unprivileged")));
        }
    }

    #[test]
    fn the_other_end_gets_what_concerns_it() {
        let wishes = Wishes { login: Some("hpc".into()), jobs: Some("/shared/a b".into()), ..Wishes::default() };
        let words = arguments(&wishes, Some("ssh-ed25519 AAAA"), Some("192.0.2.7"), false, true);
        let line = words.join(" ");
        assert_eq!(
            line,
            "--account hpc --via rexec --jobs /shared/a b --from 192.0.2.7 --public-key ssh-ed25519 AAAA --dry-run"
        );
        assert_eq!(arguments(&wishes, None, None, true, false).join(" "), "--via rexec --jobs /shared/a b --user");
    }
}
