//! From the text of a file to Kubernetes objects, checked. One sentence says what is wrong, with the line.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use interlink_wire::names::{is_config_key, is_dns_label, is_dns_subdomain};
use interlink_wire::{Object, PodExtract};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::defaults;

/// An object of a manifest, with Kubernetes' defaults.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Manifest {
    /// A Pod, without UID; `content` is what its author wrote, in a canonical form.
    Pod {
        object: Object,
        content: String,
    },
    ConfigMap(Object),
    Secret(Object),
}

/// Reads all documents of a file. One that is wrong spoils the file: half a file is not what its author wants.
pub(super) fn read(name: &str, text: &str) -> Result<Vec<Manifest>, String> {
    let documents = if name.ends_with(".json") { json_documents(text) } else { yaml_documents(text) }?;
    let mut manifests = Vec::new();
    for (line, value) in documents {
        for value in flattened(value) {
            manifests.push(manifest(value).map_err(|why| format!("line {line}: {why}"))?);
        }
    }
    Ok(manifests)
}

/// Documents with the line that each begins in.
fn yaml_documents(text: &str) -> Result<Vec<(usize, Value)>, String> {
    let mut chunks: Vec<(usize, String)> = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        // In YAML these end a document wherever they stand at the beginning of a line.
        let marker = ["---", "..."]
            .iter()
            .find_map(|m| line.strip_prefix(m))
            .filter(|r| r.is_empty() || r.starts_with([' ', '\t', '\r']));
        match marker {
            // The line stays, emptied of its marker, so that lines and columns are the file's.
            Some(rest) => chunks.push((index + 1, format!("   {rest}\n"))),
            None => {
                if let Some((_, chunk)) = chunks.last_mut() {
                    chunk.push_str(line);
                    chunk.push('\n');
                }
            }
        }
    }
    let mut documents = Vec::new();
    for (start, chunk) in chunks {
        if chunk.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#') || l.starts_with('%')) {
            continue;
        }
        let mut options = serde_saphyr::options! { legacy_octal_numbers: true };
        options.with_snippet = false;
        let value: Value = serde_saphyr::from_str_with_options(&chunk, options).map_err(|error| {
            let line = error.location().map_or(start, |l| start + usize::try_from(l.line()).unwrap_or(1).max(1) - 1);
            format!("line {line}: not valid YAML: {}", yaml_reason(&error.without_snippet().to_string()))
        })?;
        let blank = chunk.lines().take_while(|l| l.trim().is_empty() || l.trim_start().starts_with('#')).count();
        documents.push((start + blank, value));
    }
    Ok(documents)
}

/// The library's words without its own place, which is counted from the document's beginning.
fn yaml_reason(words: &str) -> String {
    let words = words.lines().next().unwrap_or_default();
    let words = words.split(" at line ").next().unwrap_or(words);
    let words = words.strip_prefix("error: ").unwrap_or(words);
    let words = words.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(words, |(_, tail)| tail);
    words.to_owned()
}

fn json_documents(text: &str) -> Result<Vec<(usize, Value)>, String> {
    let mut documents = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let begin = stream.byte_offset();
        match stream.next() {
            None => return Ok(documents),
            Some(Ok(value)) => {
                let skipped = text[begin..].len() - text[begin..].trim_start().len();
                documents.push((text[..begin + skipped].matches('\n').count() + 1, value));
            }
            Some(Err(error)) => return Err(format!("line {}: not valid JSON: {error}", error.line())),
        }
    }
}

/// The items of a `List`, or the object itself.
fn flattened(value: Value) -> Vec<Value> {
    match value.get("kind").and_then(Value::as_str) {
        Some("List" | "PodList" | "ConfigMapList" | "SecretList") => {
            value.get("items").and_then(Value::as_array).cloned().unwrap_or_default()
        }
        _ => vec![value],
    }
}

fn manifest(value: Value) -> Result<Manifest, String> {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
    if !matches!(kind.as_str(), "Pod" | "ConfigMap" | "Secret") {
        let found =
            if kind.is_empty() { "there is no kind".to_owned() } else { format!("kind {kind:?} is not known here") };
        return Err(format!("{found}; expected kind: Pod, ConfigMap or Secret"));
    }
    if value.get("apiVersion").and_then(Value::as_str) != Some("v1") {
        return Err(format!("{kind}: apiVersion must be \"v1\""));
    }
    let content = value.to_string();
    let mut object = Object::from_value(value).ok_or("it is not an object")?;
    let name = object.name().to_owned();
    if !is_dns_subdomain(&name) {
        return Err(format!("{kind}: metadata.name {name:?} is not valid; use lower-case letters, digits, - and ."));
    }
    let in_object = |why: String| format!("{kind} {name:?}: {why}");
    strings(&object, "/metadata/labels").and_then(|()| strings(&object, "/metadata/annotations")).map_err(in_object)?;
    defaults::metadata(&mut object);
    if !is_dns_label(object.namespace()) {
        return Err(in_object(format!(
            "metadata.namespace {:?} is not valid; use lower-case letters, digits and -",
            object.namespace()
        )));
    }
    match kind.as_str() {
        "ConfigMap" => {
            config_map(&object).map_err(in_object)?;
            Ok(Manifest::ConfigMap(object))
        }
        "Secret" => {
            secret(&mut object).map_err(in_object)?;
            Ok(Manifest::Secret(object))
        }
        _ => {
            defaults::pod(&mut object);
            pod(&object).map_err(in_object)?;
            Ok(Manifest::Pod { object, content })
        }
    }
}

