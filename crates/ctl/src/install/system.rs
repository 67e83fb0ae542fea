//! The system's own tools, each with a time limit and never through a shell.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// For a tool that only looks or writes a file.
pub const QUICK: Duration = Duration::from_secs(30);
/// For one that waits for a service or a batch system.
pub const PATIENT: Duration = Duration::from_secs(150);

/// What a tool said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Whether it succeeded.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// The words that tell a person why it failed, in one line.
    #[must_use]
    pub fn why(&self) -> String {
        let text = if self.err.trim().is_empty() { &self.out } else { &self.err };
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() { format!("it ended with {:?}", self.code) } else { words }
    }
}

/// Runs a tool to its end, whatever comes of it.
///
/// # Errors
/// One sentence when it can't be started or takes longer than `limit`.
pub async fn run<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
    limit: Duration,
) -> Result<Said, String> {
    with_input(program, args, "", limit).await
}

/// The same, with words on its standard input.
///
/// # Errors
/// As [`run`].
pub async fn with_input<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
    input: &str,
    limit: Duration,
) -> Result<Said, String> {
    let mut command = Command::new(program);
    command.args(args).env("LC_ALL", "C").env("PATH", path()).kill_on_drop(true);
    // without a login session, as after sudo or ssh, systemctl --user does not find it itself
    let own = format!("/run/user/{}", nix::unistd::geteuid());
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::path::Path::new(&own).is_dir() {
        command.env("XDG_RUNTIME_DIR", own);
    }
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{program} can't be started: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // one that ends without reading says more itself than a broken pipe
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let ended = tokio::time::timeout(limit, child.wait_with_output()).await;
    let output = ended
        .map_err(|_| format!("{program} did not end within {} s", limit.as_secs()))?
        .map_err(|e| format!("{program}: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}

/// Runs a tool that must succeed, and returns its standard output.
///
/// # Errors
/// One sentence with what it said.
pub async fn must<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
    limit: Duration,
) -> Result<String, String> {
    let args: Vec<S> = args.into_iter().collect();
    let first = args.first().map(|arg| arg.as_ref().to_string_lossy().into_owned()).unwrap_or_default();
    let said = run(program, args, limit).await?;
    if said.ok() { Ok(said.out) } else { Err(format!("{program} {first} failed: {}", said.why())) }
}

/// Whether a tool is there.
#[must_use]
pub fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Where a tool is.
#[must_use]
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&path()).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// An operator's `PATH` need not have the administrator's folders.
fn path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{own}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
}
