//! Finding the program and becoming it.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Spec, StartFailure};

/// Goes to the container's working directory.
pub(super) fn change_directory(working_dir: Option<&str>) -> Result<(), StartFailure> {
    let directory = Path::new("/").join(working_dir.unwrap_or_default());
    std::env::set_current_dir(&directory).map_err(|error| {
        StartFailure::setup(format!(
            "workingDir {directory:?} cannot be entered on the node: {error}; it must exist there or be in a volume"
        ))
    })
}

/// Becomes the program; returns why not.
pub(super) fn execute(spec: &Spec) -> StartFailure {
    let Some(name) = spec.argv.first() else {
        return StartFailure::setup("the command is empty; give the container a command");
    };
    let path = match find(name, &search_path(spec), &spec.origin) {
        Ok(path) => path,
        Err(failure) => return failure,
    };
    // std restores what Rust programs change for themselves: SIGPIPE and the signal mask
    let mut command = Command::new(&path);
    command.arg0(name).args(&spec.argv[1..]);
    if let Some(env) = &spec.env {
        command.env_clear().envs(env.iter().map(|(n, v)| (n, v)));
    }
    let error = command.exec();
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound => StartFailure::not_found(format!(
            "program {shown}: the interpreter in its first line or its loader is not {}",
            spec.origin
        )),
        ErrorKind::PermissionDenied => {
            StartFailure::not_executable(format!("program {shown} may not be executed: {error}"))
        }
        ErrorKind::ArgumentListTooLong => StartFailure::setup(format!(
            "program {shown} cannot be started: its arguments and environment are too large for the kernel"
        )),
        _ => StartFailure::not_executable(format!("program {shown} cannot be executed: {error}")),
    }
}

fn search_path(spec: &Spec) -> String {
    match &spec.env {
        Some(env) => {
            env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone()).unwrap_or_default()
        }
        None => std::env::var("PATH").unwrap_or_default(),
    }
}

/// The file to execute for a program's name, as execvp(3) looks it up.
fn find(name: &str, search_path: &str, origin: &str) -> Result<PathBuf, StartFailure> {
    if name.contains('/') {
        return match verdict(Path::new(name)) {
            Verdict::Executable => Ok(PathBuf::from(name)),
            Verdict::Missing => Err(StartFailure::not_found(format!("program {name:?} is not {origin}"))),
            Verdict::Unfit(why) => Err(StartFailure::not_executable(format!("program {name:?} {why}"))),
        };
    }
    let mut unfit = None;
    for directory in search_path.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match verdict(&candidate) {
            Verdict::Executable if !name.is_empty() => return Ok(candidate),
            Verdict::Unfit(why) if !name.is_empty() => {
                unfit.get_or_insert_with(|| format!("program {:?} {why}", candidate.display().to_string()));
            }
            _ => {}
        }
    }
    Err(match unfit {
        Some(message) => StartFailure::not_executable(message),
        None => StartFailure::not_found(format!("program {name:?} is not {origin} (PATH is {search_path:?})")),
    })
}

enum Verdict {
    Executable,
    Missing,
    Unfit(&'static str),
}

fn verdict(path: &Path) -> Verdict {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Verdict::Unfit("is a directory"),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Verdict::Unfit("is not executable"),
        // whether *we* may execute it is the kernel's to say
        Ok(_) => Verdict::Executable,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Verdict::Unfit("may not be reached by this account")
        }
        Err(_) => Verdict::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_the_shell_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        for (name, mode) in
            [("a/tool", 0o755), ("b/tool", 0o755), ("a/text", 0o644), ("b/text", 0o755), ("a/only-text", 0o644)]
        {
            std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(name), "").unwrap();
            std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let path = format!("{}:{}", at("a"), at("b"));
        let cases: [(String, Result<String, i32>); 9] = [
            ("tool".into(), Ok(at("a/tool"))),
            ("text".into(), Ok(at("b/text"))),
            (at("b/tool"), Ok(at("b/tool"))),
            ("only-text".into(), Err(126)),
            (at("a/text"), Err(126)),
            (at("a"), Err(126)),
            ("none".into(), Err(127)),
            (at("none"), Err(127)),
            (String::new(), Err(127)),
        ];
        for (name, expected) in cases {
            let found = find(&name, &path, "on the node").map(|p| p.display().to_string()).map_err(|f| f.exit_code);
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_missing_program_is_named_with_the_path_that_was_searched() {
        let failure = find("none", "/x:/y", "on the node").unwrap_err();
        assert_eq!(failure.message, r#"program "none" is not on the node (PATH is "/x:/y")"#);
    }
}
