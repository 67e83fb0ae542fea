//! Exit codes, and the frame of every `main`.

use std::fmt;
use std::future::Future;
use std::process::ExitCode;

/// The work could not be done.
pub const FAILED: u8 = 1;
/// The command line is wrong (as Go's flag package and most shells' tools).
pub const USAGE: u8 = 2;
/// A person must mend the configuration: trying again is of no use. `EX_CONFIG` of sysexits(3).
pub const CONFIG: u8 = 78;

/// Why a program ends: a code for the service manager, a sentence for the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// One sentence: cause and remedy.
    pub sentence: String,
}

impl Failure {
    /// The work could not be done; a restart may help.
    pub fn failed(sentence: impl fmt::Display) -> Self {
        Self { code: FAILED, sentence: sentence.to_string() }
    }

    /// The command line is wrong.
    pub fn usage(sentence: impl fmt::Display) -> Self {
        Self { code: USAGE, sentence: sentence.to_string() }
    }

    /// A person must mend the configuration.
    pub fn config(sentence: impl fmt::Display) -> Self {
        Self { code: CONFIG, sentence: sentence.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    /// The whole chain of causes in one line. A [`Failure`] inside keeps its code.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self::failed(format!("{error:#}")),
        }
    }
}

/// Runs `body` on a multi-threaded runtime; a failure becomes one line on stderr and its exit code.
pub fn run<F>(program: &str, body: F) -> ExitCode
where
    F: Future<Output = Result<(), Failure>>,
{
    run_on(tokio::runtime::Builder::new_multi_thread(), program, body)
}

/// As [`run`], on the calling thread alone: for a program whose work is moving bytes from one socket to another, where
/// waking a second thread costs more than it brings.
pub fn run_on_one_thread<F>(program: &str, body: F) -> ExitCode
where
    F: Future<Output = Result<(), Failure>>,
{
    run_on(tokio::runtime::Builder::new_current_thread(), program, body)
}

fn run_on<F>(mut runtime: tokio::runtime::Builder, program: &str, body: F) -> ExitCode
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(program, &Failure::failed(format!("can't start: {error}"))),
    };
    let ended = runtime.block_on(body);
    // Blocking reads of files that never end must not hold the exit.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if crate::logs::in_file() {
                tracing::error!("{failure}");
            }
            report(program, &failure)
        }
    }
}

/// Says why on stderr and gives the exit code.
pub fn report(program: &str, failure: &Failure) -> ExitCode {
    eprintln!("{program}: {}", failure.sentence);
    ExitCode::from(failure.code)
}
