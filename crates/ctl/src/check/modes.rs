//! Whose the files are: a service must not be able to rewrite what it runs, and nobody else may read its secrets.
//!
//! Which files those are is taken from the running programs themselves: what they run, and what their command line and
//! their environment name.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::step::{Id, Step};

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A program, or a configuration: nobody but root may change it.
    Fixed,
    /// A key or a kubeconfig: nobody but the account and root may read it.
    Secret,
}

/// A file of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What it is for.
    pub kind: Kind,
}

/// A running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its hop.
    pub hop: &'static str,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Whether the system's manager runs it, rather than a user's.
    pub of_system: bool,
    /// Its files.
    pub files: Vec<File>,
}

/// Flags and variables that name secrets.
const SECRETS: [&str; 3] = ["-keyfile", "-passphrasefile", "KUBECONFIG="];
/// Those that name configurations.
const FIXED: [&str; 4] = ["-config", "-SlurmConfigpath", "INTERLINKCONFIGPATH=", "PLUGIN_CONFIG="];

/// Reads what the kernel says of a process; `None` where this user may not know.
#[must_use]
pub fn process(hop: &'static str, pid: u32) -> Option<Process> {
    let proc = Path::new("/proc").join(pid.to_string());
    let metadata = std::fs::metadata(&proc).ok()?;
    let words = |file: &str| {
        let text = std::fs::read(proc.join(file)).unwrap_or_default();
        text.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>()
    };
    let mut files = vec![File { path: std::fs::read_link(proc.join("exe")).ok()?, kind: Kind::Fixed }];
    files.extend(named(&words("cmdline"), &words("environ")));
    let group = std::fs::read_to_string(proc.join("cgroup")).unwrap_or_default();
    let of_system = group.contains("system.slice/") && !group.contains("user.slice");
    Some(Process { hop, uid: metadata.uid(), gid: metadata.gid(), of_system, files })
}

/// The files that a command line and an environment name.
fn named(args: &[String], environment: &[String]) -> Vec<File> {
    let mut files = Vec::new();
    for (kind, names) in [(Kind::Secret, &SECRETS[..]), (Kind::Fixed, &FIXED[..])] {
        for name in names {
            let found = match name.strip_suffix('=') {
                Some(_) => environment.iter().find_map(|variable| variable.strip_prefix(name)).map(str::to_owned),
                None => flag(args, name),
            };
            files.extend(found.map(PathBuf::from).filter(|path| path.is_absolute()).map(|path| File { path, kind }));
        }
    }
    files
}

/// `-flag value`, `--flag value`, `-flag=value`.
pub(super) fn flag(args: &[String], name: &str) -> Option<String> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(rest) = arg.strip_prefix('-').map(|arg| arg.strip_prefix('-').unwrap_or(arg)) else { continue };
        let Some(rest) = rest.strip_prefix(&name[1..]) else { continue };
        match rest.strip_prefix('=') {
            Some(value) => return Some(value.to_owned()),
            None if rest.is_empty() => return args.next().cloned(),
            None => {}
        }
    }
    None
}

/// Owner, group and mode of a file or directory.
#[derive(Debug, Clone, Copy)]
struct Held {
    uid: u32,
    gid: u32,
    mode: u32,
}

fn held(path: &Path) -> Option<Held> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Held { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() & 0o7777 })
}

/// Judges the files of `processes`; one step, or one for each file that is not as it should be.
#[must_use]
pub fn judge(processes: &[Process]) -> Vec<Step> {
    if processes.is_empty() {
        return Vec::new();
    }
    let mut steps: Vec<Step> = Vec::new();
    for process in processes {
        for file in &process.files {
            let Some(own) = held(&file.path) else { continue };
            // Who may rename a directory on the way replaces what is in it.
            let above: Vec<_> =
                file.path.ancestors().skip(1).filter_map(|dir| Some((dir.display().to_string(), held(dir)?))).collect();
            let Some((cause, remedy)) = amiss(process, file, own, &above) else { continue };
            let step = Step::warned(Id::Modes, process.hop, cause, remedy);
            if !steps.iter().any(|other| other.verdict == step.verdict) {
                steps.push(step);
            }
        }
    }
    if steps.is_empty() {
        let seen = "no program can change itself or its configuration, and no other user reads its secrets";
        // Programs of a user are that user's, whatever their mode.
        let seen = if processes.iter().all(|p| p.of_system) {
            seen
        } else {
            "no other user changes programs or reads secrets"
        };
        steps.push(Step::good(Id::Modes, "chain", seen));
    }
    steps
}

