//! The environment of one container: `envFrom` and `env` become literal values.
//!
//! The rules are the real kubelet's: `envFrom` in order, then `env` in order; the later wins; literal values see what is
//! before them through `$(VAR)`; the variables of the cluster are seen by all and never replace the pod's own.
//! Names come out in the order of their first appearance, so the same pod always gives the same request.

use std::collections::HashMap;

use interlink_wire::pod::{Container, EnvFrom, EnvVar};
use serde_json::{Value, json};

use super::cluster_env::{self, KubernetesApi};
use super::content;
use super::expand::expand;
use super::fields::Downward;
use super::objects::{Fetched, References};
use super::unresolved::Problem;

/// Variables in the order of their first appearance.
#[derive(Debug, Default)]
struct Environment {
    order: Vec<String>,
    values: HashMap<String, String>,
}

impl Environment {
    fn set(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }
}

/// What the variables of `container` refer to.
pub(super) fn references(container: &Container, into: &mut References) {
    for from in &container.env_from {
        into.config_maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
        into.secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
    }
    for source in container.env.iter().filter(|v| !literal(v)).filter_map(|v| v.value_from.as_ref()) {
        into.config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
        into.secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
    }
}

/// The container's environment as names and values. `raw` is the container as it came, to name what we don't know.
pub(super) fn resolve(
    container: &Container,
    raw: &Value,
    downward: &Downward<'_>,
    fetched: &Fetched,
    api: Option<&KubernetesApi>,
) -> Result<Vec<(String, String)>, Problem> {
    let cluster = api.map(cluster_env::variables);
    let cluster = cluster.as_ref().map_or(&[][..], |vars| &vars[..]);
    let mut env = Environment::default();
    for (index, from) in container.env_from.iter().enumerate() {
        let place = format!("envFrom[{index}]");
        env_from(from, fetched, &mut env).map_err(|p| p.within(&place))?;
    }
    for (index, var) in container.env.iter().enumerate() {
        let place = || format!("variable {:?}", var.name);
        if !is_env_name(&var.name) {
            return Err(Problem::lasting(format!(
                "env[{index}] has the name {:?}; expected printable ASCII characters other than \"=\"",
                var.name
            )));
        }
        let value = if literal(var) {
            let known = |name: &str| {
                let own = env.values.get(name).map(String::as_str);
                own.or_else(|| cluster.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str()))
            };
            Some(expand(var.value.as_deref().unwrap_or(""), known))
        } else {
            let raw = raw.pointer(&format!("/env/{index}/valueFrom"));
            from_source(var, raw, container, downward, fetched).map_err(|p| p.within(&place()))?
        };
        if let Some(value) = value {
            env.set(&var.name, value);
        }
    }
    for (name, value) in cluster {
        if !env.values.contains_key(*name) {
            env.set(name, value.clone());
        }
    }
    let Environment { order, mut values } = env;
    Ok(order.into_iter().filter_map(|name| values.remove(&name).map(|value| (name, value))).collect())
}

/// Puts literal values in the place of `env` and `envFrom`.
pub(super) fn rewrite(raw: &mut Value, env: &[(String, String)]) {
    let Some(container) = raw.as_object_mut() else { return };
    container.remove("envFrom");
    if env.is_empty() {
        container.remove("env");
    } else {
        let list = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        container.insert("env".to_owned(), Value::Array(list));
    }
}

/// As the kubelet: a non-empty `value` counts, whatever `valueFrom` says.
fn literal(var: &EnvVar) -> bool {
    var.value.as_deref().is_some_and(|v| !v.is_empty()) || var.value_from.is_none()
}

fn env_from(from: &EnvFrom, fetched: &Fetched, env: &mut Environment) -> Result<(), Problem> {
    if let Some(reference) = &from.config_map_ref
        && let Some(object) = fetched.config_map(&reference.name, reference.optional == Some(true))?
    {
        for (key, value) in content::config_map_text(object) {
            put(env, &from.prefix, &key, value);
        }
    }
    if let Some(reference) = &from.secret_ref
        && let Some(object) = fetched.secret(&reference.name, reference.optional == Some(true))?
    {
        for (key, value) in content::secret(object)? {
            let value =
                value.into_env().map_err(|p| p.within(&format!("key {key:?} of Secret {:?}", reference.name)))?;
            put(env, &from.prefix, &key, value);
        }
    }
    Ok(())
}

fn put(env: &mut Environment, prefix: &str, key: &str, value: String) {
    let name = format!("{prefix}{key}");
    // As the kubelet: what can't be a name is left out.
    if is_env_name(&name) {
        env.set(&name, value);
    }
}

/// The value of `valueFrom`; `None` when it is optional and absent: then there is no such variable.
fn from_source(
    var: &EnvVar,
    raw: Option<&Value>,
    container: &Container,
    downward: &Downward<'_>,
    fetched: &Fetched,
) -> Result<Option<String>, Problem> {
    let source = var.value_from.clone().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return downward.field(field).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        return downward.resource(resource, Some(container)).map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let Some(object) = fetched.config_map(&reference.name, optional)? else { return Ok(None) };
        let value = content::config_map_text(object).remove(&reference.key);
        return present(value, "ConfigMap", &reference.name, &reference.key, optional);
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional == Some(true);
        let Some(object) = fetched.secret(&reference.name, optional)? else { return Ok(None) };
        let value = content::secret(object)?.remove(&reference.key).map(content::Content::into_env).transpose();
        let value = value.map_err(|p| p.within(&format!("key {:?} of Secret {:?}", reference.key, reference.name)))?;
        return present(value, "Secret", &reference.name, &reference.key, optional);
    }
    match raw.and_then(Value::as_object).and_then(|o| o.keys().next()) {
        Some(kind) => Err(Problem::lasting(format!(
            "valueFrom.{kind} is not supported; use fieldRef, resourceFieldRef, configMapKeyRef or secretKeyRef"
        ))),
        None => Err(Problem::lasting(
            "valueFrom is empty; expected fieldRef, resourceFieldRef, configMapKeyRef or secretKeyRef",
        )),
    }
}

fn present(
    value: Option<String>,
    kind: &str,
    name: &str,
    key: &str,
    optional: bool,
) -> Result<Option<String>, Problem> {
    if value.is_none() && !optional {
        return Err(Problem::passing(format!(
            "{kind} {name:?} has no key {key:?}; add it or mark the reference optional"
        )));
    }
    Ok(value)
}

/// Kubernetes' rule since 1.34: printable ASCII, but no `=`.
fn is_env_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=')
}
