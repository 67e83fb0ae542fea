//! Foreign commands: argument vectors, a clean environment, a time limit after which they are killed.
//!
//! Nothing of our own environment reaches them (`NOTIFY_SOCKET`, `LISTEN_FDS`, secrets of a service manager), because a
//! scheduler's client may hand its environment on to the job. The few variables below name programs and accounts.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Variables that foreign commands get, where we have them.
const PASSED_ON: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "SLURM_CONF",
    "KRB5CCNAME",
    "MUNGE_SOCKET",
];

/// The most that is read of a command's output; Slurm lists a job in about 100 bytes.
const OUTPUT_LIMIT: u64 = 64 << 20;

/// What a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error, trimmed. Text here is no failure: sites print warnings.
    pub stderr: String,
}

impl Said {
    /// Whether it ended with 0.
    #[must_use]
    pub fn went_well(&self) -> bool {
        self.code == Some(0)
    }
}

/// Why a command said nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started: certainly nothing was done.
    #[error("{program} can't be started: {cause}")]
    NotStarted {
        /// The program.
        program: String,
        /// Why.
        cause: std::io::Error,
    },
    /// It did not end in time and was killed: what it did is not known.
    #[error("{program} did not answer within {} s", .after.as_secs())]
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        after: Duration,
    },
}

/// The variables for a foreign command.
pub fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// Runs `words` with `args` and waits for its end, at most `limit`.
///
/// `stdin` is what the command inherits as its standard input; without one it reads nothing.
///
/// # Errors
/// [`CommandError`]; an exit code other than 0 is not one.
pub async fn run(
    words: &[String],
    args: &[&str],
    stdin: Option<File>,
    dir: Option<&Path>,
    limit: Duration,
) -> Result<Said, CommandError> {
    let program = words.first().cloned().unwrap_or_default();
    let mut command = Command::new(&program);
    command.args(words.iter().skip(1)).args(args).env_clear().envs(environment());
    let inherits = stdin.is_some();
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A submission goes on when we stop in the middle of it; the lock that it inherits tells the next life.
    command.process_group(0).kill_on_drop(!inherits);
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    let mut child = command.spawn().map_err(|cause| CommandError::NotStarted { program: program.clone(), cause })?;
    drop(command);
    let group = child.id();
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let talk = async {
        let (stdout, stderr) = tokio::join!(read(out.as_mut()), read(err.as_mut()));
        let status = child.wait().await;
        (stdout, stderr, status)
    };
    match tokio::time::timeout(limit, talk).await {
        Ok((stdout, stderr, status)) => {
            Ok(Said { code: status.ok().and_then(|s| s.code()), stdout, stderr: stderr.trim().to_owned() })
        }
        Err(_) => {
            // Wrappers' children too.
            if let Some(pid) = group.and_then(|pid| i32::try_from(pid).ok()) {
                let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
            let _ = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
            Err(CommandError::TimedOut { program, after: limit })
        }
    }
}

async fn read(pipe: Option<&mut (impl AsyncReadExt + Unpin)>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error is still what it said.
        let _ = pipe.take(OUTPUT_LIMIT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        shlex::split(text).unwrap()
    }

    #[tokio::test]
    async fn output_and_code_come_back_and_stdin_is_empty() {
        let said = run(&words("sh -c"), &["cat; echo out; echo warn >&2; exit 3"], None, None, Duration::from_secs(20))
            .await
            .unwrap();
        assert_eq!(said, Said { code: Some(3), stdout: "out\n".into(), stderr: "warn".into() });
    }

    #[tokio::test]
    async fn nothing_of_our_environment_but_the_listed_reaches_it() {
        let said = run(&words("env"), &[], None, None, Duration::from_secs(20)).await.unwrap();
        for line in said.stdout.lines() {
            let name = line.split('=').next().unwrap();
            assert!(PASSED_ON.contains(&name), "{line}");
        }
        assert!(said.stdout.contains("PATH="));
    }

    #[tokio::test]
    async fn what_does_not_end_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", file.display());
        // Long enough for a busy machine to start the shell.
        let error = run(&words("sh -c"), &[&script], None, None, Duration::from_secs(4)).await.unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
        let pid = std::fs::read_to_string(&file).unwrap();
        // A killed process is still listed for a moment, until its new parent has reaped it.
        let mut state = String::new();
        for _ in 0..500 {
            state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the child lives on: {state}");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = run(&words("/nonexistent/sbatch"), &[], None, None, Duration::from_secs(1)).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/sbatch can't be started"), "{error}");
    }
}
