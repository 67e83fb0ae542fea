//! Command lines in Go's style, as the existing programs take them.
//!
//! Go's flag package knows `-name value`, `-name=value` and the same with two dashes; booleans may say `=true` or
//! `=false`. [`go_style`] rewrites the flags that the command knows to what clap reads; everything else stays.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{ArgAction, Command, CommandFactory, FromArgMatches};

use crate::exit::USAGE;

/// Reads this process's command line. Ends the process on `--help` and `--version` (0) and on mistakes (2, one sentence).
#[must_use]
pub fn parse<T: CommandFactory + FromArgMatches>() -> T {
    match try_parse(std::env::args_os()) {
        Ok(args) => args,
        Err(stopped) => std::process::exit(tell(T::command().get_name(), &stopped).into()),
    }
}

/// Says on behalf of `program` what [`parse`] would say, and gives the exit code.
#[must_use]
pub fn tell(program: &str, stop: &Stop) -> u8 {
    match stop {
        Stop::Print(text) => {
            print!("{text}");
            0
        }
        Stop::Mistake(sentence) => {
            eprintln!("{program}: {sentence}");
            USAGE
        }
    }
}

/// Why there are no arguments to go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Help or version was asked for.
    Print(String),
    /// The command line is wrong: one sentence.
    Mistake(String),
}

/// Reads a command line; the first item is the program's name.
///
/// # Errors
/// [`Stop`].
pub fn try_parse<T: CommandFactory + FromArgMatches>(args: impl IntoIterator<Item = OsString>) -> Result<T, Stop> {
    let command = T::command();
    let name = command.get_name().to_owned();
    let args = go_style(&command, args.into_iter().collect());
    let read = command.try_get_matches_from(args).and_then(|matches| T::from_arg_matches(&matches));
    read.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Stop::Print(error.to_string())
        }
        _ => Stop::Mistake(sentence(&error.to_string(), &name)),
    })
}

/// clap's message without its tips and usage block, on one line.
fn sentence(message: &str, name: &str) -> String {
    let body = message.split("\n\n").next().unwrap_or(message);
    let line = body.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{line}; see {name} --help")
}

/// Rewrites Go's spellings of the flags that `command` (or one of its subcommands) knows.
#[must_use]
pub fn go_style(command: &Command, args: Vec<OsString>) -> Vec<OsString> {
    let mut literal = false;
    let mut out = Vec::with_capacity(args.len());
    for (index, arg) in args.into_iter().enumerate() {
        literal |= arg == "--";
        match arg.to_str().filter(|_| index > 0 && !literal) {
            Some(text) => out.extend(rewrite(command, text).map(OsString::from)),
            None => out.push(arg),
        }
    }
    out
}

/// `None` where the flag falls away (`-verbose=false`).
fn rewrite(command: &Command, text: &str) -> Option<String> {
    let keep = Some(text.to_owned());
    let Some(body) = text.strip_prefix('-') else { return keep };
    let body = body.strip_prefix('-').unwrap_or(body);
    let (name, value) = body.split_once('=').map_or((body, None), |(n, v)| (n, Some(v)));
    let Some(action) = long_flag(command, name) else {
        // clap would read `-colour` as a bundle of one-letter flags and complain about `-c`.
        let bundle = name.chars().next().is_none_or(|c| !c.is_ascii_alphabetic() || short_flag(command, c));
        return if name.len() > 1 && !bundle { Some(format!("--{body}")) } else { keep };
    };
    if text.starts_with("--") && value.is_none() {
        return keep;
    }
    let switch = matches!(action, ArgAction::SetTrue | ArgAction::Help | ArgAction::Version);
    match value {
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") if switch => Some(format!("--{name}")),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") if switch => None,
        Some(value) => Some(format!("--{name}={value}")),
        None => Some(format!("--{name}")),
    }
}

fn short_flag(command: &Command, letter: char) -> bool {
    command.get_arguments().any(|arg| arg.get_short() == Some(letter))
        || command.get_subcommands().any(|sub| short_flag(sub, letter))
}

fn long_flag<'a>(command: &'a Command, name: &str) -> Option<&'a ArgAction> {
    let named = |arg: &&clap::Arg| {
        arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    };
    let own = command.get_arguments().find(named).map(clap::Arg::get_action);
    own.or_else(|| command.get_subcommands().find_map(|sub| long_flag(sub, name))).or(match name {
        "help" => Some(&ArgAction::Help),
        "version" if command.get_version().is_some() => Some(&ArgAction::Version),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser, PartialEq)]
    #[command(name = "tool", version = "1.2.3")]
    struct Args {
        #[arg(long)]
        addr: Option<String>,
        #[arg(long = "SlurmConfigpath")]
        config: Option<String>,
        #[arg(long)]
        verbose: bool,
        rest: Vec<String>,
    }

    fn read(args: &[&str]) -> Result<Args, Stop> {
        try_parse(std::iter::once("tool").chain(args.iter().copied()).map(OsString::from))
    }

    #[test]
    fn go_spellings_are_understood() {
        let full = Args { addr: Some("h:22".into()), config: None, verbose: true, rest: vec![] };
        for args in [
            &["-addr", "h:22", "-verbose"][..],
            &["-addr=h:22", "-verbose=true"],
            &["--addr", "h:22", "--verbose"],
            &["--addr=h:22", "--verbose=1"],
        ] {
            assert_eq!(read(args).unwrap(), full, "{args:?}");
        }
        assert!(!read(&["-verbose=false"]).unwrap().verbose);
        assert_eq!(read(&["-SlurmConfigpath=/a"]).unwrap().config.as_deref(), Some("/a"));
        assert_eq!(read(&["--", "-addr"]).unwrap().rest, ["-addr"]);
    }

    #[test]
    fn mistakes_are_one_sentence() {
        for args in [&["-unknown"][..], &["--adr", "x"], &["-addr"]] {
            match read(args) {
                Err(Stop::Mistake(sentence)) => {
                    assert!(!sentence.contains('\n') && sentence.ends_with("see tool --help"), "{sentence}");
                }
                other => panic!("{args:?}: {other:?}"),
            }
        }
        assert!(matches!(read(&["-colour=red"]), Err(Stop::Mistake(text)) if text.contains("'--colour'")));
        assert!(matches!(read(&["-version"]), Err(Stop::Print(text)) if text.contains("1.2.3")));
        assert!(matches!(read(&["-help"]), Err(Stop::Print(text)) if text.contains("Usage")));
    }
}