fn config_map(object: &Object) -> Result<(), String> {
    strings(object, "/data")?;
    strings(object, "/binaryData")?;
    keys(object, "data")?;
    keys(object, "binaryData")?;
    base64(object, "binaryData")
}

/// `stringData` becomes part of `data`, as the API server does it.
fn secret(object: &mut Object) -> Result<(), String> {
    strings(object, "/data")?;
    strings(object, "/stringData")?;
    let plain = object.fields_mut().remove("stringData");
    let data = object.fields_mut().entry("data").or_insert_with(|| json!({}));
    if !data.is_object() {
        *data = json!({});
    }
    for (key, text) in plain.as_ref().and_then(Value::as_object).into_iter().flatten() {
        data[key] = json!(STANDARD.encode(text.as_str().unwrap_or("")));
    }
    object.fields_mut().entry("type").or_insert_with(|| json!("Opaque"));
    keys(object, "data")?;
    base64(object, "data")
}

fn map<'a>(object: &'a Object, field: &str) -> Option<&'a Map<String, Value>> {
    object.fields().get(field).and_then(Value::as_object)
}

fn keys(object: &Object, field: &str) -> Result<(), String> {
    let wrong = map(object, field).into_iter().flatten().find(|(key, _)| !is_config_key(key));
    wrong.map_or(Ok(()), |(key, _)| Err(format!("{field} has the key {key:?}; use letters, digits, -, _ and .")))
}

fn base64(object: &Object, field: &str) -> Result<(), String> {
    let good = |text: &str| STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).is_ok();
    let wrong = map(object, field).into_iter().flatten().find(|(_, v)| !v.as_str().is_none_or(good));
    let hint = if field == "data" { "; plain text belongs into stringData" } else { "" };
    wrong.map_or(Ok(()), |(key, _)| Err(format!("{field}.{key} is not base64{hint}")))
}

/// YAML reads an unquoted 1 or yes as something else than text.
fn strings(object: &Object, pointer: &str) -> Result<(), String> {
    let field = pointer.trim_start_matches('/').replace('/', ".");
    let first = pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
    let rest = &pointer[first.len() + 1..];
    let Some(value) = object.fields().get(first).and_then(|v| v.pointer(rest)).filter(|v| !v.is_null()) else {
        return Ok(());
    };
    let map = value.as_object().ok_or_else(|| format!("{field} must be a map of texts"))?;
    match map.iter().find(|(_, v)| !v.is_string() && !v.is_null()) {
        Some((key, _)) => Err(format!("{field}.{key} must be a text; put its value in quotes")),
        None => Ok(()),
    }
}

/// Checks what an API server would refuse and what would be misunderstood further on.
fn pod(object: &Object) -> Result<(), String> {
    let value = without_nulls(&Value::Object(object.fields().clone()));
    serde_path_to_error::deserialize::<_, Typed>(&value)
        .map_err(|e| format!("{}: {}{}", e.path(), e.inner(), in_quotes(&e.inner().to_string())))?;
    let pod = PodExtract::from_object(object).map_err(|e| e.to_string())?;
    if pod.spec.containers.is_empty() {
        return Err("spec.containers is empty; a pod needs a container".to_owned());
    }
    if let Some(policy) = pod.spec.restart_policy.as_deref()
        && !matches!(policy, "Always" | "OnFailure" | "Never")
    {
        return Err(format!("spec.restartPolicy {policy:?} is not valid; expected Always, OnFailure or Never"));
    }
    let volumes: BTreeSet<&str> = pod.spec.volumes.iter().map(|v| v.name.as_str()).collect();
    if volumes.len() < pod.spec.volumes.len() || volumes.contains("") {
        return Err("spec.volumes needs a name of its own for each volume".to_owned());
    }
    let mut names = BTreeSet::new();
    for container in pod.all_containers() {
        let name = container.name.as_str();
        if !is_dns_label(name) {
            return Err(format!("the container name {name:?} is not valid; use lower-case letters, digits and -"));
        }
        if !names.insert(name) {
            return Err(format!("two containers are named {name:?}"));
        }
        if container.image.is_empty() {
            return Err(format!("container {name:?} has no image"));
        }
        for mount in &container.volume_mounts {
            if !volumes.contains(mount.name.as_str()) {
                return Err(format!(
                    "container {name:?} mounts the volume {:?}, which spec.volumes does not have",
                    mount.name
                ));
            }
            if mount.mount_path.is_empty() {
                return Err(format!("container {name:?} mounts the volume {:?} without a mountPath", mount.name));
            }
        }
    }
    Ok(())
}

/// The fields that are most often of another type than meant; read for the path in the error alone.
#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "spec")]
    _spec: Option<TypedSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypedSpec {
    #[serde(rename = "containers")]
    _containers: Option<Vec<TypedContainer>>,
    #[serde(rename = "initContainers")]
    _init_containers: Option<Vec<TypedContainer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypedContainer {
    #[serde(rename = "command")]
    _command: Option<Vec<String>>,
    #[serde(rename = "args")]
    _args: Option<Vec<String>>,
    #[serde(rename = "env")]
    _env: Option<Vec<TypedVariable>>,
}

#[derive(Deserialize)]
struct TypedVariable {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "value")]
    _value: Option<String>,
}

fn in_quotes(why: &str) -> &'static str {
    if why.contains("expected a string") { "; put it in quotes" } else { "" }
}

/// `null` is the same as absent.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}
