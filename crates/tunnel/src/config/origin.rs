//! Where the settings come from: the command line and the file that it names, read again on SIGHUP.

use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory as _;
use interlink_daemon::paths::expand_tilde;
use interlink_daemon::{Failure, flags};

use super::Settings;
use super::file::{self, File};
use super::flags::{Environment, Flags};

/// Keys that make no sense in the file that is being read, or on which no file should decide.
const NOT_IN_FILE: [&str; 4] = ["config", "check", "help", "version"];

/// The command line and the environment of this process.
#[derive(Debug, Clone)]
pub struct Origin {
    args: Vec<OsString>,
    env: Environment,
}

impl Origin {
    /// Of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(std::env::args_os().collect(), Environment::of_process())
    }

    /// `args` begin with the program's name.
    #[must_use]
    pub fn new(args: Vec<OsString>, env: Environment) -> Self {
        Self { args, env }
    }

    /// Whether a file belongs to them.
    #[must_use]
    pub fn has_file(&self) -> bool {
        flags::try_parse::<Flags>(self.args.clone()).is_ok_and(|flags| flags.config.is_some())
    }

    /// Reads the file, if there is one, and puts everything together.
    ///
    /// # Errors
    /// [`Stop`]: [`Stop::Flags`] for what [`flags::exit`] deals with.
    pub fn read(&self) -> Result<Settings, Stop> {
        let flags = flags::try_parse::<Flags>(self.args.clone()).map_err(Stop::Flags)?;
        let Some(path) = flags.config.as_deref().map(expand_tilde) else {
            return flags.settings(&self.env, Vec::new()).map_err(|why| Stop::Failure(Failure::usage(why)));
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|err| Stop::Failure(Failure::config(format!("-config: can't read {}: {err}", path.display()))))?;
        let refused = |why: String| Stop::Failure(Failure::config(format!("{}: {why}", path.display())));
        let command = Flags::command();
        let known: Vec<&str> = command
            .get_arguments()
            .filter_map(clap::Arg::get_long)
            .filter(|name| !NOT_IN_FILE.contains(name))
            .collect();
        let mut file = file::read(&text, &known).map_err(refused)?;
        file.flags.retain(|key, _| !self.args.iter().any(|arg| is_flag(arg, key)));
        let words = file.flags.iter().map(|(key, value)| OsString::from(format!("--{key}={value}")));
        let args = self.args.iter().take(1).cloned().chain(words).chain(self.args.iter().skip(1).cloned());
        let merged = match flags::try_parse::<Flags>(args) {
            Ok(merged) => merged,
            Err(flags::Stop::Mistake(why)) => return Err(refused(placed(&file, &why))),
            Err(print) => return Err(Stop::Flags(print)),
        };
        let forwards = std::mem::take(&mut file.forwards);
        let mut settings = merged.settings(&self.env, forwards).map_err(|why| in_file(&path, &file, &why))?;
        settings.warnings.extend(file.warnings.iter().map(|w| format!("{}: {w}", path.display())));
        Ok(settings)
    }
}

/// Why there are no settings.
#[derive(Debug)]
pub enum Stop {
    /// The command line is wrong, or asks for help.
    Flags(flags::Stop),
    /// What it says, or what the file says, can't be used.
    Failure(Failure),
}

impl Stop {
    /// The sentence for a person.
    #[must_use]
    pub fn sentence(&self) -> &str {
        match self {
            Self::Flags(flags::Stop::Mistake(why) | flags::Stop::Print(why)) => why,
            Self::Failure(failure) => &failure.sentence,
        }
    }
}

fn is_flag(arg: &OsString, name: &str) -> bool {
    let Some(arg) = arg.to_str() else { return false };
    let Some(body) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else { return false };
    body.split_once('=').map_or(body, |(name, _)| name) == name
}

/// A sentence about a flag that came from the file names its place there.
fn in_file(path: &Path, file: &File, why: &str) -> Stop {
    if file.flags.keys().any(|key| mentions(why, key)) {
        return Stop::Failure(Failure::config(format!("{}: {}", path.display(), placed(file, why))));
    }
    Stop::Failure(Failure::usage(why))
}

