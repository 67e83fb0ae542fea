//! The two forms of a log line. In both, every line has `ts`, `level` and `hop`.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Whether a line is about another hop than the program's own, and says so itself.
fn names_its_hop(event: &Event<'_>) -> bool {
    event.metadata().fields().field("hop").is_some()
}

/// logfmt as `inner` writes it, with the program's hop behind the level.
#[derive(Debug)]
pub(super) struct Logfmt<F> {
    /// Writes the rest of the line: `ts=… level=… …`.
    pub inner: F,
    /// The program's hop.
    pub hop: &'static str,
}

impl<S, N, F> FormatEvent<S, N> for Logfmt<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if names_its_hop(event) {
            return self.inner.format_event(ctx, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        // Neither time nor level has a blank: the second one ends the level.
        let level_end = line.match_indices(' ').nth(1).map_or(line.trim_end().len(), |(at, _)| at);
        let (head, tail) = line.split_at(level_end);
        write!(writer, "{head} hop={}{tail}", self.hop)
    }
}

/// One JSON object a line, with the same fields.
#[derive(Debug)]
pub(super) struct Json {
    /// The program's hop.
    pub hop: &'static str,
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        fields.put("ts", jiff::Timestamp::now().to_string());
        fields.put("level", event.metadata().level().as_str().to_ascii_lowercase());
        fields.put("hop", self.hop);
        event.record(&mut fields);
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

/// An event's fields as JSON values; the last of a name counts.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }
}
