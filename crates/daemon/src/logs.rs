//! Log lines on stderr, or in a file of our own: logfmt, or JSON on request.
//!
//! Every line has `ts`, `level` and `hop`: the program's own, or the one that the line is about. Further fields have the
//! same names in every program: `pod`, `uid`, `jid`, `session`, `err`. Never a secret.

mod file;
mod lines;

use std::path::Path;
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::exit::Failure;
use file::LogFile;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Errors only (`ErrorsOnlyLogging`).
    Error,
    /// What an operator wants to know.
    #[default]
    Info,
    /// Everything (`VerboseLogging`).
    Debug,
}

impl Level {
    /// The level that the two keys of the existing programs mean; verbose wins.
    #[must_use]
    pub fn from_keys(verbose: bool, errors_only: bool) -> Self {
        match (verbose, errors_only) {
            (true, _) => Self::Debug,
            (false, true) => Self::Error,
            (false, false) => Self::Info,
        }
    }

    /// Our own crates at this level, libraries only from warnings on.
    fn filter(self) -> EnvFilter {
        let level = match self {
            Self::Error => "error",
            Self::Info => "info",
            Self::Debug => "debug",
        };
        let ours = ["api", "ctl", "daemon", "kubelet", "plugin", "supervisor", "transport", "tunnel", "wire"];
        let library = if self == Self::Error { "error" } else { "warn" };
        let directives = ours.iter().fold(library.to_owned(), |all, name| format!("{all},interlink_{name}={level}"));
        EnvFilter::new(directives)
    }
}

/// Changes the level while the program runs.
#[derive(Debug, Clone)]
pub struct LevelHandle(reload::Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// Sets the level from here on.
    pub fn set(&self, level: Level) {
        if let Err(error) = self.0.modify(|filter| *filter = level.filter()) {
            tracing::warn!(err = %error, "the log level could not be changed");
        }
    }
}

/// Starts logging for the program that is the hop `hop`. `INTERLINK_LOG_FORMAT=json` asks for JSON. A second call in one
/// process changes nothing.
pub fn init(hop: &'static str, level: Level) -> LevelHandle {
    start(hop, level, std::io::stderr)
}

/// As [`init`], with the lines in the file at `path` if there is one (`-logfile`). It is made if missing, appended to, and
/// opened again with every SIGHUP ([`open_again`]).
///
/// # Errors
/// [`Failure`] that a person must mend, when the file can't be written to.
pub fn init_to(hop: &'static str, level: Level, path: Option<&Path>) -> Result<LevelHandle, Failure> {
    let Some(path) = path else { return Ok(init(hop, level)) };
    let file = LogFile::open(path).map_err(|err| {
        Failure::config(format!(
            "-logfile {} can't be written to ({err}); give this user the directory, or choose another file",
            path.display()
        ))
    })?;
    let file: &'static LogFile = Box::leak(file);
    // Only the first call counts, as with the subscriber.
    let _ = FILE.set(file);
    Ok(start(hop, level, file))
}

/// The file that lines go to.
static FILE: OnceLock<&'static LogFile> = OnceLock::new();

/// Whether lines go to a file, so that stderr does not have them.
#[must_use]
pub fn in_file() -> bool {
    FILE.get().is_some()
}

/// Opens the log file again, because logrotate has renamed it. On an error lines go where they went before.
pub fn open_again() {
    if let Some(file) = FILE.get()
        && let Err(err) = file.open_again()
    {
        tracing::error!(%err, "the log file {} can't be opened again; lines go where they went before", file.path());
    }
}

fn start<W>(hop: &'static str, level: Level, writer: W) -> LevelHandle
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(level.filter());
    let json = std::env::var("INTERLINK_LOG_FORMAT").is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    let lines = lines_to(hop, json, writer);
    // Fails only when logging is already on, as in tests that start two programs in one process.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    LevelHandle(handle)
}

fn lines_to<S, W>(hop: &'static str, json: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    if json {
        tracing_subscriber::fmt::layer().event_format(lines::Json { hop }).with_writer(writer).boxed()
    } else {
        let logfmt = tracing_logfmt::builder().with_target(false).with_span_name(false).with_span_path(false).layer();
        logfmt.map_event_format(|inner| lines::Logfmt { inner, hop }).with_writer(writer).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Seek};

    use super::*;

    fn written(json: bool) -> Vec<String> {
        let mut file = tempfile::tempfile().unwrap();
        let writer = file.try_clone().unwrap();
        let subscriber = tracing_subscriber::registry().with(lines_to("api", json, std::sync::Mutex::new(writer)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(pod = "n/p", ms = 7, "created = well");
            tracing::warn!(hop = "plugin", "two\nlines");
            tracing::error!(err = %io::Error::other("it \"broke\""));
        });
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_logfmt_line_has_one_hop() {
        let expected = [
            r#"level=info hop=api message="created = well" pod=n/p ms=7"#,
            r#"level=warn message="two\nlines" hop=plugin"#,
            r#"level=error hop=api err="it \"broke\"""#,
        ];
        let lines = written(false);
        let without_time: Vec<&str> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(without_time, expected);
        assert!(lines.iter().all(|line| line.starts_with("ts=20")), "{lines:?}");
    }

    #[test]
    fn json_has_the_same_fields() {
        let lines: Vec<serde_json::Value> = written(true).iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!((lines[0]["level"].as_str(), lines[0]["hop"].as_str()), (Some("info"), Some("api")));
        assert_eq!((lines[0]["message"].as_str(), lines[0]["ms"].as_u64()), (Some("created = well"), Some(7)));
        assert_eq!((lines[1]["hop"].as_str(), lines[1]["message"].as_str()), (Some("plugin"), Some("two\nlines")));
        assert!(lines.iter().all(|l| l["ts"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok()));
    }
}