fn placed(file: &File, why: &str) -> String {
    let key = file.flags.keys().filter(|key| mentions(why, key)).max_by_key(|key| key.len());
    match key.and_then(|key| Some((key, file.lines.get(key)?))) {
        Some((key, line)) => format!("line {line}, key {key}: {why}"),
        None => why.to_owned(),
    }
}

/// Whether a sentence is about the flag `key`: it is its first word, or close to it.
fn mentions(why: &str, key: &str) -> bool {
    let flag = format!("-{key}");
    why.split(|c: char| c.is_whitespace() || "'=<".contains(c))
        .any(|word| word.trim_start_matches('-') == key && word.ends_with(&flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(dir: &tempfile::TempDir, text: &str, args: &[&str]) -> Origin {
        let file = dir.path().join("tunnel.yaml");
        std::fs::write(&file, text).unwrap();
        let args = ["ssh-tunnel", "-config", file.to_str().unwrap()].iter().chain(args).map(OsString::from).collect();
        Origin::new(args, Environment { home: Some("/home/me".into()), ..Environment::default() })
    }

    fn refusal(text: &str, args: &[&str]) -> (u8, String) {
        let dir = tempfile::tempdir().unwrap();
        match origin(&dir, text, args).read() {
            Err(Stop::Failure(failure)) => (failure.code, failure.sentence),
            other => panic!("{other:?}"),
        }
    }

    const BASE: &str = "addr: login:2222\nuser: me\nkeyfile: /key\n";
    const LIST: &str =
        "forwards:\n  - {name: a, lsock: /run/a.sock, rport: 1}\n  - {name: b, lsock: /run/b.sock, rport: 2}\n";

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{BASE}connect-timeout: 3s\nverbose: true\n{LIST}");
        let settings =
            origin(&dir, &text, &["-user=other", "-verbose=false", "--connect-timeout", "4s"]).read().unwrap();
        assert_eq!((settings.server.to_string().as_str(), settings.user.as_str()), ("login:2222", "other"));
        assert_eq!((settings.verbose, settings.connect_timeout.as_secs()), (false, 4));
        let names: Vec<&str> = settings.forwards.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn one_forward_may_be_written_with_the_flags_names() {
        let dir = tempfile::tempdir().unwrap();
        let settings = origin(&dir, &format!("{BASE}lsock: /run/a.sock\n"), &["-rport", "7"]).read().unwrap();
        assert_eq!(settings.forwards.len(), 1);
        assert_eq!(settings.forwards[0].name, "tunnel");
    }

    #[test]
    fn what_is_wrong_in_the_file_is_for_a_person_and_has_its_line() {
        for (text, place) in [
            (format!("{LIST}addr: ssh://x\nuser: me\nkeyfile: /key\n"), "line 4, key addr: -addr ssh://x is a URL"),
            (format!("{BASE}connect-timeout: soon\n{LIST}"), "line 4, key connect-timeout: "),
            (format!("{BASE}connections: 17\n{LIST}"), "line 4, key connections: "),
            (format!("{BASE}verbose: maybe\n{LIST}"), "line 4, key verbose: "),
            (format!("{BASE}forwards:\n  - {{name: a}}\n"), "line 5, "),
        ] {
            let (code, sentence) = refusal(&text, &[]);
            assert!(sentence.contains(place) && sentence.contains("tunnel.yaml"), "{text}: {sentence}");
            assert_eq!(code, 78, "{sentence}");
        }
    }

    #[test]
    fn what_is_wrong_on_the_command_line_is_a_wrong_command_line() {
        let (code, sentence) = refusal(&format!("{BASE}{LIST}"), &["-wait", "soon"]);
        assert_eq!((code, sentence.contains("-wait soon")), (2, true), "{sentence}");
        let (code, sentence) = refusal(&format!("{BASE}{LIST}"), &["-lsock", "/run/c.sock"]);
        assert_eq!(code, 2);
        assert!(sentence.contains("-lsock") && sentence.contains("forwards"), "{sentence}");
        assert!(refusal("user: me\nkeyfile: /key\n", &[]).1.contains("-addr is missing"));
    }
}
