//! Tolerant reading of the contract's envelopes.
//!
//! Peers are written with Go's decoder (keys match in any case, `null` is the zero value), with Python models
//! (snake_case keys, explicit `null`s, numbers for strings) and by hand. A [`Shape`] says what an envelope looks like;
//! [`fold`] brings a value into that shape before serde sees it, so the types themselves stay strict.
//! Kubernetes objects inside are [`Shape::Raw`] and never touched: their keys are case-sensitive.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Why a body is not what the contract says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not valid: {why}")]
pub struct DecodeError {
    what: &'static str,
    why: String,
}

impl DecodeError {
    /// An error about `what` (the body's name) with the reason `why`.
    pub fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}

/// How a value is brought into form.
#[derive(Debug)]
pub enum Shape {
    /// Left as it is.
    Raw,
    /// A string; numbers and booleans are written out.
    Text,
    /// An integer; a string of digits is read.
    Int,
    /// A boolean; `"true"`, `"false"`, 0 and 1 are read.
    Bool,
    /// An RFC 3339 time; sloppy forms are read, unreadable ones dropped.
    Time,
    /// An object with these fields; others stay.
    Object(&'static [(&'static str, &'static Shape)]),
    /// A list of one shape. A single object counts as a list of one.
    List(&'static Shape),
}

/// A body of the contract.
pub trait Envelope: DeserializeOwned {
    /// Its name in errors.
    const WHAT: &'static str;
    /// Its form.
    const SHAPE: Shape;

    /// Reads a body.
    ///
    /// # Errors
    /// [`DecodeError`] in one sentence: not JSON, or the field that does not fit.
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(Self::WHAT, body)?;
        Self::from_value(value)
    }

    /// Reads a body that is already JSON.
    ///
    /// # Errors
    /// [`DecodeError`] names the field that does not fit.
    fn from_value(value: Value) -> Result<Self, DecodeError> {
        let folded = fold(value, &Self::SHAPE).ok_or_else(|| DecodeError::new(Self::WHAT, "it is null"))?;
        typed(Self::WHAT, folded)
    }

    /// Reads a list of bodies: a list, one object, `null` or nothing at all.
    ///
    /// # Errors
    /// [`DecodeError`] when it is none of these, or an element does not fit.
    fn decode_list(body: &[u8]) -> Result<Vec<Self>, DecodeError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Vec::new());
        }
        match parse(Self::WHAT, body)? {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items.into_iter().filter(|i| !i.is_null()).map(Self::from_value).collect(),
            one @ Value::Object(_) => Ok(vec![Self::from_value(one)?]),
            _ => Err(DecodeError::new(Self::WHAT, "expected a list of objects")),
        }
    }
}

/// Parses JSON, with the place of the mistake but none of the content (it may be secret).
///
/// # Errors
/// [`DecodeError`] with line and column.
pub fn parse(what: &'static str, body: &[u8]) -> Result<Value, DecodeError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(DecodeError::new(what, "the body is empty, expected JSON"));
    }
    serde_json::from_slice(body)
        .map_err(|e| DecodeError::new(what, format!("not JSON at line {} column {}", e.line(), e.column())))
}

/// Reads `value` as a `T`.
///
/// # Errors
/// [`DecodeError`] about `what` names the field that does not fit, and what would.
pub fn typed<T: DeserializeOwned>(what: &'static str, value: Value) -> Result<T, DecodeError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (field, why) = (error.path().to_string(), without_values(&error.inner().to_string()));
        DecodeError::new(what, if field == "." { why } else { format!("{field}: {why}") })
    })
}

/// serde's words without the value that does not fit (it may be secret): `invalid type: string "…", expected a map`.
fn without_values(words: &str) -> String {
    match words.rsplit_once(", expected ") {
        Some((found, right)) => {
            let kind = found.split(['"', '`']).next().unwrap_or(found).trim_end();
            format!("{kind}, expected {right}")
        }
        None => words.to_owned(),
    }
}

/// Brings `value` into `shape`; `None` where it is null or (for times) unreadable.
#[must_use]
pub fn fold(value: Value, shape: &Shape) -> Option<Value> {
    match (shape, value) {
        (_, Value::Null) => None,
        (Shape::Text, Value::Number(n)) => Some(Value::String(n.to_string())),
        (Shape::Text, Value::Bool(b)) => Some(Value::String(b.to_string())),
        (Shape::Int, Value::String(s)) => Some(s.trim().parse::<i64>().map_or(Value::String(s), Value::from)),
        (Shape::Int, Value::Number(n)) => Some(whole(&n).map_or(Value::Number(n), Value::from)),
        (Shape::Bool, Value::String(s)) => match s.as_str() {
            "true" | "True" | "1" => Some(Value::Bool(true)),
            "false" | "False" | "0" | "" => Some(Value::Bool(false)),
            _ => Some(Value::String(s)),
        },
        (Shape::Bool, Value::Number(n)) => Some(Value::Bool(n.as_f64() != Some(0.0))),
        (Shape::Time, value) => time(&value).map(Value::String),
        (Shape::Object(fields), Value::Object(map)) => Some(Value::Object(fold_object(map, fields))),
        (Shape::List(inner), Value::Array(items)) => {
            Some(Value::Array(items.into_iter().filter_map(|i| fold(i, inner)).collect()))
        }
        (Shape::List(inner), one @ Value::Object(_)) => Some(Value::Array(fold(one, inner).into_iter().collect())),
        (_, value) => Some(value),
    }
}

