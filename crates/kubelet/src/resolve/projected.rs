//! Projected and downwardAPI volumes: the files in them, as one synthetic ConfigMap named after the volume.

use std::collections::BTreeMap;

use interlink_wire::Object;
use interlink_wire::pod::{
    ConfigMapVolume, DownwardApiItem, PodExtract, ProjectedSource, ProjectedVolume, ServiceAccountToken,
};
use serde_json::{Map, Value, json};

use super::content::{self, Content};
use super::fields::{Downward, service_account};
use super::objects::{Fetched, References};
use super::unresolved::Problem;
use super::volumes::{checked, local};

/// Kubernetes' default lifetime of a projected token, in seconds.
const DEFAULT_EXPIRATION: i64 = 3600;
/// The least that the API server grants, in seconds.
const LEAST_EXPIRATION: i64 = 600;
/// The ConfigMap that Kubernetes puts into every namespace.
const ROOT_CA: &str = "kube-root-ca.crt";

/// The certificate authority that containers on the batch machine are told to trust, if it is not the cluster's own.
pub(super) type Trust<'a> = Option<&'a str>;

/// Paths and contents.
pub(super) type Files = BTreeMap<String, Content>;

/// What a projected volume refers to.
pub(super) fn references(volume: &ProjectedVolume, trust: Trust<'_>, into: &mut References) {
    for source in &volume.sources {
        into.config_maps
            .extend((source.config_map.iter()).filter(|s| replaced(s, trust).is_none()).map(|s| s.name.clone()));
        into.secrets.extend(source.secret.iter().map(|s| s.name.clone()));
        into.tokens.extend(source.service_account_token.iter().map(|t| (t.audience.clone(), expiration(t))));
    }
}

/// The files of a projected volume. Sources are taken in order; a later file replaces an earlier one.
pub(super) fn files(
    volume: &ProjectedVolume,
    pod: &PodExtract,
    trust: Trust<'_>,
    downward: &Downward<'_>,
    fetched: &Fetched,
) -> Result<Files, Problem> {
    let mut files = Files::new();
    for (index, source) in volume.sources.iter().enumerate() {
        let found =
            source_files(source, pod, trust, downward, fetched).map_err(|p| p.within(&format!("sources[{index}]")))?;
        files.extend(found);
    }
    Ok(files)
}

/// The files of downwardAPI items.
pub(super) fn downward_files(
    items: &[DownwardApiItem],
    downward: &Downward<'_>,
) -> Result<Vec<(String, Content)>, Problem> {
    let value = |item: &DownwardApiItem| {
        local(&item.path)?;
        match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => downward.field(field),
            (None, Some(resource)) => downward.resource(resource, None),
            (None, None) => Err(Problem::lasting("it has neither fieldRef nor resourceFieldRef")),
        }
    };
    items
        .iter()
        .map(|item| match value(item) {
            Ok(text) => Ok((item.path.clone(), Content::Text(text))),
            Err(problem) => Err(problem.within(&format!("file {:?}", item.path))),
        })
        .collect()
}

/// The synthetic ConfigMap: the wire is text, so what is not text travels in `binaryData`.
pub(super) fn config_map(volume: &str, files: Files) -> Object {
    let mut data = Map::new();
    let mut binary = Map::new();
    for (path, content) in files {
        match content {
            Content::Text(text) => data.insert(path, Value::String(text)),
            Content::Binary(bytes) => binary.insert(path, Value::String(content::encoded(&bytes))),
        };
    }
    let mut object = Object::default();
    let fields = object.fields_mut();
    fields.insert("metadata".to_owned(), json!({"name": volume}));
    fields.insert("data".to_owned(), Value::Object(data));
    if !binary.is_empty() {
        fields.insert("binaryData".to_owned(), Value::Object(binary));
    }
    object
}

/// The lifetime to ask for, in seconds.
fn expiration(token: &ServiceAccountToken) -> i64 {
    token.expiration_seconds.unwrap_or(DEFAULT_EXPIRATION).max(LEAST_EXPIRATION)
}

fn replaced<'a>(source: &ConfigMapVolume, trust: Trust<'a>) -> Trust<'a> {
    trust.filter(|_| source.name == ROOT_CA)
}

fn source_files(
    source: &ProjectedSource,
    pod: &PodExtract,
    trust: Trust<'_>,
    downward: &Downward<'_>,
    fetched: &Fetched,
) -> Result<Vec<(String, Content)>, Problem> {
    if let Some(kind) = source.other.keys().next() {
        return Err(Problem::lasting(format!(
            "the source {kind} is not supported; use configMap, secret, downwardAPI or serviceAccountToken"
        )));
    }
    let mut files = Vec::new();
    if let Some(wanted) = &source.config_map {
        let optional = wanted.optional == Some(true);
        if let Some(ca) = replaced(wanted, trust) {
            files.extend(trust_files(wanted, ca)?);
        } else if let Some(object) = fetched.config_map(&wanted.name, optional)? {
            files.extend(chosen("ConfigMap", wanted, content::config_map(object)?)?);
        }
    }
    if let Some(wanted) = &source.secret
        && let Some(object) = fetched.secret(&wanted.name, wanted.optional == Some(true))?
    {
        files.extend(chosen("Secret", wanted, content::secret(object)?)?);
    }
    if let Some(wanted) = &source.downward_api {
        files.extend(downward_files(&wanted.items, downward)?);
    }
    if let Some(wanted) = &source.service_account_token {
        local(&wanted.path)?;
        let token = fetched.token(&wanted.audience, expiration(wanted));
        let token = token.map_err(|p| p.within(&format!("token of ServiceAccount {:?}", service_account(pod))))?;
        files.push((wanted.path.clone(), Content::Text(token.to_owned())));
    }
    Ok(files)
}

/// All keys, or those that `items` name.
fn chosen(kind: &str, wanted: &ConfigMapVolume, mut keys: Files) -> Result<Vec<(String, Content)>, Problem> {
    if wanted.items.is_empty() {
        return Ok(keys.into_iter().collect());
    }
    checked(kind, &wanted.name, &wanted.items, &keys, wanted.optional == Some(true))?;
    // One key may be asked for under several paths.
    let mut files = Vec::new();
    for (i, item) in wanted.items.iter().enumerate() {
        let again = wanted.items[i + 1..].iter().any(|later| later.key == item.key);
        let content = if again { keys.get(&item.key).cloned() } else { keys.remove(&item.key) };
        files.extend(content.map(|content| (item.path.clone(), content)));
    }
    Ok(files)
}

/// The configured authority under every path that was asked for.
fn trust_files(wanted: &ConfigMapVolume, ca: &str) -> Result<Vec<(String, Content)>, Problem> {
    let content = || Content::Text(ca.to_owned());
    if wanted.items.is_empty() {
        return Ok(vec![("ca.crt".to_owned(), content())]);
    }
    wanted.items.iter().map(|item| local(&item.path).map(|()| (item.path.clone(), content()))).collect()
}

/// The shortest lifetime of the tokens of a pod, in seconds.
pub(super) fn shortest_token(references: &References) -> Option<i64> {
    references.tokens.iter().map(|(_, seconds)| *seconds).min()
}