fn amiss(process: &Process, file: &File, own: Held, above: &[(String, Held)]) -> Option<(String, String)> {
    let path = file.path.display();
    if file.kind == Kind::Secret {
        // Root's, and lent to the service by its group.
        let lent = own.uid == 0 && process.uid != 0 && own.gid == process.gid;
        let open = own.mode & if lent { 0o037 } else { 0o077 };
        return (open != 0).then(|| {
            (
                format!("{path} is a secret, but other users may use it (mode {:04o})", own.mode),
                format!("run chmod 600 {path}"),
            )
        });
    }
    for (place, held) in std::iter::once((path.to_string(), own)).chain(above.iter().cloned()) {
        // In a directory with the sticky bit only owners replace files.
        let sticky = held.mode & 0o1000 != 0;
        if held.mode & 0o002 != 0 && !sticky {
            return Some((
                format!("every user of this machine can change {place} (mode {:04o})", held.mode),
                format!("run chmod o-w {place}"),
            ));
        }
        let by_group = held.gid == process.gid && held.mode & 0o020 != 0 && !sticky;
        if process.of_system && process.uid != 0 && (held.uid == process.uid || by_group) {
            return Some((
                format!(
                    "the service can rewrite {place}, which it runs or is configured by (owner {}, mode {:04o})",
                    held.uid, held.mode
                ),
                format!("run chown root: {place} and chmod go-w {place}"),
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn files_are_found_by_flags_and_variables() {
        let args = words("ssh-tunnel -addr x -keyfile /k --SlurmConfigpath=/h -config relative");
        let environment = words("PATH=/bin KUBECONFIG=/kc");
        let found: Vec<String> =
            named(&args, &environment).iter().map(|file| format!("{:?} {}", file.kind, file.path.display())).collect();
        assert_eq!(found, ["Secret /k", "Secret /kc", "Fixed /h"]);
        let own = process("api", std::process::id()).unwrap();
        assert_eq!(own.files[0].path, std::env::current_exe().unwrap());
        assert!(!own.of_system);
    }

    #[test]
    fn what_a_service_or_a_stranger_could_change_is_named() {
        let (service, user) = (998, 1000);
        let root = |mode| Held { uid: 0, gid: 998, mode };
        let ours = |mode| Held { uid: service, gid: 998, mode };
        let cases = [
            (true, Kind::Fixed, root(0o755), root(0o755), None),
            (true, Kind::Fixed, root(0o640), root(0o750), None),
            (true, Kind::Fixed, ours(0o755), root(0o755), Some("the service can rewrite /o/bin/x")),
            (true, Kind::Fixed, root(0o755), ours(0o755), Some("the service can rewrite /o/bin,")),
            (true, Kind::Fixed, root(0o664), root(0o755), Some("the service can rewrite /o/bin/x")),
            (false, Kind::Fixed, ours(0o755), ours(0o755), None),
            (false, Kind::Fixed, ours(0o757), ours(0o755), Some("every user of this machine can change /o/bin/x")),
            (true, Kind::Fixed, root(0o755), root(0o757), Some("every user of this machine can change /o/bin ")),
            (true, Kind::Fixed, root(0o755), root(0o1777), None),
            (true, Kind::Fixed, root(0o755), ours(0o1755), Some("the service can rewrite /o/bin,")),
            (true, Kind::Secret, ours(0o600), ours(0o700), None),
            (false, Kind::Secret, ours(0o640), ours(0o700), Some("/o/bin/x is a secret")),
            (true, Kind::Secret, root(0o640), root(0o750), None),
            (true, Kind::Secret, root(0o644), root(0o750), Some("/o/bin/x is a secret")),
        ];
        for (of_system, kind, own, dir, expected) in cases {
            let uid = if of_system { service } else { user };
            let process = Process { hop: "api", uid, gid: 998, of_system, files: Vec::new() };
            let file = File { path: "/o/bin/x".into(), kind };
            let above = [("/o/bin".to_owned(), dir), ("/o".to_owned(), root(0o755)), ("/tmp".to_owned(), root(0o1777))];
            let found = amiss(&process, &file, own, &above).map(|(cause, _)| cause);
            assert_eq!(found.is_some(), expected.is_some(), "{own:?} {dir:?}: {found:?}");
            assert!(found.is_none_or(|cause| cause.contains(expected.unwrap())));
        }
    }

    #[test]
    fn a_file_is_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let files = vec![File { path: path.clone(), kind: Kind::Secret }; 2];
        let process = Process { hop: "tunnel", uid: 1, gid: 1, of_system: false, files };
        let steps = judge(&[process.clone(), process.clone()]);
        assert_eq!(steps.len(), 1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(judge(&[process])[0].verdict, super::super::step::Verdict::Good(_)));
        assert!(judge(&[]).is_empty());
    }
}