fn fold_object(map: Map<String, Value>, fields: &[(&'static str, &'static Shape)]) -> Map<String, Value> {
    let mut out = Map::new();
    let mut inexact = Vec::new();
    for (key, value) in map {
        match fields.iter().find(|(name, _)| *name == key) {
            Some((name, shape)) => {
                if let Some(value) = fold(value, shape) {
                    out.insert((*name).to_owned(), value);
                }
            }
            None => inexact.push((key, value)),
        }
    }
    // An exactly spelt key wins over one that only matches when case and underscores are ignored.
    for (key, value) in inexact {
        match fields.iter().find(|(name, _)| plain(name) == plain(&key)) {
            Some((name, shape)) if !out.contains_key(*name) => {
                if let Some(value) = fold(value, shape) {
                    out.insert((*name).to_owned(), value);
                }
            }
            Some(_) => {}
            None => {
                out.insert(key, value);
            }
        }
    }
    out
}

/// A key without its case and underscores: `exit_code`, `ExitCode` and `exitCode` are one.
fn plain(key: &str) -> String {
    key.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

fn whole(n: &serde_json::Number) -> Option<i64> {
    n.as_i64().or_else(|| {
        let float = n.as_f64()?;
        // Python writes 1.0 where Go wants 1; the range check makes the cast exact.
        #[allow(clippy::cast_possible_truncation)]
        (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
    })
}

/// Times as peers write them: RFC 3339, without a zone (taken as UTC), with a blank for the `T`, or seconds since 1970.
fn time(value: &Value) -> Option<String> {
    let timestamp = match value {
        Value::String(s) => {
            let text = s.trim();
            text.parse::<jiff::Timestamp>().ok().or_else(|| {
                let civil = text.trim_end_matches('Z').parse::<jiff::civil::DateTime>().ok()?;
                jiff::tz::Offset::UTC.to_timestamp(civil).ok()
            })?
        }
        Value::Number(n) => jiff::Timestamp::from_second(whole(n)?).ok()?,
        _ => return None,
    };
    // Go's zero time means "unset".
    (timestamp.as_second() > -62_135_596_800).then(|| timestamp.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SHAPE: Shape = Shape::Object(&[
        ("PodUID", &Shape::Text),
        ("exitCode", &Shape::Int),
        ("ready", &Shape::Bool),
        ("startedAt", &Shape::Time),
        ("list", &Shape::List(&Shape::Object(&[("name", &Shape::Text)]))),
        ("pod", &Shape::Raw),
    ]);

    #[test]
    fn values_are_brought_into_shape() {
        let cases = [
            ("any case", json!({"poduid": "u"}), json!({"PodUID": "u"})),
            ("snake case", json!({"pod_uid": "u", "exit_code": 3}), json!({"PodUID": "u", "exitCode": 3})),
            ("exact spelling wins", json!({"poduid": "x", "PodUID": "u"}), json!({"PodUID": "u"})),
            ("null is absent", json!({"PodUID": null, "list": null}), json!({})),
            ("number for text", json!({"PodUID": 7}), json!({"PodUID": "7"})),
            ("text for number", json!({"exitCode": "7"}), json!({"exitCode": 7})),
            ("float for integer", json!({"exitCode": 1.0}), json!({"exitCode": 1})),
            ("text for boolean", json!({"ready": "True"}), json!({"ready": true})),
            ("one for a list", json!({"list": {"Name": "a"}}), json!({"list": [{"name": "a"}]})),
            ("nulls in a list", json!({"list": [null, {"name": "a"}]}), json!({"list": [{"name": "a"}]})),
            ("raw keys stay", json!({"Pod": {"Metadata": null}}), json!({"pod": {"Metadata": null}})),
            ("unknown keys stay", json!({"more": {"A": 1}}), json!({"more": {"A": 1}})),
            (
                "time with fraction",
                json!({"startedAt": "2026-07-14T09:47:52.5Z"}),
                json!({"startedAt": "2026-07-14T09:47:52.5Z"}),
            ),
            (
                "time without zone",
                json!({"startedAt": "2026-07-14T09:47:52"}),
                json!({"startedAt": "2026-07-14T09:47:52Z"}),
            ),
            (
                "time with blank",
                json!({"startedAt": "2026-07-14 09:47:52"}),
                json!({"startedAt": "2026-07-14T09:47:52Z"}),
            ),
            ("time as seconds", json!({"startedAt": 1_752_486_472}), json!({"startedAt": "2025-07-14T09:47:52Z"})),
            ("Go's zero time", json!({"startedAt": "0001-01-01T00:00:00Z"}), json!({})),
            ("unreadable time", json!({"startedAt": "yesterday"}), json!({})),
        ];
        for (name, from, to) in cases {
            assert_eq!(fold(from, &SHAPE), Some(to), "{name}");
        }
    }

    #[test]
    fn broken_json_is_located_but_not_quoted() {
        let error = parse("create request", b"{\"secret\": hunter2}").unwrap_err().to_string();
        assert_eq!(error, "create request is not valid: not JSON at line 1 column 12");
        assert!(parse("create request", b"  ").unwrap_err().to_string().contains("empty"));
    }
}
