//! The documents of a manifest: YAML or JSON, one or many, a `List` taken apart.

use interlink_wire::Object;
use serde_json::Value;

/// Why a manifest can't be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Neither YAML nor JSON.
    #[error("the manifest is not YAML: {0}")]
    Yaml(String),
    /// A document that is a list or a plain value.
    #[error("document {0} of the manifest is not an object with kind, metadata and spec")]
    NotAnObject(usize),
    /// An object without a kind.
    #[error("document {0} of the manifest has no kind; write kind: Pod, ConfigMap or Secret")]
    NoKind(usize),
    /// A kind that is not run.
    #[error("kind {0:?} can't be run; a manifest has one Pod and the ConfigMaps and Secrets that it names")]
    Kind(String),
    /// No Pod, or several.
    #[error("the manifest has {}; it must have exactly one", match .0 { 0 => "no Pod".to_owned(), n => format!("{n} Pods") })]
    Pods(usize),
    /// A name that Kubernetes would refuse.
    #[error(
        "{field} {value:?} is not a Kubernetes name; use a-z, 0-9 and -, beginning and ending with a letter or digit"
    )]
    Name {
        /// Where.
        field: &'static str,
        /// What is there.
        value: String,
    },
    /// A Pod whose fields don't fit.
    #[error("the {0}")]
    Pod(String),
    /// A Secret whose fields don't fit; its words are not repeated.
    #[error("Secret {0:?}: stringData must map keys to text")]
    Secret(String),
}

/// Reads the documents of `text`; empty ones are skipped.
///
/// # Errors
/// [`ManifestError`] with the place.
pub fn documents(text: &str) -> Result<Vec<Object>, ManifestError> {
    // Kubernetes reads file modes such as 0440 as octal numbers.
    let mut options = serde_saphyr::options! { legacy_octal_numbers: true };
    options.with_snippet = false;
    let values: Result<Vec<Value>, _> = serde_saphyr::from_multiple_with_options(text, options);
    let values = values.map_err(|e| ManifestError::Yaml(one_line(&e.to_string())))?;
    let mut objects = Vec::new();
    for (i, value) in values.into_iter().enumerate() {
        let object = Object::from_value(value).ok_or(ManifestError::NotAnObject(i + 1))?;
        let kind = object.fields().get("kind").and_then(Value::as_str).unwrap_or_default();
        match (kind, object.fields().get("items")) {
            ("", _) => return Err(ManifestError::NoKind(i + 1)),
            (kind, Some(Value::Array(items))) if kind.ends_with("List") => {
                let items = items.iter().cloned().map(Object::from_value).collect::<Option<Vec<_>>>();
                objects.extend(items.ok_or(ManifestError::NotAnObject(i + 1))?);
            }
            _ => objects.push(object),
        }
    }
    Ok(objects)
}

/// The first line: what follows is a picture of the place.
fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}
