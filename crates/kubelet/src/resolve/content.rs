//! What is inside a ConfigMap or Secret.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use interlink_wire::Object;
use serde_json::Value;

use super::unresolved::Problem;

/// The bytes of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    Binary(Vec<u8>),
}

impl Content {
    fn of(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|e| Self::Binary(e.into_bytes()), Self::Text)
    }

    /// As a variable's value: environments hold text without NUL.
    pub(super) fn into_env(self) -> Result<String, Problem> {
        match self {
            Self::Text(text) if !text.contains('\0') => Ok(text),
            _ => Err(Problem::passing("the value is not text, so it can't be in a variable; mount it as a volume")),
        }
    }
}

/// The text of a ConfigMap (`data`), by key.
pub(super) fn config_map_text(object: &Object) -> BTreeMap<String, String> {
    strings(object, "data").map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// All of a ConfigMap: `data` and `binaryData`, by key.
pub(super) fn config_map(object: &Object) -> Result<BTreeMap<String, Content>, Problem> {
    let mut all: BTreeMap<_, _> =
        config_map_text(object).into_iter().map(|(key, text)| (key, Content::Text(text))).collect();
    for (key, text) in strings(object, "binaryData") {
        all.insert(key.to_owned(), Content::of(decoded("ConfigMap", object, key, text)?));
    }
    Ok(all)
}

/// All of a Secret, by key.
pub(super) fn secret(object: &Object) -> Result<BTreeMap<String, Content>, Problem> {
    strings(object, "data")
        .map(|(key, text)| Ok((key.to_owned(), Content::of(decoded("Secret", object, key, text)?))))
        .collect()
}

/// Base64, as in `binaryData` and in a Secret's `data`.
pub(super) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn strings<'a>(object: &'a Object, field: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map = object.fields().get(field).and_then(Value::as_object);
    // An explicit null is an empty value, as for Go.
    map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or("")))
}

fn decoded(kind: &str, object: &Object, key: &str, text: &str) -> Result<Vec<u8>, Problem> {
    let plain: String = text.split_ascii_whitespace().collect();
    STANDARD
        .decode(plain)
        .map_err(|_| Problem::passing(format!("key {key:?} of {kind} {:?} is not base64", object.name())))
}
