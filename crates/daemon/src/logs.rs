//! Log lines on stderr: logfmt, or JSON on request.
//!
//! Fields have the same names in every program: `hop`, `pod`, `uid`, `jid`, `session`, `err`. Never a secret.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

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

/// Starts logging. `INTERLINK_LOG_FORMAT=json` asks for JSON. A second call in one process changes nothing.
pub fn init(level: Level) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(level.filter());
    let json = std::env::var("INTERLINK_LOG_FORMAT").is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    let lines = if json {
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
    } else {
        tracing_logfmt::builder().with_target(false).with_span_name(false).layer().with_writer(std::io::stderr).boxed()
    };
    // Fails only when logging is already on, as in tests that start two programs in one process.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    LevelHandle(handle)
}
